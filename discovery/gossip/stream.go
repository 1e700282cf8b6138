package gossip

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// How memberlist's bytes begin: a label (244, its length, itself), then what is
// encrypted. A packet is that to its end; in a stream a 10 and the length in four
// bytes stand before it.
const (
	markLabel     = 244
	markEncrypted = 10
	// Version 1 of the encryption is one byte, a nonce and a tag around a message
	// that is never empty. Version 0 has padding besides, which nobody uses.
	encryption    = 1
	leastMessage  = 1 + 12 + 16 + 1
	labelOverhead = 2
)

var errUnsound = errors.New("this is no gossip, or too much of it")

// sound looks at how a packet begins. Memberlist ends the program if it opens
// an empty message, or padding that was made up; a holder of the key can send
// either.
func sound(p []byte) bool {
	if len(p) < labelOverhead || p[0] != markLabel {
		return false
	}
	p = p[min(len(p), labelOverhead+int(p[1])):]
	return len(p) >= leastMessage && p[0] == encryption
}

// stream is a connection that is counted, that has to begin as memberlist's do,
// and that ends when too much comes.
type stream struct {
	net.Conn
	t        *transport
	inbound  bool
	labelled bool   // a label comes first
	begun    bool   // the beginning was looked at
	head     []byte // of it, not read yet
	left     int
	once     sync.Once
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if !s.begun {
		if err := s.begin(); err != nil {
			return 0, err
		}
	}
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	if s.left <= 0 {
		return 0, errUnsound
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	s.t.met.bytesIn.Add(float64(n))
	return n, err
}

// begin reads what stands before the message, and looks at it.
func (s *stream) begin() error {
	s.begun = true
	var head []byte
	more := func(n int) ([]byte, error) {
		at := len(head)
		head = append(head, make([]byte, n)...)
		_, err := io.ReadFull(s.Conn, head[at:])
		return head[at:], err
	}
	if s.labelled {
		b, err := more(labelOverhead)
		if err != nil {
			return s.bad(err)
		}
		if b[0] != markLabel || b[1] == 0 {
			return s.bad(errUnsound)
		}
		if _, err := more(int(b[1])); err != nil {
			return s.bad(err)
		}
	}
	b, err := more(1 + 4 + 1)
	if err != nil {
		return s.bad(err)
	}
	if n := binary.BigEndian.Uint32(b[1:]); b[0] != markEncrypted || n < leastMessage || n > maxStream || b[5] != encryption {
		return s.bad(errUnsound)
	}
	s.left -= len(head)
	s.head = head
	s.t.met.bytesIn.Add(float64(len(head)))
	return nil
}

// bad makes every further read fail.
func (s *stream) bad(err error) error {
	s.left, s.head = 0, nil
	return err
}

// Write implements net.Conn.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.t.met.bytesOut.Add(float64(n))
	return n, err
}

// Close implements net.Conn.
func (s *stream) Close() error {
	var err error
	s.once.Do(func() {
		err = s.Conn.Close()
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		delete(s.t.open, s)
		if s.inbound {
			s.t.in--
		}
	})
	return err
}

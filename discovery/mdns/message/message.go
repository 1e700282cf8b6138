// Package message reads Multicast DNS messages (RFC 6762) that strangers sent.
//
// It is pure and bounded: whatever the bytes are, Parse gives a message or an
// error. It reads names itself: labels may hold dots ("Printer 1.2"), and a
// reader that refuses those would be deaf to whatever else is in such a packet.
// It keeps the data of address records and of types that it does not know as it
// is, and it writes nothing.
package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// MaxSize is the size of the greatest message that is read (RFC 6762 §17).
const MaxSize = 9000

// maxRecords bounds the questions and records of one message. The smallest
// record has 11 bytes: without a bound 9000 bytes hold 800.
const maxRecords = 512

// ErrMalformed reports bytes that are no message.
var ErrMalformed = errors.New("malformed message")

// Types of records.
const (
	A    uint16 = 1
	PTR  uint16 = 12
	TXT  uint16 = 16
	AAAA uint16 = 28
	SRV  uint16 = 33
	NSEC uint16 = 47
	ANY  uint16 = 255
)

// Classes.
const (
	IN       uint16 = 1
	ClassANY uint16 = 255
	// top is the cache-flush bit of a record and the unicast bit of a question.
	top uint16 = 1 << 15
)

// Message is one message. Its slices point into the bytes that were parsed.
type Message struct {
	ID                             uint16
	Response                       bool
	Truncated                      bool // more known answers follow
	Questions                      []Question
	Answers, Authority, Additional []Record
}

// Question asks for the records of a name.
type Question struct {
	Name    string // as Record.Name
	Type    uint16
	Class   uint16
	Unicast bool // the answer may come by unicast (RFC 6762 §5.4)
}

// Record is one resource record.
type Record struct {
	Name  string // labels parted by dots, dots within them escaped; no dot at the end
	Type  uint16
	Class uint16
	Flush bool // it replaces others of its kind (RFC 6762 §10.2)
	TTL   uint32
	Data  []byte // as it came

	Target string   // of PTR and SRV
	Port   uint16   // of SRV
	Text   []string // of TXT
}

// Addr is the address in a record of type A or AAAA.
func (r Record) Addr() (netip.Addr, bool) {
	if r.Class != IN || (r.Type != A && r.Type != AAAA) {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(r.Data) // its length was checked
}

// Parse reads a message. The error matches ErrMalformed.
func Parse(b []byte) (*Message, error) {
	if len(b) < 12 || len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	flags := binary.BigEndian.Uint16(b[2:])
	// RFC 6762 §18.3 and §18.11: other opcodes and response codes are ignored.
	if flags>>11&0xf != 0 || flags&0xf != 0 {
		return nil, fmt.Errorf("%w: flags %#x", ErrMalformed, flags)
	}
	m := &Message{ID: binary.BigEndian.Uint16(b), Response: flags>>15 != 0, Truncated: flags>>9&1 != 0}
	var n [4]int
	total := 0
	for i := range n {
		n[i] = int(binary.BigEndian.Uint16(b[4+2*i:]))
		total += n[i]
	}
	if total > maxRecords {
		return nil, fmt.Errorf("%w: %d records", ErrMalformed, total)
	}
	c := cursor{b: b, at: 12}
	for range n[0] {
		m.Questions = append(m.Questions, c.question())
	}
	for i, section := range []*[]Record{&m.Answers, &m.Authority, &m.Additional} {
		for range n[1+i] {
			if c.err != nil {
				break
			}
			*section = append(*section, c.record())
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return m, nil
}

// cursor reads forward. After an error it reads zeros.
type cursor struct {
	b   []byte
	at  int
	err error
}

func (c *cursor) question() Question {
	q := Question{Name: c.name(), Type: c.uint16(), Class: c.uint16()}
	q.Unicast, q.Class = q.Class&top != 0, q.Class&^top
	return q
}

func (c *cursor) record() Record {
	r := Record{Name: c.name(), Type: c.uint16(), Class: c.uint16()}
	r.Flush, r.Class = r.Class&top != 0, r.Class&^top
	r.TTL = uint32(c.uint16())<<16 | uint32(c.uint16())
	size := int(c.uint16())
	begin := c.at
	r.Data = c.take(size)
	if c.err != nil {
		return r
	}
	in := cursor{b: c.b[:begin+size], at: begin} // names may point back, none beyond
	switch r.Type {
	case A:
		in.expect(size == 4)
	case AAAA:
		in.expect(size == 16)
	case PTR:
		r.Target = in.name()
		in.expect(in.at == len(in.b))
	case SRV:
		in.take(4) // priority and weight: nobody has two hosts here
		r.Port = in.uint16()
		r.Target = in.name()
		in.expect(in.at == len(in.b))
	case TXT:
		for in.at < len(in.b) && in.err == nil {
			r.Text = append(r.Text, string(in.take(int(in.byte()))))
		}
	}
	c.err = in.err
	return r
}

func (c *cursor) expect(ok bool) {
	if !ok && c.err == nil {
		c.err = fmt.Errorf("%w at byte %d", ErrMalformed, c.at)
	}
}

func (c *cursor) take(n int) []byte {
	c.expect(n <= len(c.b)-c.at)
	if c.err != nil {
		return nil
	}
	c.at += n
	return c.b[c.at-n : c.at : c.at]
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

package feed

import (
	"sync"
	"time"

	"preau/replication/identity"
)

// forgetAfter and maxKnown bound what is remembered of boxes that left.
const (
	forgetAfter = 7 * 24 * time.Hour
	maxKnown    = 50_000
)

// Presence is what a server knows of a box.
type Presence struct {
	Name      identity.Name
	School    identity.School
	Connected bool
	Since     time.Time // of the stream, or when it ended
	Seen      time.Time // when the box last said something
	Acked     uint64    // the box has all that its school may see up to here
	Version   string    // of the box's program
	Held      Held
}

// Held is what a box says it holds of what it should.
type Held struct {
	Wanted  uint64 `cbor:"1,keyasint,omitempty"` // resources it should hold
	Present uint64 `cbor:"2,keyasint,omitempty"` // of these, the ones it holds whole
	Bytes   uint64 `cbor:"3,keyasint,omitempty"` // of these
}

// Ack is what a box tells its server about once a second, while it has news.
type Ack struct {
	Index   uint64 `cbor:"1,keyasint"`
	Version string `cbor:"2,keyasint,omitempty"`
	Held    Held   `cbor:"3,keyasint"`
}

// maxAck bounds an Ack's encoding.
const maxAck = 1 << 10

type member struct {
	school  identity.School
	stream  *stream // nil: not connected
	since   time.Time
	seen    time.Time
	acked   uint64
	version string
	held    Held
}

// presence is who is there.
type presence struct {
	mu    sync.Mutex
	boxes map[identity.Name]*member
	live  []*stream // of the boxes, in no order: all are looked at every second
}

// join notes a stream and returns the one that it takes the place of.
func (p *presence) join(st *stream, version string, acked uint64, now time.Time, limit int) (old *stream, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.boxes[st.box.Name]
	if (m == nil || m.stream == nil) && len(p.live) >= limit {
		return nil, false
	}
	if m == nil {
		m = new(member)
		p.boxes[st.box.Name] = m
	}
	if old = m.stream; old != nil {
		p.take(old)
	}
	st.place = len(p.live)
	p.live = append(p.live, st)
	m.school, m.stream, m.since, m.seen, m.acked = st.box.School, st, now, now, acked
	if version != "" {
		m.version = version
	}
	return old, true
}

func (p *presence) leave(st *stream, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.boxes[st.box.Name]; m != nil && m.stream == st {
		m.acked = m.has(0, nil)
		m.stream, m.since = nil, now
		p.take(st)
	}
}

// take takes a stream out of live. The lock is held.
func (p *presence) take(st *stream) {
	end := len(p.live) - 1
	last := p.live[end]
	p.live[st.place], last.place = last, st.place
	p.live[end] = nil
	p.live = p.live[:end]
}

func (p *presence) ack(box identity.Identity, a Ack, head uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.boxes[box.Name]
	if m == nil {
		if len(p.boxes) >= maxKnown {
			return
		}
		m = &member{school: box.School, since: now}
		p.boxes[box.Name] = m
	}
	m.seen, m.version, m.held = now, a.Version, a.Held
	m.acked = min(a.Index, head)
}

// has is up to where the box has all that it may see: what it acknowledged or,
// if that is all it was sent, what the server knows to hold nothing for it.
func (m *member) has(quiet uint64, tail *node) uint64 {
	if m.stream == nil || m.acked < m.stream.told.Load() {
		return m.acked
	}
	pos := m.stream.seen.Load()
	if tail != nil && pos >= tail.upto {
		pos = max(pos, quiet)
	}
	return max(m.acked, pos)
}

// forget drops boxes that left long ago.
func (p *presence) forget(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, m := range p.boxes {
		if m.stream == nil && now.Sub(m.seen) > forgetAfter {
			delete(p.boxes, name)
		}
	}
}

// Presence tells of every box that this server heard of lately, in no order.
func (s *Server) Presence() []Presence {
	_, quiet, tail := s.chain.applied()
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	out := make([]Presence, 0, len(s.presence.boxes))
	for name, m := range s.presence.boxes {
		out = append(out, Presence{
			Name: name, School: m.school, Connected: m.stream != nil, Since: m.since, Seen: m.seen,
			Acked: m.has(quiet, tail), Version: m.version, Held: m.held,
		})
	}
	return out
}

// Following counts the boxes that follow this server.
func (s *Server) Following() int {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	return len(s.presence.live)
}

// Confirmed counts the boxes that follow this server, and those of them that
// have acknowledged all they may see up to index.
func (s *Server) Confirmed(index uint64) (n, connected int) {
	_, quiet, tail := s.chain.applied()
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	for _, m := range s.presence.boxes {
		if m.stream == nil {
			continue
		}
		connected++
		if m.has(quiet, tail) >= index {
			n++
		}
	}
	return n, connected
}

// Drop ends the stream of a box that is out of the region. That it does not
// come again is up to who checks certificates.
func (s *Server) Drop(name identity.Name) {
	s.presence.mu.Lock()
	m := s.presence.boxes[name]
	var st *stream
	if m != nil {
		st = m.stream
	}
	s.presence.mu.Unlock()
	if st != nil {
		st.kick(ReasonRevoked)
	}
}

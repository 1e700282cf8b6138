package gossip

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// joinAfter is how long after a death the box is called again: memberlist takes
// the name at another address only then.
const joinAfter = time.Second

// call is an address of a box that is to be called.
type call struct {
	name string
	addr netip.AddrPort
}

// due takes out what is to be done now, and says when to look again.
func (t *table) due(now time.Time) (checks []check, calls []call, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, b := range t.boxes {
		b.claims = slices.DeleteFunc(b.claims, func(c *seat) bool { return !c.busy && now.Sub(c.seen) > claimAge })
		if b.holder != nil && !b.alive && !b.holder.busy && !b.joining && now.Sub(b.holder.seen) > boxAge {
			b.holder = nil
		}
		if b.holder == nil && len(b.claims) == 0 {
			delete(t.boxes, name)
			continue
		}
		for _, s := range append([]*seat{b.holder}, b.claims...) {
			if s == nil {
				continue
			}
			if s.busy {
				continue
			}
			if s != b.holder {
				next = sooner(next, s.seen.Add(claimAge+time.Second))
			}
			if s.next.IsZero() {
				continue
			}
			if s.next.After(now) {
				next = sooner(next, s.next)
				continue
			}
			s.busy = true
			checks = append(checks, b.check(s))
		}
		if b.holder == nil || b.alive || b.joining {
			continue
		}
		if b.join.After(now) {
			next = sooner(next, b.join)
			continue
		}
		b.joining = true
		calls = append(calls, call{name, b.holder.gossip})
	}
	return checks, calls, next
}

// check says how a seat is verified.
func (b *box) check(s *seat) check {
	c := check{name: b.name, seat: s, known: s == b.holder, gen: s.gen, addr: netip.AddrPortFrom(s.gossip.Addr(), s.said.Port)}
	switch {
	case s != b.holder && b.holder != nil:
		c.old = netip.AddrPortFrom(b.holder.gossip.Addr(), b.holder.provedPort)
	case s == b.holder && s.provedPort != s.said.Port:
		c.alt = netip.AddrPortFrom(s.gossip.Addr(), s.provedPort)
	}
	return c
}

// checked takes a finding in.
func (t *table) checked(now time.Time, c check, f finding) []notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := c.seat
	doubted := s.doubted
	s.busy, s.doubted = false, false
	b := t.boxes[c.name]
	if b == nil || s != b.holder && !slices.Contains(b.claims, s) {
		return nil
	}
	if s.gen != c.gen {
		return nil // whoever changed it said what is next
	}
	if f.void {
		s.next = now
		return nil
	}
	if c.old != b.check(s).old {
		s.next = now // it was measured against another address than the proved one
		return nil
	}
	switch {
	case s == b.holder:
		notices := t.rechecked(now, b, c, f)
		if doubted && s.verified {
			b.soon(now)
		}
		return notices
	case c.name == t.self:
		return s.mirrored(now, f)
	case f.held:
		return b.refused(now, s, f)
	case f.err != nil:
		s.fails++
		s.next = now.Add(backoff(s.fails))
		s.why = "it could not prove that it is this box: " + f.err.Error()
		if s.fails == 1 {
			return []notice{{"a box is no neighbour: it could not prove who it is", true, []any{"box", b.name, "addr", c.addr.String(), "err", f.err}}}
		}
		return nil
	}
	return b.seated(now, s, c)
}

// seated makes a claim that was proved the box's address.
func (b *box) seated(now time.Time, s *seat, c check) []notice {
	moved := b.holder
	b.claims = slices.DeleteFunc(b.claims, func(x *seat) bool { return x == s })
	b.holder = s
	s.proved(now, c.addr.Port())
	b.alive, b.since = false, now
	b.join, b.joins = now, 0
	if moved != nil {
		return []notice{{"a neighbour has moved", false, []any{"box", b.name, "from", moved.gossip.String(), "to", s.gossip.String()}}}
	}
	return []notice{{"a neighbour has proved who it is", false, []any{"box", b.name, "addr", c.addr.String()}}}
}

func (s *seat) proved(now time.Time, port uint16) {
	s.verified, s.fails, s.why, s.reported = true, 0, "", false
	s.provedPort, s.provedBoot = port, s.boot
	s.next = now.Add(jitter(reverify))
}

// refused keeps a claim out because the box still answers elsewhere.
func (b *box) refused(now time.Time, s *seat, f finding) []notice {
	s.fails++
	s.next = now.Add(jitter(backoffMax))
	why := fmt.Sprintf("somebody at %s claims its name and is ignored, as it still answers at its own address", s.gossip)
	if f.twin {
		why = fmt.Sprintf("another box, at %s, has the same name and certificate (a copied disk?): enrol one of them anew", s.gossip)
	}
	if s.reported && s.why == why {
		return nil
	}
	s.why, s.reported = why, true
	return []notice{{"a neighbour's name is claimed twice", true, []any{"box", b.name, "addr", b.holder.gossip.String(), "other", s.gossip.String(), "why", why}}}
}

// mirrored is about somebody else with this box's own name. Only one who can
// prove the name is worth a word: others are what is left of an old address, or
// lies.
func (s *seat) mirrored(now time.Time, f finding) []notice {
	s.fails++
	s.next = now.Add(jitter(backoffMax))
	if f.err != nil {
		s.reported = false
		return nil
	}
	s.why = fmt.Sprintf("another box, at %s, has this box's name and certificate (a copied disk?): enrol one of them anew", s.gossip)
	if s.reported {
		return nil
	}
	s.reported = true
	return []notice{{"another box has this box's name and certificate", true, []any{"other", s.gossip.String(), "why", s.why}}}
}

// rechecked is about an address that was proved before.
func (t *table) rechecked(now time.Time, b *box, c check, f finding) []notice {
	h := b.holder
	if !b.alive && !h.verified {
		h.next = time.Time{}
		return nil // it went away meanwhile
	}
	if f.err != nil {
		was := h.verified
		h.verified = false
		h.fails++
		h.next = now.Add(backoff(h.fails))
		h.why = "it could not prove that it is this box: " + f.err.Error()
		if was {
			b.since = now
		}
		if was || h.fails == 1 {
			return []notice{{"a neighbour could not prove who it is", true, []any{"box", b.name, "addr", c.addr.String(), "err", f.err}}}
		}
		return nil
	}
	if !h.verified {
		b.since = now
	}
	port := c.addr.Port()
	if f.alt {
		port = c.alt.Port()
	}
	h.proved(now, port)
	switch {
	case f.alt:
		// It says one port and answers at another: somebody lies, or it is on the
		// way from one to the other.
		h.fails = 1
		h.next = now.Add(backoff(5))
	case h.said.Port != c.addr.Port():
		h.next = now // said meanwhile
	}
	return nil
}

// called says how a call went.
func (t *table) called(now time.Time, c call, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.boxes[c.name]
	if b == nil {
		return
	}
	b.joining = false
	if b.holder == nil || b.holder.gossip != c.addr {
		b.join = now
		return
	}
	b.joins++
	wait := min(joinAfter<<min(b.joins-1, 10), t.every)
	if err != nil && b.joins > 2 {
		wait = t.every
	}
	b.join = now.Add(jitter(wait))
}

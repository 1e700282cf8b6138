package hostname

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

const (
	probes     = 3 // RFC 6762 §8.1
	probeEvery = 250 * time.Millisecond
	// yieldFor is how long the loser of a tie waits (RFC 6762 §8.2).
	yieldFor = time.Second
	// Whoever has had to give up so many names of late takes its time.
	maxConflicts = 15
	conflictsIn  = 10 * time.Second
	slowProbe    = 5 * time.Second
	// maxNumber is the greatest number that is tried behind a name.
	maxNumber = 999
)

// claim is how far the box is with a name of its own: idle, asking whether
// somebody has it, or holding it.
type claim struct {
	base    string
	n       int // "base-n", or base itself if it is 1
	probing bool
	holding bool
	sent    int       // probes
	next    time.Time // of the next step while probing

	last      string // the name that was held last
	yielded   int
	conflicts []time.Time // the latest ones
	slow      bool        // until it has a name
}

// name is the one that is held or asked for.
func (c *claim) name() string {
	if c.base == "" || c.n == 1 {
		return c.base
	}
	suffix := fmt.Sprintf("-%d", c.n)
	return c.base[:min(len(c.base), 63-len(suffix))] + suffix
}

// held is the name if it is the box's.
func (c *claim) held() string {
	if !c.holding {
		return ""
	}
	return c.name()
}

// start asks for the name, anew if it is held.
func (c *claim) start(at time.Time) {
	if c.base != "" {
		c.probing, c.holding, c.sent, c.next = true, false, 0, at
	}
}

func (c *claim) stop() {
	c.probing, c.holding, c.next = false, false, time.Time{}
}

// yield goes on to the next name.
func (c *claim) yield(now time.Time) {
	if c.n++; c.n > maxNumber {
		c.n = 1
	}
	c.yielded++
	c.conflicts = append(c.conflicts, now)
	c.conflicts = c.conflicts[max(0, len(c.conflicts)-maxConflicts):]
	c.slow = c.slow || (len(c.conflicts) == maxConflicts && now.Sub(c.conflicts[0]) < conflictsIn)
	at := now
	if c.slow {
		at = now.Add(slowProbe)
	}
	c.start(at)
}

// claimDue is the next step of probing, if its time has come.
func (r *Responder) claimDue(now time.Time) []Send {
	c := &r.claim
	if !c.probing || now.Before(c.next) {
		return nil
	}
	if c.sent == probes {
		c.probing, c.holding, c.next, c.last, c.slow = false, true, time.Time{}, c.name(), false
		for _, l := range r.links {
			r.announcing[l.Index] = announcement{left: announcements, next: now}
		}
		return nil
	}
	c.sent++
	c.next = now.Add(probeEvery)
	var out []Send
	for _, l := range r.links {
		// Not with the unicast bit: an answer by unicast reaches only one of the
		// sockets that a machine has for this port.
		out = append(out, multicast(l, response{
			questions: []message.Question{{Name: c.name() + ".local", Type: message.ANY, Class: message.IN}},
			authority: r.records(c.name(), l),
		})...)
	}
	return out
}

// probed compares what another box wants to have under the name that this one
// is asking for; the lesser waits (RFC 6762 §8.2).
func (r *Responder) probed(now time.Time, p Packet, l links.Link) {
	if !r.claim.probing || r.mine(p.From.Addr()) {
		return
	}
	var theirs []datum
	for _, rec := range p.Message.Authority {
		if isFor(r.claim.name())(rec) {
			theirs = append(theirs, datum{rec.Class, rec.Type, rec.Data})
		}
	}
	if len(theirs) == 0 || !slices.ContainsFunc(theirs, r.foreign) {
		return // our own, brought back by some reflector between networks
	}
	var ours []datum
	for _, rec := range r.records(r.claim.name(), l) {
		ours = append(ours, datum{message.IN, rec.typ(), rec.data()})
	}
	slices.SortFunc(ours, datum.compare)
	slices.SortFunc(theirs, datum.compare)
	if slices.CompareFunc(ours, theirs, datum.compare) < 0 {
		// A little more for one of two that lose to one another on two networks.
		r.claim.start(now.Add(yieldFor + r.upTo(probeEvery)))
	}
}

// told looks for somebody who has the name already, or claims it now.
func (r *Responder) told(now time.Time, p Packet) {
	c := &r.claim
	if (!c.probing && !c.holding) || r.mine(p.From.Addr()) {
		return
	}
	is := isFor(c.name())
	for _, section := range [][]message.Record{p.Message.Answers, p.Message.Additional} {
		for _, rec := range section {
			if rec.TTL == 0 || !is(rec) || !r.foreign(datum{rec.Class, rec.Type, rec.Data}) {
				continue
			}
			switch {
			case c.probing: // RFC 6762 §8.1
				c.yield(now)
				return
			case rec.Type == message.A || rec.Type == message.AAAA: // RFC 6762 §9
				c.start(now.Add(r.upTo(probeEvery)))
				return
			}
		}
	}
}

// foreign says whether a record of our name says what we don't.
func (r *Responder) foreign(d datum) bool {
	for _, l := range r.links {
		for _, rec := range r.records(r.claim.name(), l) {
			if datum.compare(d, datum{message.IN, rec.typ(), rec.data()}) == 0 {
				return false
			}
		}
	}
	return true
}

// datum is what of a record is compared.
type datum struct {
	class, typ uint16
	data       []byte
}

func (d datum) compare(o datum) int {
	return cmp.Or(cmp.Compare(d.class, o.class), cmp.Compare(d.typ, o.typ), bytes.Compare(d.data, o.data))
}

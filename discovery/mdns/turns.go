package mdns

import (
	"math/rand/v2"
	"time"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// putOffMost is for how many intervals others may ask in this box's place. They
// may be liars, or be heard here and not by those who would answer.
const putOffMost = 10

// turns says when this box browses. What one box asks the group on a link, each
// box answers to the group: all hear it, and nobody has to ask the same soon
// after (RFC 6762 §7.3). Without that, boxes that browse would be most of what a
// quiet school's network carries, and it would grow with the square of them.
//
// It is pure: times come from outside.
type turns struct {
	every time.Duration
	at    time.Time         // of this box's next browse
	own   time.Time         // of its last one
	last  time.Time         // when all links had been asked on last, by whomever
	asked map[int]time.Time // by link: when another box asked last
}

// next is when this box browses if nobody else does.
func (t *turns) next() time.Time { return t.at }

// due reports whether it is time to.
func (t *turns) due(now time.Time) bool { return !now.Before(t.at) }

// hurry has this box browse at once: the network is another one.
func (t *turns) hurry(now time.Time) {
	t.at = now
	clear(t.asked)
}

// begun says that this box browses.
func (t *turns) begun(now time.Time) {
	t.own, t.last = now, now
	t.at = t.later(now)
}

// heard says that another box asked on a link. It tells whether all links have
// been asked on since the last browse, and since when.
func (t *turns) heard(now time.Time, link int, all []links.Link) (begin time.Time, whole bool) {
	if t.due(now) {
		return time.Time{}, false
	}
	if t.asked == nil {
		t.asked = map[int]time.Time{}
	}
	t.asked[link] = now
	begin = now
	for _, l := range all {
		at := t.asked[l.Index]
		if !at.After(t.last) {
			return time.Time{}, false
		}
		if at.Before(begin) {
			begin = at
		}
	}
	t.last = begin
	t.at = t.later(begin)
	if most := t.own.Add(putOffMost * t.every); t.at.After(most) {
		t.at = most
	}
	return begin, true
}

// later is an interval after now, or up to a third more: one of several boxes is
// the first, and asks for all.
func (t *turns) later(now time.Time) time.Time {
	return now.Add(t.every + rand.N(t.every/3)) //nolint:gosec // no secret
}

// asksAll reports whether a packet asks all boxes of its link what this one would
// ask, and asks for the answer to be for all.
func asksAll(p packet, m *message.Message, l links.Link) bool {
	if !p.group || m.Truncated || len(m.Answers) > 0 || p.from.Port() != hostname.Port || l.Holds(p.from.Addr()) {
		return false
	}
	for _, q := range m.Questions {
		if q.Type == message.PTR && q.Class == message.IN && !q.Unicast && message.Same(q.Name, Service+".local") {
			return true
		}
	}
	return false
}

package hostname

import (
	"net/netip"
	"slices"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

const (
	maxWaiting = 256 // replies that wait at one time
	// Replies in one second: to one device, and to all.
	maxToOne = 20
	maxToAll = 400
)

// reply is a response that waits for its time.
type reply struct {
	at   time.Time
	from netip.AddrPort // who asked
	link int
	v6   bool
	response
	unicast bool
	defends bool
}

// asked answers the questions of a query that concern our names.
func (r *Responder) asked(now time.Time, p Packet, l links.Link) {
	if len(p.Message.Questions) == 0 {
		r.alsoKnown(p)
		return
	}
	legacy := p.From.Port() != Port // RFC 6762 §6.7
	var group, single response
	shared, defends := false, false
	for _, q := range p.Message.Questions {
		name := r.known(q.Name)
		if name == "" || (q.Class != message.IN && q.Class != message.ClassANY) {
			continue
		}
		what := r.answer(name, q.Type, l)
		what.answers = unknown(what.answers, p.Message.Answers)
		if len(what.answers) == 0 {
			continue
		}
		shared = shared || !r.unique(name)
		defends = defends || (r.unique(name) && slices.ContainsFunc(p.Message.Authority, isFor(name)))
		switch {
		case legacy:
			single.questions = append(single.questions, q)
			single.add(what)
		case q.Unicast:
			single.add(what)
			// RFC 6762 §5.4: all hear of it again before they forget it. Whoever is
			// about to take the name must hear it, on whichever of a machine's sockets.
			if defends || r.lately(now, what.answers, l.Index, p.v6()) > time.Duration(what.answers[0].ttl)*time.Second/4 {
				group.add(what)
			}
		default:
			group.add(what)
		}
	}
	single.legacy, single.id = legacy, p.Message.ID
	at := now
	switch {
	case !shared:
	case p.Message.Truncated: // RFC 6762 §7.2: more known answers follow
		at = now.Add(r.between(400*time.Millisecond, 500*time.Millisecond))
	default: // RFC 6762 §6: others will answer too
		at = now.Add(r.between(20*time.Millisecond, 120*time.Millisecond))
	}
	to := reply{at: at, from: p.From, link: l.Index, v6: p.v6(), defends: defends}
	if len(single.answers) > 0 && r.near(l, p.From.Addr()) {
		one := to
		one.response, one.unicast = single, true
		r.wait(now, one)
	}
	if len(group.answers) > 0 {
		to.response = group
		r.wait(now, to)
	}
}

// answer says what there is for a question: the addresses asked for, with those
// of the other family beside them (RFC 6762 §6.2), or that there are none, which
// can be said of a name only by the one who has it alone (RFC 6762 §6.1).
func (r *Responder) answer(name string, typ uint16, l links.Link) response {
	var out response
	for _, rec := range r.records(name, l) {
		switch {
		case typ == message.ANY || typ == rec.typ():
			out.answers = append(out.answers, rec)
		case typ == message.A || typ == message.AAAA:
			out.additional = append(out.additional, rec)
		}
	}
	if !r.unique(name) {
		return out
	}
	none := record{name: name, unique: true, ttl: ttl, none: true, a: l.Has(false), aaaa: l.Has(true)}
	switch {
	case len(out.answers) == 0:
		out.answers = append(out.answers, none)
	case !l.Has(false) || !l.Has(true):
		out.additional = append(out.additional, none)
	}
	return out
}

// unknown leaves out what the asker has, for at least half of its time (RFC 6762
// §7.1).
func unknown(records []record, known []message.Record) []record {
	return slices.DeleteFunc(records, func(rec record) bool {
		return slices.ContainsFunc(known, func(k message.Record) bool {
			return rec.same(k) && k.TTL >= rec.ttl/2
		})
	})
}

// alsoKnown takes the rest of a long list of known answers (RFC 6762 §7.2).
func (r *Responder) alsoKnown(p Packet) {
	if len(p.Message.Answers) == 0 {
		return
	}
	for i := range r.waiting {
		if w := &r.waiting[i]; w.from == p.From && w.link == p.Link {
			w.answers = unknown(w.answers, p.Message.Answers)
		}
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(w reply) bool { return len(w.answers) == 0 })
}

// wait puts a reply in the queue if its receiver's share allows it.
func (r *Responder) wait(now time.Time, w reply) {
	if len(r.waiting) < maxWaiting && r.budget.take(now, w.from.Addr()) {
		r.waiting = append(r.waiting, w)
	}
}

// replies returns those whose time has come.
func (r *Responder) replies(now time.Time) []Send {
	var out []Send
	var later []reply
	for _, w := range r.waiting {
		if now.Before(w.at) {
			later = append(later, w)
			continue
		}
		l, ok := links.Find(r.links, w.link)
		if !ok {
			continue
		}
		if w.unicast {
			out = append(out, Send{Data: w.pack(), Link: w.link, V6: w.v6, To: w.from})
			continue
		}
		gap := again
		if w.defends {
			gap = defend
		}
		w.answers = slices.DeleteFunc(w.answers, func(rec record) bool {
			return r.lately(now, []record{rec}, w.link, w.v6) < gap
		})
		if len(w.answers) == 0 || !l.Has(w.v6) {
			continue
		}
		for _, rec := range w.answers {
			r.said[said{rec.name, rec.typ(), w.link, w.v6}] = now
		}
		out = append(out, Send{Data: w.pack(), Link: w.link, V6: w.v6})
	}
	r.waiting = later
	return out
}

// lately is how long ago the one of the records that was multicast least lately
// was.
func (r *Responder) lately(now time.Time, records []record, link int, v6 bool) time.Duration {
	var longest time.Duration
	for _, rec := range records {
		longest = max(longest, now.Sub(r.said[said{rec.name, rec.typ(), link, v6}]))
	}
	return longest
}

// budget bounds the replies of one second, so that a flood of questions is no
// flood of answers.
type budget struct {
	since   time.Time
	all     int
	replies map[netip.Addr]int
}

func (b *budget) take(now time.Time, to netip.Addr) bool {
	if now.Sub(b.since) >= time.Second || now.Before(b.since) {
		b.since, b.all = now, 0
		clear(b.replies)
	}
	if b.all >= maxToAll || b.replies[to] >= maxToOne {
		return false
	}
	b.all++
	b.replies[to]++
	return true
}

func isFor(label string) func(message.Record) bool {
	return func(rec message.Record) bool {
		got, ok := message.Below(rec.Name, "local")
		return ok && message.Fold(got) == label
	}
}

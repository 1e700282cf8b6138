// Package hostname answers for the names of a box on its LAN (RFC 6762): one
// that all boxes share, one that is this box's alone, and one that its services
// point to.
//
// The shared name is a shared record set: each box answers with its own
// addresses, and no two boxes can quarrel about it. The box's own name is
// probed, yielded when somebody else has it ("preau" becomes "preau-2"), and
// probed again when somebody claims it later. The third is made from an
// identity that is unique by itself.
//
// A Responder is pure: messages and times go in, packets to send come out. It
// opens no socket, starts no goroutine, and its user calls it from one. It says
// nothing about who is behind a name: anybody on a LAN can claim anything.
package hostname

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// Names are labels below ".local". An empty one is not answered for.
type Names struct {
	Shared string
	Own    string // what is wished for
	Host   string
}

// Packet is what has come in.
type Packet struct {
	Message   *message.Message
	From      netip.AddrPort
	Link      int
	Multicast bool // it was sent to the group
}

// v6 is the family that it came by, and by which it is answered.
func (p Packet) v6() bool { return p.From.Addr().Is6() }

// Send is a packet to send.
type Send struct {
	Data []byte
	Link int
	V6   bool
	To   netip.AddrPort // not valid: to the group
}

// Port is where Multicast DNS is spoken.
const Port = 5353

const (
	ttl = 120 // of records with addresses (RFC 6762 §10)
	// sharedTTL is that of the name that all boxes answer for: a device soon asks
	// again, and whoever is there then answers, should the box that it used have
	// died without a goodbye.
	sharedTTL = 10
	// legacyTTL is for those who do not hear of changes (RFC 6762 §6.7).
	legacyTTL = 10
	// announcements of each link, a second apart (RFC 6762 §8.3).
	announcements     = 2
	announcementEvery = time.Second
	// again is how soon a record may be multicast once more, and defend how soon
	// when somebody is about to take the name (RFC 6762 §6).
	again  = time.Second
	defend = 250 * time.Millisecond
)

// Responder answers for a box's names.
type Responder struct {
	names Names
	rng   *rand.Rand
	links []links.Link
	claim claim

	waiting    []reply
	announcing map[int]announcement // by link
	goodbyes   []Send
	said       map[said]time.Time // when a record was multicast last
	budget     budget
}

// announcement is how often a link still is told.
type announcement struct {
	left int
	next time.Time
}

// said is a record on a link, without its data: what has the same name and type
// goes out together.
type said struct {
	name string
	typ  uint16
	link int
	v6   bool
}

// New makes a responder that has no links yet. Chance decides about delays only.
func New(names Names, rng *rand.Rand) *Responder {
	return &Responder{
		names: names, rng: rng, claim: claim{base: names.Own, n: 1},
		announcing: map[int]announcement{}, said: map[said]time.Time{},
		budget: budget{replies: map[netip.Addr]int{}},
	}
}

// OwnName is the name that the box has for itself alone, or had last while it
// makes sure of it again; "" before it has one.
func (r *Responder) OwnName() string { return r.claim.last }

// Yielded is how often the box gave a name up to somebody else.
func (r *Responder) Yielded() int { return r.claim.yielded }

// SetLinks says which links there are now. A new one is told of the names, and
// asked whether it has the box's own already; one with other addresses is told.
func (r *Responder) SetLinks(now time.Time, all []links.Link) {
	changes := links.Diff(r.links, all)
	if changes.None() {
		return
	}
	for _, l := range changes.Gone {
		delete(r.announcing, l.Index)
	}
	for _, l := range changes.Moved {
		r.withdraw(l)
	}
	r.links = all
	for k := range r.said {
		if _, ok := links.Find(all, k.link); !ok {
			delete(r.said, k)
		}
	}
	for _, l := range append(changes.New, changes.Moved...) {
		r.announcing[l.Index] = announcement{left: announcements, next: now}
	}
	if len(all) == 0 {
		r.claim.stop()
	} else if len(changes.New) > 0 {
		r.claim.start(now.Add(r.upTo(probeEvery)))
	}
}

// withdraw takes back the addresses that a link had. Those of names that only
// this box has are replaced by what is announced next.
func (r *Responder) withdraw(now links.Link) {
	before, ok := links.Find(r.links, now.Index)
	if !ok || r.names.Shared == "" {
		return
	}
	var gone []record
	for _, a := range before.Published() {
		if !now.Holds(a) {
			gone = append(gone, record{name: r.names.Shared, addr: a})
		}
	}
	if len(gone) > 0 {
		r.goodbyes = append(r.goodbyes, multicast(now, response{answers: gone})...)
	}
}

// Asks says whether a message asks for one of the names, so that its answer
// depends on the addresses.
func (r *Responder) Asks(m *message.Message) bool {
	if m.Response {
		return false
	}
	for _, q := range m.Questions {
		if r.known(q.Name) != "" {
			return true
		}
	}
	return false
}

// Handle takes a message in. What follows from it, Due tells.
func (r *Responder) Handle(now time.Time, p Packet) {
	link, ok := links.Find(r.links, p.Link)
	if !ok {
		return
	}
	// RFC 6762 §11: what was sent to the group is from this link, and all else
	// has to show it.
	if !p.Multicast && !r.near(link, p.From.Addr()) {
		return
	}
	if !p.Message.Response {
		r.probed(now, p, link)
		r.asked(now, p, link)
	} else if p.From.Port() == Port { // RFC 6762 §6
		r.told(now, p)
	}
}

// Due returns what is to be sent now.
func (r *Responder) Due(now time.Time) []Send {
	out := r.goodbyes
	r.goodbyes = nil
	out = append(out, r.claimDue(now)...)
	for _, l := range r.links {
		a, ok := r.announcing[l.Index]
		if !ok || now.Before(a.next) {
			continue
		}
		out = append(out, r.multicast(now, l, response{answers: r.all(l)})...)
		if a.left, a.next = a.left-1, now.Add(announcementEvery); a.left > 0 {
			r.announcing[l.Index] = a
		} else {
			delete(r.announcing, l.Index)
		}
	}
	return append(out, r.replies(now)...)
}

// Next is when Due has something; the zero time if nothing is to come.
func (r *Responder) Next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if len(r.goodbyes) > 0 {
		return time.Unix(0, 0)
	}
	for _, a := range r.announcing {
		sooner(a.next)
	}
	for i := range r.waiting {
		sooner(r.waiting[i].at)
	}
	sooner(r.claim.next)
	return next
}

// Bye returns what to send before the box goes (RFC 6762 §10.1).
func (r *Responder) Bye() []Send {
	var out []Send
	for _, l := range r.links {
		records := r.all(l)
		for i := range records {
			records[i].ttl = 0
		}
		out = append(out, multicast(l, response{answers: records})...)
	}
	return out
}

// multicast is what goes to the group on a link, and is remembered.
func (r *Responder) multicast(now time.Time, l links.Link, what response) []Send {
	out := multicast(l, what)
	for _, s := range out {
		for _, rec := range what.answers {
			r.said[said{rec.name, rec.typ(), l.Index, s.V6}] = now
		}
	}
	return out
}

// near says whether an address is on the link, or this machine's.
func (r *Responder) near(l links.Link, a netip.Addr) bool { return l.Near(a) || r.mine(a) }

// mine says whether an address is this machine's.
func (r *Responder) mine(a netip.Addr) bool {
	for _, l := range r.links {
		if l.Holds(a) {
			return true
		}
	}
	return false
}

// known returns the name of ours that is asked for, "" if it is none.
func (r *Responder) known(name string) string {
	label, ok := message.Below(name, "local")
	if !ok {
		return ""
	}
	label = message.Fold(label)
	for _, n := range []string{r.names.Shared, r.names.Host, r.claim.held()} {
		if n != "" && n == label {
			return n
		}
	}
	return ""
}

func (r *Responder) unique(name string) bool { return name != r.names.Shared }

// all are the records that a link is told of.
func (r *Responder) all(l links.Link) []record {
	var out []record
	for _, n := range []string{r.names.Shared, r.names.Host, r.claim.held()} {
		if n != "" {
			out = append(out, r.records(n, l)...)
		}
	}
	return out
}

// records are the addresses of a name on a link.
func (r *Responder) records(name string, l links.Link) []record {
	var out []record
	published := l.Published()
	unique, lasts := r.unique(name), uint32(ttl)
	if !unique {
		lasts = sharedTTL
	}
	for _, a := range published[:min(len(published), maxAddresses)] {
		out = append(out, record{name: name, addr: a, unique: unique, ttl: lasts})
	}
	return out
}

func (r *Responder) between(low, high time.Duration) time.Duration {
	return low + r.upTo(high-low)
}

func (r *Responder) upTo(d time.Duration) time.Duration {
	return time.Duration(r.rng.Int64N(int64(d) + 1))
}

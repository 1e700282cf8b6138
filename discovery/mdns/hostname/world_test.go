package hostname_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

var start = time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)

func link(name string, index int, addrs ...string) links.Link {
	l := links.Link{Name: name, Index: index}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

var eth = link("eth0", 2, "10.1.2.3/24", "fe80::3/64")

var names = hostname.Names{Shared: "preau", Own: "ecole", Host: "preau-abc"}

// responder is one on eth that has said all that it says by itself.
func settled(t *testing.T, names hostname.Names, all ...links.Link) (*hostname.Responder, time.Time) {
	t.Helper()
	r := hostname.New(names, rand.New(rand.NewPCG(1, 2)))
	now := start
	r.SetLinks(now, all)
	for r.Next() != (time.Time{}) {
		now = later(now, r.Next())
		r.Due(now)
	}
	return r, now.Add(time.Minute)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// drain returns what is sent from now on, and after how long.
func drain(t *testing.T, r *hostname.Responder, now time.Time) []timed {
	t.Helper()
	var out []timed
	at := now
	for range 1000 {
		for _, s := range r.Due(at) {
			out = append(out, timed{at.Sub(now), s, unpack(t, s.Data)})
		}
		if r.Next().IsZero() {
			return out
		}
		at = later(at, r.Next())
	}
	t.Fatal("it never ends")
	return nil
}

type timed struct {
	after time.Duration
	hostname.Send
	msg dnsmessage.Message
}

func unpack(t *testing.T, b []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("what is sent is no message: %v", err)
	}
	return m
}

// text is a section in short: "preau.local. A 10.1.2.3 120", "!" if it flushes.
func text(section []dnsmessage.Resource) []string {
	var out []string
	for _, rr := range section {
		data := ""
		switch b := rr.Body.(type) {
		case *dnsmessage.AResource:
			data = "A " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			data = "AAAA " + netip.AddrFrom16(b.AAAA).String()
		case *dnsmessage.UnknownResource:
			data = fmt.Sprintf("NSEC %x", b.Data[len(rr.Header.Name.String())+1:])
		}
		flush := ""
		if rr.Header.Class&(1<<15) != 0 {
			flush = "!"
		}
		out = append(out, fmt.Sprintf("%s %s %d%s", rr.Header.Name, data, rr.Header.TTL, flush))
	}
	slices.Sort(out)
	return out
}

// query makes a packet of a query.
type query struct {
	name      string
	typ       dnsmessage.Type
	class     dnsmessage.Class // 0: IN
	unicast   bool
	more      bool // known answers follow
	known     []dnsmessage.Resource
	authority []dnsmessage.Resource
	from      string // "": from port 5353 of a device on eth
	alone     bool   // it was sent to this machine alone
	link      int    // 0: eth
}

func (q query) packet(t *testing.T) hostname.Packet {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 99, Truncated: q.more}, Answers: q.known, Authorities: q.authority}
	if q.name != "" {
		class := max(q.class, dnsmessage.ClassINET)
		if q.unicast {
			class |= 1 << 15
		}
		m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName(q.name), Type: q.typ, Class: class}}
	}
	return packet(t, m, q.from, q.link, !q.alone)
}

func packet(t *testing.T, m dnsmessage.Message, from string, on int, multicast bool) hostname.Packet {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := message.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if from == "" {
		from = "10.1.2.77:5353"
	}
	if on == 0 {
		on = eth.Index
	}
	return hostname.Packet{Message: parsed, From: netip.MustParseAddrPort(from), Link: on, Multicast: multicast}
}

// rr is a record with an address.
func rr(name, addr string, ttl uint32) dnsmessage.Resource {
	a := netip.MustParseAddr(addr)
	out := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{
		Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl, Type: dnsmessage.TypeA,
	}}
	if a.Is4() {
		out.Body = &dnsmessage.AResource{A: a.As4()}
	} else {
		out.Body, out.Header.Type = &dnsmessage.AAAAResource{AAAA: a.As16()}, dnsmessage.TypeAAAA
	}
	return out
}

// response makes a packet of a response.
func response(t *testing.T, from string, answers ...dnsmessage.Resource) hostname.Packet {
	t.Helper()
	return packet(t, dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}, Answers: answers}, from, 0, true)
}

// world is several responders on one network, and its time.
type world struct {
	t     *testing.T
	now   time.Time
	boxes []*member
	lost  func() bool // whether a packet gets lost on its way to one
}

type member struct {
	*hostname.Responder
	link links.Link
}

func (w *world) add(own, addr string, seed uint64) *member {
	w.t.Helper()
	m := &member{
		Responder: hostname.New(hostname.Names{Shared: "preau", Own: own, Host: "h"}, rand.New(rand.NewPCG(seed, 3))),
		link:      link("eth0", 2, addr),
	}
	m.SetLinks(w.now, []links.Link{m.link})
	w.boxes = append(w.boxes, m)
	return m
}

// run goes on for so long.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for {
		next := end
		for _, b := range w.boxes {
			if n := b.Next(); !n.IsZero() && n.Before(next) {
				next = later(w.now, n)
			}
		}
		w.now = next
		if !w.now.Before(end) {
			return
		}
		for _, b := range w.boxes {
			for _, s := range b.Due(w.now) {
				w.deliver(b, s)
			}
		}
	}
}

func (w *world) deliver(from *member, s hostname.Send) {
	w.t.Helper()
	m, err := message.Parse(s.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	source := netip.AddrPortFrom(from.link.Addrs[0].Addr(), 5353)
	for _, b := range w.boxes {
		if s.To.IsValid() && s.To.Addr() != b.link.Addrs[0].Addr() {
			continue
		}
		if b != from && w.lost != nil && w.lost() {
			continue
		}
		b.Handle(w.now, hostname.Packet{Message: m, From: source, Link: 2, Multicast: !s.To.IsValid()})
	}
}

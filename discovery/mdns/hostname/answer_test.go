package hostname_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

const nsec = dnsmessage.Type(message.NSEC)

func TestQuestionsAreAnswered(t *testing.T) {
	v4only := link("eth0", 2, "10.1.2.3/24")
	tests := map[string]struct {
		query
		link               links.Link
		answer, additional []string
		to                 string // "": the group
	}{
		"a shared name is not to be flushed": {
			query:  query{name: "preau.local.", typ: dnsmessage.TypeA},
			answer: []string{"preau.local. A 10.1.2.3 10"}, additional: []string{"preau.local. AAAA fe80::3 10"},
		},
		"case does not matter": {
			query:  query{name: "PReau.LOCAL.", typ: dnsmessage.TypeAAAA},
			answer: []string{"preau.local. AAAA fe80::3 10"}, additional: []string{"preau.local. A 10.1.2.3 10"},
		},
		"any is all": {
			query:  query{name: "preau.local.", typ: dnsmessage.TypeALL, class: dnsmessage.ClassANY},
			answer: []string{"preau.local. A 10.1.2.3 10", "preau.local. AAAA fe80::3 10"},
		},
		"an own name replaces what was known": {
			query:  query{name: "ecole.local.", typ: dnsmessage.TypeA},
			answer: []string{"ecole.local. A 10.1.2.3 120!"}, additional: []string{"ecole.local. AAAA fe80::3 120!"},
		},
		"the host of the services too": {
			query:  query{name: "preau-abc.local.", typ: dnsmessage.TypeA},
			answer: []string{"preau-abc.local. A 10.1.2.3 120!"}, additional: []string{"preau-abc.local. AAAA fe80::3 120!"},
		},
		"an own name has no other records, which is said (RFC 6762 §6.1)": {
			query:  query{name: "ecole.local.", typ: dnsmessage.TypeTXT},
			answer: []string{"ecole.local. NSEC 000440000008 120!"},
		},
		"an own name has no address of IPv6": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeAAAA}, link: v4only,
			answer: []string{"ecole.local. NSEC 000140 120!"}, additional: []string{"ecole.local. A 10.1.2.3 120!"},
		},
		"nor that when asked for IPv4": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA}, link: v4only,
			answer: []string{"ecole.local. A 10.1.2.3 120!"}, additional: []string{"ecole.local. NSEC 000140 120!"},
		},
		"of a shared name nobody can say what it has not": {
			query: query{name: "preau.local.", typ: dnsmessage.TypeAAAA}, link: v4only,
		},
		"by unicast if that is wished": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA, unicast: true}, to: "10.1.2.77:5353",
			answer: []string{"ecole.local. A 10.1.2.3 120!"}, additional: []string{"ecole.local. AAAA fe80::3 120!"},
		},
		"a simple device gets a simple answer (RFC 6762 §6.7)": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA, from: "10.1.2.77:40000"}, to: "10.1.2.77:40000",
			answer: []string{"ecole.local. A 10.1.2.3 10"}, additional: []string{"ecole.local. AAAA fe80::3 10"},
		},
		"also one that knows this box's address": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA, from: "10.1.2.77:40000", alone: true}, to: "10.1.2.77:40000",
			answer: []string{"ecole.local. A 10.1.2.3 10"}, additional: []string{"ecole.local. AAAA fe80::3 10"},
		},
		"nothing leaves the link (RFC 6762 §11)": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA, from: "8.8.8.8:40000", alone: true},
		},
		"nor by way of the group": {
			query: query{name: "ecole.local.", typ: dnsmessage.TypeA, from: "8.8.8.8:40000"},
		},
		"a link that is not ours": {query: query{name: "ecole.local.", typ: dnsmessage.TypeA, link: 77}},
		"another name":            {query: query{name: "ecole2.local.", typ: dnsmessage.TypeA}},
		"a name below ours":       {query: query{name: "www.preau.local.", typ: dnsmessage.TypeA}},
		"another domain":          {query: query{name: "preau.lan.", typ: dnsmessage.TypeA}},
		"another class":           {query: query{name: "preau.local.", typ: dnsmessage.TypeA, class: dnsmessage.ClassCHAOS}},
		"what is known is not said (RFC 6762 §7.1)": {
			query: query{name: "preau.local.", typ: dnsmessage.TypeA, known: []dnsmessage.Resource{rr("PREAU.local.", "10.1.2.3", 60)}},
		},
		"unless it is about to be forgotten": {
			query:  query{name: "preau.local.", typ: dnsmessage.TypeA, known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.3", 4)}},
			answer: []string{"preau.local. A 10.1.2.3 10"}, additional: []string{"preau.local. AAAA fe80::3 10"},
		},
		"another box's address is no known answer": {
			query:  query{name: "preau.local.", typ: dnsmessage.TypeA, known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.4", 10)}},
			answer: []string{"preau.local. A 10.1.2.3 10"}, additional: []string{"preau.local. AAAA fe80::3 10"},
		},
		"part of it is known": {
			query:  query{name: "preau.local.", typ: dnsmessage.TypeALL, known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.3", 10)}},
			answer: []string{"preau.local. AAAA fe80::3 10"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := tt.link
			if l.Index == 0 {
				l = eth
			}
			r, now := settled(t, names, l)
			// A minute ago all was told: a wish for unicast is granted.
			p := tt.packet(t)
			if tt.unicast {
				now = now.Add(-45 * time.Second)
			}
			r.Handle(now, p)
			got := drain(t, r, now)
			if tt.answer == nil {
				if len(got) > 0 {
					t.Fatalf("answer is %v", text(got[0].msg.Answers))
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%d packets were sent, want 1", len(got))
			}
			m := got[0].msg
			if a := text(m.Answers); !slices.Equal(a, tt.answer) {
				t.Errorf("answer is %q, want %q", a, tt.answer)
			}
			if a := text(m.Additionals); !slices.Equal(a, tt.additional) {
				t.Errorf("additional is %q, want %q", a, tt.additional)
			}
			to := ""
			if got[0].To.IsValid() {
				to = got[0].To.String()
			}
			if to != tt.to || got[0].Link != 2 || got[0].V6 {
				t.Errorf("sent to %+v", got[0].Send)
			}
			legacy := strings.HasSuffix(tt.to, ":40000")
			if !m.Response || !m.Authoritative || (m.ID == 99) != legacy || (len(m.Questions) == 1) != legacy {
				t.Errorf("header is %+v with %d questions", m.Header, len(m.Questions))
			}
			// RFC 6762 §6: others may answer for a shared name at the same time.
			shared := strings.EqualFold(tt.name, "preau.local.")
			if after := got[0].after; shared != (after >= 20*time.Millisecond && after <= 120*time.Millisecond) || (!shared && after != 0) {
				t.Errorf("answered after %v", after)
			}
		})
	}
}

func TestAQuestionByIPv6IsAnsweredByIPv6(t *testing.T) {
	r, now := settled(t, names, eth)
	r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA, from: "[fe80::77%eth0]:5353"}.packet(t))
	if got := drain(t, r, now); len(got) != 1 || !got[0].V6 || got[0].To.IsValid() {
		t.Errorf("sent %+v", got)
	}
}

func TestEachLinkHasItsOwnAddresses(t *testing.T) {
	wlan := link("wlan0", 3, "192.168.7.1/24")
	r, now := settled(t, names, eth, wlan)
	r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeALL, from: "192.168.7.9:5353", link: 3}.packet(t))
	got := drain(t, r, now)
	if len(got) != 1 || got[0].Link != 3 || !slices.Equal(text(got[0].msg.Answers), []string{"ecole.local. A 192.168.7.1 120!"}) {
		t.Errorf("sent %+v", got)
	}
}

func TestTheGroupHearsARecordOnceASecondAtMost(t *testing.T) {
	r, now := settled(t, names, eth)
	sent := 0
	for range 100 { // over a second
		r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA}.packet(t))
		sent += len(drain(t, r, now))
		now = now.Add(11 * time.Millisecond)
	}
	if sent != 2 {
		t.Errorf("sent %d packets", sent)
	}
}

func TestAFloodOfQuestionsIsNoFloodOfAnswers(t *testing.T) {
	r, now := settled(t, names, eth)
	ask := func(from string) int {
		r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA, from: from}.packet(t))
		return len(r.Due(now))
	}
	one := 0
	for range 1000 {
		one += ask("10.1.2.77:40000")
	}
	all := 0
	for i := range 10_000 {
		all += ask(fmt.Sprintf("10.1.2.%d:%d", i%200+10, 40000+i))
	}
	if one != 20 || all > 400 {
		t.Errorf("answered %d times to one and %d times to all", one, all)
	}
	now = now.Add(time.Second)
	if ask("10.1.2.77:40000") != 1 {
		t.Error("there is no answer a second later")
	}
}

func TestAWishForUnicastIsGrantedButAllHearOfItNowAndThen(t *testing.T) {
	r, now := settled(t, names, eth) // a minute ago, more than a quarter of the time
	r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA, unicast: true}.packet(t))
	got := drain(t, r, now)
	if len(got) != 2 || !got[0].To.IsValid() || got[1].To.IsValid() {
		t.Errorf("sent %+v", got)
	}
}

func TestALongListOfKnownAnswersIsWaitedFor(t *testing.T) {
	r, now := settled(t, names, eth)
	r.Handle(now, query{name: "preau.local.", typ: dnsmessage.TypeA, more: true}.packet(t))
	if next := r.Next().Sub(now); next < 400*time.Millisecond || next > 500*time.Millisecond {
		t.Errorf("answers after %v", next)
	}
	r.Handle(now.Add(time.Millisecond), query{known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.3", 100)}}.packet(t))
	if got := drain(t, r, now); len(got) > 0 {
		t.Errorf("sent %v", text(got[0].msg.Answers))
	}
	// Somebody else's list changes nothing.
	r.Handle(now, query{name: "preau.local.", typ: dnsmessage.TypeA, more: true}.packet(t))
	r.Handle(now, query{known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.3", 100)}, from: "10.1.2.78:5353"}.packet(t))
	if got := drain(t, r, now); len(got) != 1 {
		t.Errorf("sent %d packets", len(got))
	}
}

func TestSeveralQuestionsHaveOneAnswer(t *testing.T) {
	r, now := settled(t, names, eth)
	m := dnsmessage.Message{}
	for _, n := range []string{"preau.local.", "printer.local.", "ecole.local.", "ecole.local."} {
		for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			m.Questions = append(m.Questions, dnsmessage.Question{Name: dnsmessage.MustNewName(n), Type: typ, Class: dnsmessage.ClassINET})
		}
	}
	r.Handle(now, packet(t, m, "", 0, true))
	got := drain(t, r, now)
	want := []string{"ecole.local. A 10.1.2.3 120!", "ecole.local. AAAA fe80::3 120!", "preau.local. A 10.1.2.3 10", "preau.local. AAAA fe80::3 10"}
	if len(got) != 1 || !slices.Equal(text(got[0].msg.Answers), want) || len(got[0].msg.Additionals) > 0 {
		t.Errorf("sent %+v", got)
	}
}

func TestManyAddressesFitIntoOnePacket(t *testing.T) {
	l := links.Link{Name: "eth0", Index: 2}
	for i := range 200 {
		l.Addrs = append(l.Addrs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(i)}), 64))
	}
	r := hostname.New(names, newRand())
	r.SetLinks(start, []links.Link{l})
	for _, s := range r.Due(start) {
		if len(s.Data) > 1400 {
			t.Errorf("%d bytes", len(s.Data))
		}
	}
}

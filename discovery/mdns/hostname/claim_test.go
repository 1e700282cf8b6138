package hostname_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestANameIsProbedThenAnnouncedTwice(t *testing.T) {
	r := hostname.New(names, newRand())
	if !r.Next().IsZero() || len(r.Due(start)) > 0 {
		t.Error("it speaks before it has a link")
	}
	v4 := link("eth0", 2, "10.1.2.3/24")
	r.SetLinks(start, []links.Link{v4})
	var probes, announced []time.Duration
	for _, s := range drain(t, r, start) {
		if !s.msg.Response {
			probes = append(probes, s.after)
			q := s.msg.Questions[0]
			if q.Name.String() != "ecole.local." || q.Type != dnsmessage.TypeALL || q.Class != dnsmessage.ClassINET ||
				!slices.Equal(text(s.msg.Authorities), []string{"ecole.local. A 10.1.2.3 120"}) {
				t.Errorf("probe is %+v", s.msg)
			}
			continue
		}
		if slices.Contains(text(s.msg.Answers), "ecole.local. A 10.1.2.3 120!") {
			announced = append(announced, s.after)
		}
		for _, a := range []string{"preau.local. A 10.1.2.3 10", "preau-abc.local. A 10.1.2.3 120!"} {
			if !slices.Contains(text(s.msg.Answers), a) {
				t.Errorf("%s is not announced", a)
			}
		}
	}
	if len(probes) != 3 || probes[0] > 250*time.Millisecond || probes[2]-probes[1] != 250*time.Millisecond || probes[1]-probes[0] != 250*time.Millisecond {
		t.Errorf("probed at %v", probes)
	}
	if len(announced) != 2 || announced[0] != probes[2]+250*time.Millisecond || announced[1]-announced[0] != time.Second {
		t.Errorf("announced at %v, probed at %v", announced, probes)
	}
	if r.OwnName() != "ecole" {
		t.Errorf("own name is %q", r.OwnName())
	}
}

func TestABoxYieldsToWhoeverHasTheName(t *testing.T) {
	none := rr("ecole.local.", "10.1.2.77", 120)
	none.Header.Type = nsec
	none.Body = &dnsmessage.UnknownResource{Type: nsec, Data: []byte{0, 0, 1, 0}}
	beyond := response(t, "8.8.8.8:5353", rr("ecole.local.", "8.8.8.8", 120))
	beyond.Multicast = false
	tests := map[string]struct {
		packet hostname.Packet
		want   string
	}{
		"another host has it":                             {response(t, "", rr("Ecole.local.", "10.1.2.77", 120)), "ecole-2"},
		"without an address, but with other records":      {response(t, "", none), "ecole-2"},
		"it says goodbye":                                 {response(t, "", rr("ecole.local.", "10.1.2.77", 0)), "ecole"},
		"it is another name":                              {response(t, "", rr("ecole2.local.", "10.1.2.77", 120)), "ecole"},
		"it has the same address: some reflector":         {response(t, "", rr("ecole.local.", "10.1.2.3", 120)), "ecole"},
		"it is this machine, which has another responder": {response(t, "10.1.2.3:5353", rr("ecole.local.", "10.9.9.9", 120)), "ecole"},
		"it does not speak from the port":                 {response(t, "10.1.2.77:5354", rr("ecole.local.", "10.1.2.77", 120)), "ecole"},
		"it is beyond a router":                           {beyond, "ecole"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := hostname.New(names, newRand())
			r.SetLinks(start, []links.Link{eth})
			now := start.Add(300 * time.Millisecond)
			r.Due(now)
			r.Handle(now, tt.packet)
			drain(t, r, now)
			if r.OwnName() != tt.want || (r.Yielded() == 1) != (tt.want == "ecole-2") {
				t.Errorf("own name is %q after %d conflicts, want %q", r.OwnName(), r.Yielded(), tt.want)
			}
		})
	}
}

func TestOfTwoThatAskAtOnceTheLesserWaits(t *testing.T) {
	// RFC 6762 §8.2: 10.1.2.3 is less than 10.1.2.77, and greater than 10.1.2.2.
	tests := map[string]struct {
		theirs []string
		from   string
		waits  bool
	}{
		"greater":                  {[]string{"10.1.2.77"}, "", true},
		"less":                     {[]string{"10.1.2.2"}, "", false},
		"the same, and more":       {[]string{"10.1.2.3", "10.1.2.77"}, "", true},
		"the same":                 {[]string{"10.1.2.3"}, "", false},
		"in another order":         {[]string{"10.1.2.77", "10.1.2.2"}, "", false},
		"IPv6 comes after IPv4":    {[]string{"fe80::1"}, "", true},
		"our own from another way": {[]string{"10.1.2.77"}, "10.1.2.3:5353", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := hostname.New(names, newRand())
			r.SetLinks(start, []links.Link{link("eth0", 2, "10.1.2.3/24")})
			now := start.Add(300 * time.Millisecond)
			r.Due(now)
			var theirs []dnsmessage.Resource
			for _, a := range tt.theirs {
				theirs = append(theirs, rr("ecole.local.", a, 120))
			}
			r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeALL, unicast: true, authority: theirs, from: tt.from}.packet(t))
			if waits := r.Next().Sub(now) >= time.Second; waits != tt.waits {
				// Announcements of the other names come in between.
				r.Due(now.Add(999 * time.Millisecond))
				if waits = r.OwnName() == ""; waits != tt.waits {
					t.Errorf("waits: %v, want %v", waits, tt.waits)
				}
			}
			drain(t, r, now)
			if r.OwnName() != "ecole" || r.Yielded() > 0 {
				t.Errorf("name is %q after %d conflicts", r.OwnName(), r.Yielded())
			}
		})
	}
}

func TestTwoBoxesNeverKeepOneName(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 9))
		w := &world{t: t, now: start}
		for i := range 4 {
			w.add("ecole", fmt.Sprintf("10.1.2.%d/24", 10+i), seed*10+uint64(i))
			if rng.IntN(2) == 0 {
				w.run(time.Duration(rng.IntN(1500)) * time.Millisecond)
			}
		}
		w.run(20 * time.Second)
		var got []string
		for _, b := range w.boxes {
			got = append(got, b.OwnName())
		}
		slices.Sort(got)
		if want := []string{"ecole", "ecole-2", "ecole-3", "ecole-4"}; !slices.Equal(got, want) {
			t.Fatalf("seed %d: names are %v", seed, got)
		}
	}
}

func TestANetworkThatWasApartAgreesAgain(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 9))
		apart := true
		w := &world{t: t, now: start, lost: func() bool { return apart || rng.IntN(5) == 0 }}
		a, b := w.add("ecole", "10.1.2.3/24", seed), w.add("ecole", "10.1.2.4/24", seed+100)
		w.run(5 * time.Second)
		if a.OwnName() != "ecole" || b.OwnName() != "ecole" {
			t.Fatalf("names are %q and %q", a.OwnName(), b.OwnName())
		}
		apart = false
		for range 10 { // somebody asks now and then
			for _, m := range w.boxes {
				m.Handle(w.now, query{name: "ecole.local.", typ: dnsmessage.TypeA}.packet(t))
			}
			w.run(4 * time.Second)
		}
		if a.OwnName() == b.OwnName() {
			t.Errorf("seed %d: both are %q", seed, a.OwnName())
		}
	}
}

func TestAClaimIsDefendedAtOnce(t *testing.T) {
	r, now := settled(t, names, eth)
	// Said just now: others would have to wait for a second.
	r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA}.packet(t))
	drain(t, r, now)
	now = now.Add(300 * time.Millisecond)
	for _, unicast := range []bool{false, true} {
		r.Handle(now, query{
			name: "ecole.local.", typ: dnsmessage.TypeALL, unicast: unicast,
			authority: []dnsmessage.Resource{rr("ecole.local.", "10.1.2.77", 120)},
		}.packet(t))
		told := false
		for _, s := range drain(t, r, now) {
			told = told || (!s.To.IsValid() && s.after == 0)
		}
		if !told {
			t.Errorf("unicast %v: the group is not told", unicast)
		}
		now = now.Add(300 * time.Millisecond)
	}
	if r.OwnName() != "ecole" || r.Yielded() != 0 {
		t.Errorf("name is %q", r.OwnName())
	}
}

func TestANameThatIsClaimedLaterIsProbedAgain(t *testing.T) {
	r, now := settled(t, names, eth)
	r.Handle(now, response(t, "", rr("ecole.local.", "10.1.2.77", 120)))
	r.Handle(now, query{name: "ecole.local.", typ: dnsmessage.TypeA}.packet(t))
	if got := r.Due(now); len(got) > 0 && unpack(t, got[0].Data).Response {
		t.Error("it answers for a name that it is not sure of")
	}
	if r.OwnName() != "ecole" {
		t.Errorf("name is %q meanwhile", r.OwnName())
	}
	drain(t, r, now) // nobody defends it
	if r.OwnName() != "ecole" || r.Yielded() != 0 {
		t.Errorf("name is %q", r.OwnName())
	}
}

func TestNobodyQuarrelsAboutASharedName(t *testing.T) {
	r, now := settled(t, names, eth)
	r.Handle(now, response(t, "", rr("preau.local.", "10.1.2.77", 120)))
	if got := drain(t, r, now); len(got) > 0 || r.Yielded() > 0 {
		t.Errorf("sent %+v", got)
	}
}

func TestAHostThatClaimsEveryNameIsYieldedToSlowly(t *testing.T) {
	r := hostname.New(hostname.Names{Own: strings.Repeat("e", 63)}, newRand())
	now := start
	r.SetLinks(now, []links.Link{eth})
	end, asked := start.Add(time.Minute), 0
	for now.Before(end) {
		now = later(now, r.Next())
		for _, s := range r.Due(now) {
			m := unpack(t, s.Data)
			if m.Response || s.V6 {
				continue
			}
			asked++
			name := m.Questions[0].Name.String()
			if label, ok := message.Below(strings.TrimSuffix(name, "."), "local"); !ok || len(label) > 63 {
				t.Fatalf("name is %q", name)
			}
			r.Handle(now, response(t, "", rr(name, "10.1.2.77", 120)))
		}
	}
	if asked < 20 || asked > 40 {
		t.Errorf("asked %d times in a minute", asked)
	}
}

func TestANewLinkIsAskedAndToldAndOtherAddressesAreTold(t *testing.T) {
	r, now := settled(t, names, eth)
	moved := link("eth0", 2, "10.1.2.9/24", "fe80::3/64")
	r.SetLinks(now, []links.Link{moved})
	got := drain(t, r, now)
	if len(got) != 6 { // two families: one goodbye, two announcements
		t.Fatalf("sent %d packets", len(got))
	}
	if bye := text(got[0].msg.Answers); !slices.Equal(bye, []string{"preau.local. A 10.1.2.3 0"}) {
		t.Errorf("goodbye is %v", bye)
	}
	if a := text(got[2].msg.Answers); !slices.Contains(a, "ecole.local. A 10.1.2.9 120!") || !slices.Contains(a, "preau-abc.local. A 10.1.2.9 120!") {
		t.Errorf("announced is %v", a)
	}
	now = now.Add(time.Minute)
	r.SetLinks(now, []links.Link{moved, link("wlan0", 3, "192.168.7.1/24")})
	probes := 0
	for _, s := range drain(t, r, now) {
		if !s.msg.Response && s.Link == 3 {
			probes++
		}
	}
	if probes != 3 || r.OwnName() != "ecole" {
		t.Errorf("%d probes on the new link, name %q", probes, r.OwnName())
	}
	r.SetLinks(now, nil)
	if !r.Next().IsZero() || len(r.Due(now.Add(time.Hour))) > 0 {
		t.Error("it speaks without a link")
	}
}

func TestGoodbyeTakesAllBack(t *testing.T) {
	r, _ := settled(t, names, link("eth0", 2, "10.1.2.3/24"))
	got := r.Bye()
	if len(got) != 1 {
		t.Fatalf("sent %d packets", len(got))
	}
	want := []string{"ecole.local. A 10.1.2.3 0!", "preau-abc.local. A 10.1.2.3 0!", "preau.local. A 10.1.2.3 0"}
	if a := text(unpack(t, got[0].Data).Answers); !slices.Equal(a, want) {
		t.Errorf("goodbye is %v", a)
	}
}

func TestOnlyQuestionsForOurNamesNeedOurAddresses(t *testing.T) {
	r, _ := settled(t, names, eth)
	if !r.Asks(query{name: "Preau.local.", typ: dnsmessage.TypeA}.packet(t).Message) ||
		r.Asks(query{name: "printer.local.", typ: dnsmessage.TypeA}.packet(t).Message) ||
		r.Asks(response(t, "", rr("preau.local.", "10.1.2.77", 120)).Message) {
		t.Error("Asks is wrong")
	}
}

// FuzzHandle gives a responder what a hostile device might send, in each state
// it can be in. What it sends must be messages, and few.
func FuzzHandle(f *testing.F) {
	for _, q := range []query{
		{name: "preau.local.", typ: dnsmessage.TypeA},
		{name: "ecole.local.", typ: dnsmessage.TypeALL, unicast: true, authority: []dnsmessage.Resource{rr("ecole.local.", "10.1.2.77", 120)}},
		{name: "preau.local.", typ: dnsmessage.TypeAAAA, known: []dnsmessage.Resource{rr("preau.local.", "10.1.2.3", 120)}},
	} {
		b, err := (&dnsmessage.Message{
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(q.name), Type: q.typ, Class: dnsmessage.ClassINET}},
			Answers:   q.known, Authorities: q.authority,
		}).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(5353), true, uint16(300))
		f.Add(b, uint16(40000), true, uint16(3000))
	}
	b, err := (&dnsmessage.Message{
		Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{rr("ecole.local.", "10.1.2.77", 120)},
	}).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, uint16(5353), true, uint16(300))
	f.Fuzz(func(t *testing.T, b []byte, port uint16, multicast bool, ms uint16) {
		m, err := message.Parse(b)
		if err != nil {
			return
		}
		r := hostname.New(names, newRand())
		r.SetLinks(start, []links.Link{eth})
		now := start
		for range 3 {
			now = now.Add(time.Duration(ms) * time.Millisecond)
			for _, s := range r.Due(now) {
				unpack(t, s.Data)
			}
			p := response(t, fmt.Sprintf("10.1.2.77:%d", port))
			p.Message, p.Multicast = m, multicast
			r.Handle(now, p)
		}
		if got := drain(t, r, now); len(got) > 40 {
			t.Errorf("%d packets are sent", len(got))
		}
	})
}

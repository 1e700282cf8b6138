package mdns

import (
	"net/netip"
	"testing"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

var (
	lan   = links.Link{Name: "eth0", Index: 2, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")}}
	radio = links.Link{Name: "wlan0", Index: 3, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.9.3/24")}}
)

func TestABoxDoesNotAskWhatAnotherJustAsked(t *testing.T) {
	const every = 45 * time.Second
	turns := turns{every: every}
	turns.hurry(noon)
	turns.begun(noon)
	within := func(what string, from time.Time) {
		t.Helper()
		if d := turns.next().Sub(from); d < every || d >= every*4/3 {
			t.Errorf("%s: the next browse is after %v", what, d)
		}
	}
	within("it asked itself", noon)
	now := noon.Add(29 * time.Second)
	if begin, whole := turns.heard(now, lan.Index, []links.Link{lan}); !whole || !begin.Equal(now) {
		t.Errorf("asked at %v, all links: %v", begin, whole)
	}
	within("another asked", now)

	both := []links.Link{lan, radio}
	at, first := turns.next(), now.Add(10*time.Second)
	if _, whole := turns.heard(first, radio.Index, both); whole || turns.next() != at {
		t.Error("a question on one of two links was taken for one on both")
	}
	now = first.Add(time.Second)
	if begin, whole := turns.heard(now, lan.Index, both); !whole || !begin.Equal(first) {
		t.Errorf("asked since %v, all links: %v", begin, whole)
	}
	within("others asked on both links", first)

	turns.hurry(now)
	if _, whole := turns.heard(now, lan.Index, []links.Link{lan}); whole || !turns.due(now) {
		t.Error("a new network is not asked, because another box asked")
	}
}

func TestNobodyElseAsksInABoxesPlaceForever(t *testing.T) {
	const every = 45 * time.Second
	turns := turns{every: every}
	turns.hurry(noon)
	turns.begun(noon)
	for now := noon; !turns.due(now); now = now.Add(time.Second) {
		turns.heard(now, lan.Index, []links.Link{lan})
		if now.Sub(noon) > putOffMost*every {
			t.Fatalf("no browse for %v", now.Sub(noon))
		}
	}
	if d := turns.next().Sub(turns.own); d < putOffMost*every/2 {
		t.Errorf("it asked after %v all the same", d)
	}
}

func TestWhatOthersAskIsWhatThisBoxWouldAsk(t *testing.T) {
	good := message.Question{Name: "_PREAU._tcp.local", Type: message.PTR, Class: message.IN}
	tests := map[string]struct {
		change func(p *packet, m *message.Message)
		want   bool
	}{
		"the boxes of the link":        {func(*packet, *message.Message) {}, true},
		"something besides":            {func(_ *packet, m *message.Message) { m.Questions = append(m.Questions, message.Question{Name: "x"}) }, true},
		"something else":               {func(_ *packet, m *message.Message) { m.Questions[0].Name = "_ipp._tcp.local" }, false},
		"their addresses":              {func(_ *packet, m *message.Message) { m.Questions[0].Type = message.A }, false},
		"for an answer to it alone":    {func(_ *packet, m *message.Message) { m.Questions[0].Unicast = true }, false},
		"from another port":            {func(p *packet, _ *message.Message) { p.from = netip.MustParseAddrPort("10.1.2.9:40000") }, false},
		"this box alone":               {func(p *packet, _ *message.Message) { p.group = false }, false},
		"not those that it knows":      {func(_ *packet, m *message.Message) { m.Answers = []message.Record{{}} }, false},
		"it is this machine":           {func(p *packet, _ *message.Message) { p.from = netip.MustParseAddrPort("10.1.2.3:5353") }, false},
		"what it knows is yet to come": {func(_ *packet, m *message.Message) { m.Truncated = true }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := packet{from: netip.MustParseAddrPort("10.1.2.9:5353"), group: true, link: lan.Index}
			m := &message.Message{Questions: []message.Question{good}}
			tt.change(&p, m)
			if got := asksAll(p, m, lan); got != tt.want {
				t.Errorf("asks all: %v", got)
			}
		})
	}
}

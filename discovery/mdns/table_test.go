package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

var (
	noon = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	eth  = links.Link{Name: "eth0", Index: 2, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fe80::3/64")}}
	wlan = links.Link{Name: "wlan0", Index: 3, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.7.3/24")}}
)

// said is a response about a box.
type said struct {
	instance string
	host     string // "": h-instance
	port     uint16 // 0: 4433
	ttl      uint32 // 0: 120
	goodbye  bool
	addrs    []string
	text     []string
	found    bool // an answer to somebody who browses, and no announcement
	bare     bool // addresses of the host only
	add      bool // addresses without the bit that flushes others
	from     string
}

func (s said) message(t *testing.T) *message.Message {
	t.Helper()
	name := func(n string) dnsmessage.Name { return dnsmessage.MustNewName(n + ".local.") }
	host := s.host
	if host == "" {
		host = "h-" + s.instance
	}
	ttl := max(s.ttl, 120)
	if s.goodbye {
		ttl = 0
	}
	head := func(n dnsmessage.Name, typ dnsmessage.Type, flush bool) dnsmessage.ResourceHeader {
		h := dnsmessage.ResourceHeader{Name: n, Type: typ, Class: dnsmessage.ClassINET, TTL: ttl}
		if flush {
			h.Class |= 1 << 15
		}
		return h
	}
	port := s.port
	if port == 0 {
		port = 4433
	}
	full := s.instance + "." + Service
	ptr := dnsmessage.Resource{Header: head(name(Service), dnsmessage.TypePTR, false), Body: &dnsmessage.PTRResource{PTR: name(full)}}
	rest := []dnsmessage.Resource{
		{Header: head(name(full), dnsmessage.TypeSRV, true), Body: &dnsmessage.SRVResource{Port: port, Target: name(host)}},
		{Header: head(name(full), dnsmessage.TypeTXT, true), Body: &dnsmessage.TXTResource{TXT: append([]string{""}, s.text...)[min(1, len(s.text)):]}},
	}
	if s.bare {
		rest = nil
	}
	for _, a := range s.addrs {
		a := netip.MustParseAddr(a)
		if a.Is4() {
			rest = append(rest, dnsmessage.Resource{Header: head(name(host), dnsmessage.TypeA, !s.add), Body: &dnsmessage.AResource{A: a.As4()}})
		} else {
			rest = append(rest, dnsmessage.Resource{Header: head(name(host), dnsmessage.TypeAAAA, !s.add), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	switch {
	case s.bare:
		m.Answers = rest
	case s.found:
		m.Answers, m.Additionals = []dnsmessage.Resource{ptr}, rest
	default:
		m.Answers = append(rest, ptr)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := message.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (s said) to(t *testing.T, table *table, now time.Time, l links.Link) bool {
	t.Helper()
	from := s.from
	if from == "" {
		from = "10.1.2.77"
	}
	return table.hear(now, s.message(t), l, netip.MustParseAddr(from))
}

// text is a table in short.
func text(t *table) string {
	var out []string
	for _, h := range t.hints() {
		out = append(out, fmt.Sprint(h.Interface, " ", h.Instance, " ", h.Addrs))
	}
	return strings.Join(out, "; ")
}

func TestWhatIsHeardBecomesHints(t *testing.T) {
	a := said{instance: "a", addrs: []string{"10.1.2.4", "fe80::4"}, text: []string{"id=a"}}
	const known = "eth0 a [10.1.2.4:4433 [fe80::4%eth0]:4433]"
	tests := map[string]struct {
		says []said
		want string
		news []bool
	}{
		"an announcement":                                {[]said{a}, known, []bool{true}},
		"an answer to a browse":                          {[]said{{instance: "a", addrs: a.addrs, found: true}}, known, []bool{true}},
		"itself":                                         {[]said{{instance: "ME", addrs: a.addrs}}, "", []bool{false}},
		"without an address":                             {[]said{{instance: "a"}}, "", []bool{true}},
		"with one outside of the LAN":                    {[]said{{instance: "a", addrs: []string{"8.8.8.8", "2001:db8::1", "127.0.0.1"}}}, "", []bool{true}},
		"the same again is news if it is announced":      {[]said{a, a}, known, []bool{true, true}},
		"but not if it is found":                         {[]said{a, {instance: "a", addrs: a.addrs, text: a.text, found: true}}, known, []bool{true, false}},
		"another port":                                   {[]said{a, {instance: "a", addrs: []string{"10.1.2.4"}, port: 99, text: a.text, found: true}}, "eth0 a [10.1.2.4:99]", []bool{true, true}},
		"a goodbye":                                      {[]said{a, {instance: "a", goodbye: true}}, "", []bool{true, true}},
		"a goodbye of one that is not known":             {[]said{{instance: "a", goodbye: true}}, "", []bool{false}},
		"another address of its host":                    {[]said{a, {host: "H-A", bare: true, addrs: []string{"10.1.2.9"}}}, "eth0 a [10.1.2.9:4433 [fe80::4%eth0]:4433]", []bool{true, true}},
		"one more address of its host":                   {[]said{a, {host: "h-a", bare: true, add: true, addrs: []string{"10.1.2.9"}}}, "eth0 a [10.1.2.4:4433 10.1.2.9:4433 [fe80::4%eth0]:4433]", []bool{true, true}},
		"an address is withdrawn":                        {[]said{a, {host: "h-a", bare: true, goodbye: true, addrs: []string{"10.1.2.4"}}}, "eth0 a [[fe80::4%eth0]:4433]", []bool{true, true}},
		"all addresses are withdrawn, then there is one": {[]said{a, {host: "h-a", bare: true, goodbye: true, addrs: a.addrs}, {host: "h-a", bare: true, addrs: []string{"10.1.2.5"}}}, "eth0 a [10.1.2.5:4433]", []bool{true, true, true}},
		"another host's address":                         {[]said{a, {host: "h-b", bare: true, addrs: []string{"10.1.2.9"}}}, known, []bool{true, false}},
		"the address comes after the service":            {[]said{{instance: "a"}, {host: "h-a", bare: true, addrs: []string{"10.1.2.9"}}}, "eth0 a [10.1.2.9:4433]", []bool{true, true}},
		"two boxes":                                      {[]said{{instance: "b", addrs: []string{"10.1.2.5"}}, a}, known + "; eth0 b [10.1.2.5:4433]", []bool{true, true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := newTable("me")
			for i, s := range tt.says {
				if news := s.to(t, table, noon, eth); news != tt.news[i] {
					t.Errorf("message %d: news is %v", i, news)
				}
			}
			if got := text(table); got != tt.want {
				t.Errorf("hints are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestABoxOnTwoInterfacesIsTwoHints(t *testing.T) {
	table := newTable("me")
	said{instance: "a", addrs: []string{"10.1.2.4"}}.to(t, table, noon, eth)
	said{instance: "a", addrs: []string{"192.168.7.4"}}.to(t, table, noon, wlan)
	if got, want := text(table), "eth0 a [10.1.2.4:4433]; wlan0 a [192.168.7.4:4433]"; got != want {
		t.Errorf("hints are %q", got)
	}
	said{instance: "a", goodbye: true}.to(t, table, noon, wlan)
	if got, want := text(table), "eth0 a [10.1.2.4:4433]"; got != want {
		t.Errorf("hints are %q", got)
	}
	if !table.keep([]links.Link{wlan}) || table.keep([]links.Link{wlan}) || text(table) != "" {
		t.Errorf("hints are %q after the interface is gone", text(table))
	}
}

func TestAHintIsDroppedAfterThreeBrowsesWithoutIt(t *testing.T) {
	table := newTable("me")
	a := said{instance: "a", addrs: []string{"10.1.2.4"}, found: true}
	a.to(t, table, noon, eth)
	now := noon
	for i, heard := range []bool{false, false, true, false, false, false} {
		begin := now.Add(45 * time.Second)
		now = begin.Add(time.Second)
		if heard {
			a.to(t, table, now, eth)
		}
		gone := table.browsed(begin)
		if last := i == 5; gone != last || (text(table) == "") != last {
			t.Fatalf("after browse %d: news %v, hints %q", i, gone, text(table))
		}
	}
}

func TestHintsAreFew(t *testing.T) {
	table := newTable("me")
	for i := range 100 {
		said{instance: fmt.Sprintf("fake%d", i), addrs: []string{"10.1.2.66"}, from: "10.1.2.66"}.to(t, table, noon, eth)
	}
	if n := len(table.hints()); n != maxFrom {
		t.Errorf("one device made %d hints", n)
	}
	for i := range 200 {
		addr := fmt.Sprintf("10.1.2.%d", i+10)
		said{instance: fmt.Sprintf("box%d", i), addrs: []string{addr}, from: addr}.to(t, table, noon.Add(time.Duration(i)), eth)
	}
	h := table.hints()
	if len(h) != maxHints || len(table.entries) > maxHints {
		t.Errorf("%d hints", len(h))
	}
	if !slices.ContainsFunc(h, func(h Hint) bool { return h.Instance == "box199" }) {
		t.Error("the newest is not there")
	}
	var many said
	many.instance, many.text = "box199", slices.Repeat([]string{"k=v"}, 100)
	for i := range 40 {
		many.addrs = append(many.addrs, fmt.Sprintf("10.1.2.%d", i+100))
	}
	many.to(t, table, noon, eth)
	h = table.hints()
	i := slices.IndexFunc(h, func(h Hint) bool { return h.Instance == "box199" })
	if len(h[i].Addrs) > maxAddrs || len(h[i].Text) > maxTexts {
		t.Errorf("a hint has %d addresses and %d texts", len(h[i].Addrs), len(h[i].Text))
	}
}

func TestWhatTheLibraryMustEscapeComesBack(t *testing.T) {
	for _, s := range []string{"box-1", "Préau, École n. 1", `a\b"c"`, "x@y;(z)'", "\\065", "", "日本"} {
		if got := unescape(escape(s)); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
		if got := unescape(escapeText(s)); got != s {
			t.Errorf("text %q comes back as %q", s, got)
		}
	}
	if unescape(`a\`) != `a\` || unescape(`\06`) != "06" {
		t.Error("half an escape")
	}
}

// FuzzHear gives the table what strangers might send.
func FuzzHear(f *testing.F) {
	f.Add([]byte("\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01a\x06_preau\x04_tcp\x05local\x00\x00\x21\x80\x01\x00\x00\x00\x78\x00\x09\x00\x00\x00\x00\x11\x51\x01h\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := message.Parse(b)
		if err != nil {
			return
		}
		table := newTable("me")
		said{instance: "a", addrs: []string{"10.1.2.4"}}.to(t, table, noon, eth)
		for range 3 {
			table.hear(noon, m, eth, netip.MustParseAddr("10.1.2.66"))
		}
		for _, h := range table.hints() {
			if h.Instance == "me" || len(h.Addrs) == 0 || len(h.Addrs) > maxAddrs {
				t.Errorf("hint %+v", h)
			}
			for _, a := range h.Addrs {
				if !eth.Near(a.Addr()) {
					t.Errorf("hint leads to %v", a)
				}
			}
		}
		if n := len(table.entries); n > maxFrom+1 {
			t.Errorf("%d hints from one device", n)
		}
	})
}

package locate_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"preau/node/locate"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// at is a box of a school that is there, seen from some addresses.
func at(name, school string, seen ...string) locate.Box {
	b := locate.Box{Name: name, School: school, Alive: true, Announcement: locate.Announcement{
		Host: name + ".boxes.example.net", Port: 443, Until: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), Sites: []string{"cloud", "docs"},
	}}
	for _, s := range seen {
		b.Seen = append(b.Seen, netip.MustParsePrefix(s))
	}
	return b
}

func with(b locate.Box, change func(*locate.Box)) locate.Box {
	change(&b)
	return b
}

func networks(pairs ...string) (out []locate.Network) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, locate.Network{Prefix: netip.MustParsePrefix(pairs[i]), School: pairs[i+1]})
	}
	return out
}

const (
	lyon  = "0690001A"
	other = "0690002B"
)

func TestWhoIsSentWhere(t *testing.T) {
	home := "192.0.2.7/32"
	tests := map[string]struct {
		reports []locate.Report
		from    string
		site    string // empty: cloud
		box     string
		why     string
	}{
		"the box that is behind the same address": {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home), at("b", other, "192.0.2.8/32")}}}, from: "192.0.2.7", box: "a"},
		"the same in the clothes of IPv6":         {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home)}}}, from: "::ffff:192.0.2.7", box: "a"},
		"an address that is nobody's":             {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home)}}}, from: "192.0.2.9", why: locate.WhyUnknown},
		"no address at all":                       {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home)}}}, why: locate.WhyUnknown},
		"a line's IPv6 prefix":                    {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, "2001:db8:1:2::/64")}}}, from: "2001:db8:1:2:ffff::9", box: "a"},
		"the line beside it":                      {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, "2001:db8:1:2::/64")}}}, from: "2001:db8:1:3::9", why: locate.WhyUnknown},
		"a longer line's IPv6 prefix":             {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, "2001:db8:1::/56")}}}, from: "2001:db8:1:ff::9", box: "a"},
		"an address that two schools share":       {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home)}}, {Boxes: []locate.Box{at("b", other, home)}}}, from: "192.0.2.7", why: locate.WhyShared},
		"a shared one that IT's list settles": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon, home), at("b", other, home)}, Networks: networks(home, other)},
		}, from: "192.0.2.7", box: "b"},
		"IT's list goes before a box that is in another school's network": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon, home), at("b", other, "198.51.100.1/32")}, Networks: networks("192.0.2.0/24", other)},
		}, from: "192.0.2.7", box: "b"},
		"the longest range of IT's list counts": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon), at("b", other)}, Networks: networks("192.0.2.0/24", other, "192.0.2.0/29", lyon)},
		}, from: "192.0.2.7", box: "a"},
		"the longest range of two regions' lists": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon)}, Networks: networks("192.0.2.0/29", lyon)}, {Boxes: []locate.Box{at("b", other)}, Networks: networks("192.0.2.0/24", other)},
		}, from: "192.0.2.7", box: "a"},
		"two lists that say two things": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon)}, Networks: networks("192.0.2.0/24", lyon)}, {Boxes: []locate.Box{at("b", other)}, Networks: networks("192.0.2.0/24", other)},
		}, from: "192.0.2.7", why: locate.WhyShared},
		"a range of nobody's": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon, home)}, Networks: networks("192.0.2.0/24", "")},
		}, from: "192.0.2.7", why: locate.WhyNever},
		"a listed school without a box":     {reports: []locate.Report{{Networks: networks("192.0.2.0/24", lyon)}}, from: "192.0.2.7", why: locate.WhyNoBox},
		"a box that is away":                {reports: []locate.Report{{Boxes: []locate.Box{with(at("a", lyon, home), func(b *locate.Box) { b.Alive = false })}}}, from: "192.0.2.7", why: locate.WhyUnknown},
		"a listed school's box that is":     {reports: []locate.Report{{Boxes: []locate.Box{with(at("a", lyon, home), func(b *locate.Box) { b.Alive = false })}, Networks: networks(home, lyon)}}, from: "192.0.2.7", why: locate.WhyNoBox},
		"a certificate that has run out":    {reports: []locate.Report{{Boxes: []locate.Box{with(at("a", lyon, home), func(b *locate.Box) { b.Until = noon })}}}, from: "192.0.2.7", why: locate.WhyNoBox},
		"a site that the box does not have": {reports: []locate.Report{{Boxes: []locate.Box{at("a", lyon, home)}}}, from: "192.0.2.7", site: "films", why: locate.WhyNoBox},
		"the other box of the school, which is there": {reports: []locate.Report{
			{Boxes: []locate.Box{with(at("a", lyon, home), func(b *locate.Box) { b.Alive = false }), at("b", lyon, home)}},
		}, from: "192.0.2.7", box: "b"},
		"of a school in two places the box that is near": {reports: []locate.Report{
			{Boxes: []locate.Box{at("a", lyon, home), at("b", lyon, "192.0.2.8/32")}, Networks: networks("192.0.2.0/24", lyon)},
		}, from: "192.0.2.8", box: "b"},
		"where the box that is near is away, without a list": {reports: []locate.Report{
			{Boxes: []locate.Box{with(at("a", lyon, home), func(b *locate.Box) { b.Sites = nil }), at("b", lyon, "192.0.2.8/32")}},
		}, from: "192.0.2.7", why: locate.WhyNoBox},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := locate.NewTable(time.Minute)
			for i, r := range tt.reports {
				table.Set(fmt.Sprint("source ", i), r, noon)
			}
			from := netip.Addr{}
			if tt.from != "" {
				from = netip.MustParseAddr(tt.from)
			}
			site := tt.site
			if site == "" {
				site = "cloud"
			}
			got := table.Find(from, site, "/x", noon)
			name := ""
			if got.Box != nil {
				name = got.Box.Name
			}
			if name != tt.box || got.Why != tt.why {
				t.Errorf("sent to %q, %q; want %q, %q", name, got.Why, tt.box, tt.why)
			}
		})
	}
}

func TestASourceThatSaysNothingAnyMoreIsNotBelieved(t *testing.T) {
	table := locate.NewTable(time.Minute)
	from := netip.MustParseAddr("192.0.2.7")
	table.Set("s1", locate.Report{Boxes: []locate.Box{at("a", lyon, "192.0.2.7/32")}, Networks: networks("192.0.2.0/24", lyon)}, noon)
	find := func(after time.Duration) string { return table.Find(from, "cloud", "/", noon.Add(after)).Why }
	if why := find(time.Minute); why != "" {
		t.Errorf("while it is fresh: %s", why)
	}
	if why := find(time.Minute + 1); why != locate.WhyNoBox {
		t.Errorf("later: %q, want %q", why, locate.WhyNoBox)
	}
	table.Again("s1", noon.Add(time.Minute))
	if why := find(2 * time.Minute); why != "" {
		t.Errorf("after it has said that all holds: %s", why)
	}
	if all := table.All(noon.Add(time.Hour)); len(all.Boxes) != 1 || all.Boxes[0].Alive || len(all.Networks) != 1 {
		t.Errorf("an hour later all is %+v", all)
	}
	table.Keep(nil)
	if why := find(0); why != locate.WhyUnknown {
		t.Errorf("without it: %q", why)
	}
}

func TestABoxThatChangedItsServerIsWhereItIsConnected(t *testing.T) {
	table := locate.NewTable(time.Minute)
	table.Set("s1", locate.Report{Boxes: []locate.Box{with(at("a", lyon, "192.0.2.7/32"), func(b *locate.Box) { b.Alive = false })}}, noon)
	table.Set("s2", locate.Report{Boxes: []locate.Box{at("a", lyon, "198.51.100.9/32")}}, noon)
	all := table.All(noon)
	if len(all.Boxes) != 1 || !all.Boxes[0].Alive || all.Boxes[0].Seen[0].String() != "198.51.100.9/32" {
		t.Errorf("all is %+v", all)
	}
	if why := table.Find(netip.MustParseAddr("192.0.2.7"), "cloud", "/", noon).Why; why != locate.WhyUnknown {
		t.Errorf("where it was before: %q", why)
	}
}

func TestPagesAreSpreadOverASchoolsBoxes(t *testing.T) {
	table := locate.NewTable(time.Minute)
	table.Set("s1", locate.Report{Boxes: []locate.Box{at("a", lyon, "192.0.2.7/32"), at("b", lyon, "192.0.2.7/32")}}, noon)
	count := map[string]int{}
	for i := range 200 {
		path := fmt.Sprint("/", i)
		first := table.Find(netip.MustParseAddr("192.0.2.7"), "cloud", path, noon).Box.Name
		if again := table.Find(netip.MustParseAddr("192.0.2.7"), "cloud", path, noon).Box.Name; again != first {
			t.Fatalf("%s is on %s and then on %s", path, first, again)
		}
		count[first]++
	}
	if count["a"] < 50 || count["b"] < 50 {
		t.Errorf("of 200 pages %v", count)
	}
}

func TestWhereABoxWasHeardIsForgotten(t *testing.T) {
	h := locate.NewHeard(56)
	h.Note("a", lyon, at("a", lyon).Announcement, netip.MustParseAddr("192.0.2.7"), noon)
	h.Note("a", lyon, at("a", lyon).Announcement, netip.MustParseAddr("2001:db8:1:2ff::7"), noon.Add(30*time.Minute))
	seen := func(after time.Duration, alive bool) string {
		out := ""
		for _, b := range h.Boxes(func(string) bool { return alive }, noon.Add(after)) {
			out += fmt.Sprintf("%s%v %v", b.Name, b.Alive, b.Seen)
		}
		return out
	}
	for _, tt := range []struct {
		after time.Duration
		alive bool
		want  string
	}{
		{30 * time.Minute, true, "atrue [192.0.2.7/32 2001:db8:1:200::/56]"},
		{61 * time.Minute, true, "atrue [2001:db8:1:200::/56]"},
		{62 * time.Minute, false, "afalse [2001:db8:1:200::/56]"},
		{91 * time.Minute, false, ""},
	} {
		if got := seen(tt.after, tt.alive); got != tt.want {
			t.Errorf("after %v: %s, want %s", tt.after, got, tt.want)
		}
	}
	for i := range 20 {
		h.Note("a", lyon, locate.Announcement{}, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), noon.Add(time.Duration(i)*time.Second))
	}
	if got := len(h.Boxes(func(string) bool { return true }, noon)[0].Seen); got != 8 {
		t.Errorf("%d addresses of one box are remembered, want 8", got)
	}
	h.Forget("a")
	if got := seen(0, true); got != "" {
		t.Errorf("after it was taken back: %s", got)
	}
}

func TestABoxHasOneNameOnly(t *testing.T) {
	good := at("a", lyon).Announcement
	good.Hosts = map[string]string{"cloud": "cloud.a.boxes.example.net"}
	if err := good.Check("a", "boxes.example.net"); err != nil {
		t.Errorf("its own: %v", err)
	}
	for name, change := range map[string]func(*locate.Announcement){
		"another box's":         func(a *locate.Announcement) { a.Host = "b.boxes.example.net" },
		"one below its own":     func(a *locate.Announcement) { a.Host = "x.a.boxes.example.net" },
		"of another domain":     func(a *locate.Announcement) { a.Host = "a.evil.example" },
		"the domain":            func(a *locate.Announcement) { a.Host = "boxes.example.net" },
		"in capitals":           func(a *locate.Announcement) { a.Host = "A.boxes.example.net" },
		"no port":               func(a *locate.Announcement) { a.Port = 0 },
		"a site's elsewhere":    func(a *locate.Announcement) { a.Hosts = map[string]string{"cloud": "cloud.b.boxes.example.net"} },
		"of no site":            func(a *locate.Announcement) { a.Hosts = map[string]string{"x": "x.a.boxes.example.net"} },
		"a site that is a path": func(a *locate.Announcement) { a.Sites = []string{"../d"} },
		"a host with a path": func(a *locate.Announcement) {
			a.Hosts = map[string]string{"cloud": "evil.example/.a.boxes.example.net"}
		},
		"too many sites": func(a *locate.Announcement) { a.Sites = make([]string, 300) },
	} {
		a := good
		change(&a)
		if err := a.Check("a", "boxes.example.net"); err == nil {
			t.Errorf("%s is taken: %+v", name, a)
		}
	}
}

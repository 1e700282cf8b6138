package locate

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"preau/discovery/rendezvous"
)

// Table is what several sources have reported, each of them all it knows. All
// methods may be called concurrently.
type Table struct {
	fresh time.Duration
	bits6 []int

	mu      sync.RWMutex
	sources map[string]*source
}

// source is what one of them has said, in the order in which it is looked for.
type source struct {
	at     time.Time
	seen   map[netip.Prefix][]*Box
	school map[string][]*Box
	listed map[netip.Prefix]string
	bits   []int // of the prefixes in listed, longest first
	report Report
}

// NewTable makes a table in which boxes count as long as their source has
// reported within fresh.
func NewTable(fresh time.Duration) *Table {
	return &Table{fresh: fresh, sources: map[string]*source{}}
}

// Set replaces what a source has said.
func (t *Table) Set(name string, r Report, now time.Time) {
	s := &source{at: now, seen: map[netip.Prefix][]*Box{}, school: map[string][]*Box{}, listed: map[netip.Prefix]string{}, report: r}
	var lengths []int
	for i := range r.Boxes {
		b := &r.Boxes[i]
		s.school[b.School] = append(s.school[b.School], b)
		for _, p := range b.Seen {
			s.seen[p] = append(s.seen[p], b)
			if p.Addr().Is6() && !slices.Contains(lengths, p.Bits()) {
				lengths = append(lengths, p.Bits())
			}
		}
	}
	for _, n := range r.Networks {
		s.listed[n.Prefix] = n.School
		if !slices.Contains(s.bits, n.Prefix.Bits()) {
			s.bits = append(s.bits, n.Prefix.Bits())
		}
	}
	slices.SortFunc(s.bits, func(a, b int) int { return cmp.Compare(b, a) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sources[name] = s
	for _, n := range lengths {
		if !slices.Contains(t.bits6, n) {
			t.bits6 = append(t.bits6, n)
		}
	}
}

// Again takes note that a source has nothing new to say.
func (t *Table) Again(name string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.sources[name]; old != nil {
		next := *old
		next.at = now
		t.sources[name] = &next
	}
}

// Keep forgets all sources but those.
func (t *Table) Keep(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.sources {
		if !slices.Contains(names, name) {
			delete(t.sources, name)
		}
	}
}

// All is what all sources say together: of each box what is said where it is
// connected, if it is anywhere.
func (t *Table) All(now time.Time) Report {
	t.mu.RLock()
	defer t.mu.RUnlock()
	boxes := map[string]Box{}
	var out Report
	for _, s := range t.sources {
		out.Networks = append(out.Networks, s.report.Networks...)
		for _, b := range s.report.Boxes {
			b.Alive = b.Alive && now.Sub(s.at) <= t.fresh
			if old, ok := boxes[b.Name]; !ok || b.Alive && !old.Alive {
				boxes[b.Name] = b
			}
		}
	}
	for _, b := range boxes {
		out.Boxes = append(out.Boxes, b)
	}
	slices.SortFunc(out.Boxes, func(a, b Box) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Networks, func(a, b Network) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.School, b.School))
	})
	out.Networks = slices.Compact(out.Networks)
	return out
}

// Why a device is not sent to a box.
const (
	WhyUnknown = "address_unknown" // the address is no school's
	WhyShared  = "address_shared"  // it is several schools'
	WhyNever   = "not_steered"     // IT's list says that nobody from there is
	WhyNoBox   = "no_box"          // no box of the school is there for this site
)

// Found is what the table says of an address.
type Found struct {
	School string
	Listed bool // by IT's list, and not by a box's connection
	Box    *Box // nil: none
	Why    string
}

// Find is the box that a device is sent to for what is asked for.
func (t *Table) Find(from netip.Addr, site, what string, now time.Time) Found {
	from = from.Unmap().WithZone("")
	if !from.IsValid() {
		return Found{Why: WhyUnknown}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	school, listed, shared := t.listedAs(from)
	here, schools := t.seenFrom(from, now)
	switch {
	case shared:
		return Found{Listed: true, Why: WhyShared}
	case listed && school == "":
		return Found{Listed: true, Why: WhyNever}
	case !listed && len(schools) == 0:
		return Found{Why: WhyUnknown}
	case !listed && len(schools) > 1:
		return Found{Why: WhyShared}
	case !listed:
		school = schools[0]
	}
	f := Found{School: school, Listed: listed}
	// A school may stand in two places: a box that is behind the same address goes
	// first, and without a list it is the only one that is known to be near.
	usable := slices.DeleteFunc(here, func(b *Box) bool { return b.School != school || !b.serves(site, now) })
	if len(usable) == 0 && listed {
		for _, s := range t.sources {
			for _, b := range s.school[school] {
				if now.Sub(s.at) <= t.fresh && b.serves(site, now) {
					usable = append(usable, b)
				}
			}
		}
	}
	if len(usable) == 0 {
		f.Why = WhyNoBox
		return f
	}
	f.Box = turn(usable, site+" "+what)
	return f
}

// serves reports whether a device that is sent to the box for a site gets there.
func (b *Box) serves(site string, now time.Time) bool {
	return b.Alive && b.Host != "" && b.Until.After(now) && slices.Contains(b.Sites, site)
}

// turn is the box whose turn it is: the same for a whole class, and another for
// another page.
func turn(boxes []*Box, key string) *Box {
	nodes := make([]rendezvous.Node, len(boxes))
	for i, b := range boxes {
		nodes[i] = rendezvous.Node{Name: b.Name, Weight: 1}
	}
	first := rendezvous.Order(key, nodes)[0].Name
	return boxes[slices.IndexFunc(boxes, func(b *Box) bool { return b.Name == first })]
}

// listedAs is what IT's lists say of an address: the longest prefix counts, and
// two of the same length that say two things are as good as a shared address.
func (t *Table) listedAs(from netip.Addr) (school string, listed, shared bool) {
	longest := -1
	for _, s := range t.sources {
		for _, bits := range s.bits {
			if bits < longest {
				break
			}
			p, err := from.Prefix(bits)
			if err != nil {
				continue // longer than an IPv4 address
			}
			of, ok := s.listed[p]
			if !ok {
				continue
			}
			shared = bits == longest && (shared || of != school)
			school, listed, longest = of, true, bits
			break
		}
	}
	return school, listed, shared
}

// seenFrom is the boxes that are connected from where from is, and their schools.
func (t *Table) seenFrom(from netip.Addr, now time.Time) (boxes []*Box, schools []string) {
	lengths := t.bits6
	if from.Is4() {
		lengths = []int{32}
	}
	for _, s := range t.sources {
		if now.Sub(s.at) > t.fresh {
			continue
		}
		for _, n := range lengths {
			for _, b := range s.seen[SeenAs(from, n)] {
				if !b.Alive {
					continue
				}
				boxes = append(boxes, b)
				if !slices.Contains(schools, b.School) {
					schools = append(schools, b.School)
				}
			}
		}
	}
	return boxes, schools
}

package mdns

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

const (
	maxHints = 64
	// maxFrom is how many boxes one address may tell of: a flood from one device
	// cannot drive the others out.
	maxFrom  = 8
	maxAddrs = 8
	maxTexts = 32
	// missedMost is after how many browses without it a hint is dropped.
	missedMost = 3
)

// table is what was heard of other boxes. It is pure: times come from outside.
type table struct {
	self    string // instance, folded
	entries map[place]*entry
}

// place is a box on an interface.
type place struct{ instance, link string }

type entry struct {
	host   string // folded
	port   uint16
	addrs  []netip.Addr // sorted; none: it has no address yet, and is no hint
	text   []string
	seen   time.Time
	missed int
	from   netip.Addr // who told of it first
}

func newTable(self string) *table {
	return &table{self: message.Fold(self), entries: map[place]*entry{}}
}

func (t *table) clear() { clear(t.entries) }

// hear takes a response in and says whether its user wants to know.
func (t *table) hear(now time.Time, m *message.Message, l links.Link, from netip.Addr) bool {
	news := false
	hosts := map[string]*host{}
	for _, section := range [][]message.Record{m.Answers, m.Additional} {
		for _, rec := range section {
			if a, ok := rec.Addr(); ok {
				name := message.Fold(rec.Name)
				if hosts[name] == nil {
					hosts[name] = &host{}
				}
				hosts[name].add(rec, a, l)
			}
		}
	}
	texts := map[string][]string{}
	for _, section := range [][]message.Record{m.Answers, m.Additional} {
		for _, rec := range section {
			if instance, ok := instanceOf(rec.Name); ok && rec.Type == message.TXT && rec.TTL > 0 {
				texts[instance] = rec.Text
			}
		}
	}
	for i, section := range [][]message.Record{m.Answers, m.Additional} {
		for _, rec := range section {
			switch rec.Type {
			case message.PTR:
				if instance, ok := instanceOf(rec.Target); ok && rec.TTL == 0 && message.Same(rec.Name, Service+".local") {
					news = t.drop(place{instance, l.Name}) || news
				}
			case message.SRV:
				instance, ok := instanceOf(rec.Name)
				if !ok {
					continue
				}
				if rec.TTL == 0 {
					news = t.drop(place{instance, l.Name}) || news
					continue
				}
				said := entry{host: message.Fold(rec.Target), port: rec.Port, text: texts[instance], from: from}
				if h := hosts[said.host]; h != nil {
					said.addrs = h.new
				}
				at := place{instance, l.Name}
				news = t.put(now, at, said) || news
				// In the answers of a response it is an announcement: the box has just
				// started, though it may look as before.
				news = news || (i == 0 && t.entries[at] != nil)
			}
		}
	}
	return t.move(l, hosts) || news
}

// instanceOf is the instance in the name of a box's service.
func instanceOf(name string) (string, bool) { return message.Below(name, Service+".local") }

// host is what a message says of a host's addresses.
type host struct {
	new, gone []netip.Addr
	flush4    bool // addresses of the family that are not named are gone
	flush6    bool
}

func (h *host) add(rec message.Record, a netip.Addr, l links.Link) {
	if !l.Near(a) {
		return // a hint leads nobody out of the LAN
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		a = a.WithZone(l.Name)
	}
	switch {
	case rec.TTL == 0:
		h.gone = append(h.gone, a)
	case len(h.new) < maxAddrs:
		h.new = append(h.new, a)
		h.flush4 = h.flush4 || (rec.Flush && a.Is4())
		h.flush6 = h.flush6 || (rec.Flush && a.Is6())
	}
}

// put remembers what was said of a box and says whether it is news.
func (t *table) put(now time.Time, p place, said entry) bool {
	if message.Fold(p.instance) == t.self || said.port == 0 {
		return false
	}
	said.addrs = tidy(said.addrs)
	said.text = slices.Clone(said.text[:min(len(said.text), maxTexts)])
	e := t.entries[p]
	if e == nil {
		if !t.room(said.from) {
			return false
		}
		said.seen = now
		t.entries[p] = &said
		return len(said.addrs) > 0
	}
	e.seen, e.missed = now, 0
	changed := e.host != said.host || e.port != said.port
	e.host, e.port = said.host, said.port
	if len(said.addrs) > 0 && !slices.Equal(e.addrs, said.addrs) {
		e.addrs, changed = said.addrs, true
	}
	if said.text != nil && !slices.Equal(e.text, said.text) {
		e.text, changed = said.text, true
	}
	return changed
}

// room makes room for one more, unless the one who tells of it told of enough.
func (t *table) room(from netip.Addr) bool {
	told := 0
	var oldest place
	var at time.Time
	for p, e := range t.entries {
		if e.from == from {
			told++
		}
		if at.IsZero() || e.seen.Before(at) {
			oldest, at = p, e.seen
		}
	}
	if told >= maxFrom {
		return false
	}
	if len(t.entries) >= maxHints {
		delete(t.entries, oldest)
	}
	return true
}

// move gives boxes the addresses that their hosts have now.
func (t *table) move(l links.Link, hosts map[string]*host) bool {
	news := false
	for p, e := range t.entries {
		h := hosts[e.host]
		if h == nil || p.link != l.Name {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(e.addrs), func(a netip.Addr) bool {
			return slices.Contains(h.gone, a) || (a.Is4() && h.flush4) || (a.Is6() && h.flush6)
		})
		if addrs := tidy(append(kept, h.new...)); !slices.Equal(addrs, e.addrs) {
			e.addrs, news = addrs, true
		}
	}
	return news
}

func (t *table) drop(p place) bool {
	_, known := t.entries[p]
	delete(t.entries, p)
	return known
}

// browsed counts a browse that began at begin for those who were not heard since.
func (t *table) browsed(begin time.Time) bool {
	news := false
	for p, e := range t.entries {
		if !e.seen.Before(begin) {
			continue
		}
		if e.missed++; e.missed >= missedMost {
			news = t.drop(p) || news
		}
	}
	return news
}

// keep forgets what was heard on links that are gone.
func (t *table) keep(all []links.Link) bool {
	news := false
	for p := range t.entries {
		if !slices.ContainsFunc(all, func(l links.Link) bool { return l.Name == p.link }) {
			news = t.drop(p) || news
		}
	}
	return news
}

func (t *table) hints() []Hint {
	var out []Hint
	for p, e := range t.entries {
		if len(e.addrs) == 0 {
			continue
		}
		h := Hint{Instance: p.instance, Interface: p.link, Text: slices.Clone(e.text), Seen: e.seen}
		for _, a := range e.addrs {
			h.Addrs = append(h.Addrs, netip.AddrPortFrom(a, e.port))
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Hint) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Interface, b.Interface))
	})
	return out
}

// tidy sorts addresses, each once, and not too many.
func tidy(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddrs)]
}

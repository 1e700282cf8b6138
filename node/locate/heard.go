package locate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// heardFor is how long it is remembered from where a box was last heard. An
// address may be somebody else's tomorrow, and a box that is there says so again
// every few minutes.
const heardFor = time.Hour

// Heard is what boxes have announced to one server. All methods may be called
// concurrently.
type Heard struct {
	bits6 int

	mu    sync.Mutex
	boxes map[string]*heard
}

type heard struct {
	school string
	said   Announcement
	seen   map[netip.Prefix]time.Time
	at     time.Time
}

// NewHeard has heard nothing. bits6 is how much of an IPv6 address counts.
func NewHeard(bits6 int) *Heard { return &Heard{bits6: bits6, boxes: map[string]*heard{}} }

// Note takes down what a box of a school has announced, which has been checked,
// from the address that its connection has.
func (h *Heard) Note(box, school string, a Announcement, from netip.Addr, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.boxes[box]
	if b == nil || b.school != school {
		if len(h.boxes) >= maxBoxes {
			return
		}
		b = &heard{school: school, seen: map[netip.Prefix]time.Time{}}
		h.boxes[box] = b
	}
	b.said, b.at = a, now
	if p := SeenAs(from, h.bits6); p.IsValid() {
		b.seen[p] = now
	}
	maps.DeleteFunc(b.seen, func(_ netip.Prefix, at time.Time) bool { return now.Sub(at) > heardFor })
	for len(b.seen) > maxSeen {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(b.seen)), func(x, y netip.Prefix) int { return b.seen[x].Compare(b.seen[y]) })
		delete(b.seen, oldest)
	}
}

// Forget takes note that a box wants no devices any more.
func (h *Heard) Forget(box string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.boxes, box)
}

// Boxes are those that were heard of lately, in the order of their names, so that
// what has not changed looks the same.
func (h *Heard) Boxes(alive func(box string) bool, now time.Time) []Box {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Box
	for name, b := range h.boxes {
		here := alive(name)
		if !here && now.Sub(b.at) > heardFor {
			delete(h.boxes, name)
			continue
		}
		box := Box{Name: name, School: b.school, Announcement: b.said, Alive: here}
		for p, at := range b.seen {
			if now.Sub(at) <= heardFor {
				box.Seen = append(box.Seen, p)
			}
		}
		slices.SortFunc(box.Seen, func(x, y netip.Prefix) int {
			return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
		})
		out = append(out, box)
	}
	slices.SortFunc(out, func(a, b Box) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

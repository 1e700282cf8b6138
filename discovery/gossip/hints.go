package gossip

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// maxHints bounds how many hints are remembered.
const maxHints = 64

// hintPause is the least time between two calls of an address that is hinted at
// again and again.
const hintPause = 5 * time.Second

// hints are addresses that somebody thinks worth calling.
type hints struct {
	mu  sync.Mutex
	all map[netip.AddrPort]*hint
}

type hint struct {
	seen time.Time
	next time.Time // when to call it
	last time.Time // when it was called
	busy bool
}

func newHints() *hints { return &hints{all: map[netip.AddrPort]*hint{}} }

// add remembers addresses, at the cost of those that were not named for longest.
// It reports whether one of them is to be called now.
func (h *hints) add(now time.Time, addrs ...netip.AddrPort) (fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
		// Gossip knows no zones, without which an address of one link leads nowhere.
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
			continue
		}
		if known := h.all[a]; known != nil {
			known.seen = now
			// Somebody saw it just now: this is no time to wait.
			if known.next.After(now) && now.Sub(known.last) > hintPause {
				known.next, fresh = now, true
			}
			continue
		}
		if len(h.all) >= maxHints {
			h.forget()
		}
		h.all[a] = &hint{seen: now, next: now}
		fresh = true
	}
	return fresh
}

// forget drops the hint that was not given for longest.
func (h *hints) forget() {
	var oldest netip.AddrPort
	for a, x := range h.all {
		if o := h.all[oldest]; o == nil || x.seen.Before(o.seen) || x.seen.Equal(o.seen) && a.Compare(oldest) < 0 {
			oldest = a
		}
	}
	delete(h.all, oldest)
}

// due takes out what is to be called now, and says when to look again. What
// skip names is left for the next round.
func (h *hints) due(now time.Time, every func() time.Duration, skip func(netip.AddrPort) bool) (call []netip.AddrPort, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, x := range h.all {
		if x.busy {
			continue
		}
		if !x.next.After(now) {
			if skip(a) {
				x.next = now.Add(every())
			} else {
				x.busy = true
				call = append(call, a)
				continue
			}
		}
		next = sooner(next, x.next)
	}
	slices.SortFunc(call, netip.AddrPort.Compare)
	return call, next
}

// called says that a hint was called, and when to call it again.
func (h *hints) called(a netip.AddrPort, now, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[a]; x != nil {
		x.busy, x.last, x.next = false, now, next
	}
}

// list has them all.
func (h *hints) list() []netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(h.all))
	for a := range h.all {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// again makes all due at once: this box is at another address now.
func (h *hints) again(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.all {
		x.next = now
	}
}

// sooner is the earlier one of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

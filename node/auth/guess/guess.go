// Package guess slows down whoever tries out codes or sign-ins.
//
// A Guard stands before one secret of the whole box: a handful of wrong codes
// are free, then each makes everybody wait, longer each time. Rates give each
// device its share; a device is known by a keyed hash in memory for as long as
// that matters, so that no address is kept. Neither writes anything down.
package guess

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	free       = 5 // wrong codes that nobody waits for
	firstWait  = 30 * time.Second
	longest    = time.Hour
	forgotten  = 24 * time.Hour // after which a wrong code no longer counts
	maxDevices = 4096
)

// Guard counts the wrong tries at one secret. The zero value is ready.
type Guard struct {
	mu     sync.Mutex
	wrong  int
	last   time.Time
	opens  time.Time
	judged bool // a try is being judged
}

// Try asks whether a code may be tried now; if not, wait says how long to wait.
// Who may must call done once, and says whether the code was right. One try is
// judged at a time, so that many at once are no way round.
func (g *Guard) Try(now time.Time) (done func(right bool), wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// A clock that was put back makes nobody wait longer than the longest.
	if wait := g.opens.Sub(now); wait > 0 && wait <= longest {
		return nil, wait
	}
	if g.judged {
		return nil, time.Second
	}
	g.judged = true
	return func(right bool) { g.heard(right, now) }, 0
}

func (g *Guard) heard(right bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.judged = false
	if right || now.Sub(g.last) > forgotten {
		g.wrong = 0
	}
	if right {
		g.opens = time.Time{}
		return
	}
	g.wrong++
	g.last = now
	if wait := Wait(g.wrong); wait > 0 {
		g.opens = now.Add(wait)
	}
}

// Forget lets everybody try again at once.
func (g *Guard) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong, g.opens = 0, time.Time{}
}

// Wait is how long everybody waits after so many wrong codes.
func Wait(wrong int) time.Duration {
	if wrong < free {
		return 0
	}
	return min(longest, firstWait<<min(wrong-free, 16))
}

// Rates lets each device, and all of them together, do something so often.
type Rates struct {
	seed maphash.Seed
	one  Rate
	all  Rate

	mu      sync.Mutex
	devices map[uint64]time.Time // when the share of each is whole again
	box     time.Time
}

// Rate is a share: so many at once, and one more each time Every has passed.
type Rate struct {
	Burst int
	Every time.Duration
}

// NewRates gives each device the rate one, and all devices the rate all.
func NewRates(one, all Rate) *Rates {
	return &Rates{seed: maphash.MakeSeed(), one: one, all: all, devices: map[uint64]time.Time{}}
}

// Allow takes one from the share of the device at remote, an address with its
// port as net/http has it, and says whether there was one left.
func (r *Rates) Allow(remote string, now time.Time) bool {
	key := maphash.String(r.seed, host(remote))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.devices) >= maxDevices {
		r.tidy(now)
	}
	next, ok := take(r.devices[key], now, r.one)
	if !ok {
		return false
	}
	box, ok := take(r.box, now, r.all)
	if !ok {
		return false
	}
	r.devices[key], r.box = next, box
	return true
}

// tidy forgets devices whose share is whole, or all if every one is busy: the
// share of all together still holds.
func (r *Rates) tidy(now time.Time) {
	for key, whole := range r.devices {
		if !whole.After(now) {
			delete(r.devices, key)
		}
	}
	if len(r.devices) >= maxDevices {
		clear(r.devices)
	}
}

// take is the generic cell rate algorithm: whole is when the share would be
// whole again.
func take(whole, now time.Time, rate Rate) (time.Time, bool) {
	most := time.Duration(rate.Burst) * rate.Every
	if whole.Before(now) || whole.Sub(now) > most { // the latter: the clock was put back
		whole = now
	}
	next := whole.Add(rate.Every)
	if next.Sub(now) > most {
		return whole, false
	}
	return next, true
}

func host(remote string) string {
	if addr, err := netip.ParseAddrPort(remote); err == nil {
		return addr.Addr().Unmap().String()
	}
	return remote
}

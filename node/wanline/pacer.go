package wanline

import (
	"sync"
	"time"
)

// burst is how much unused time an idle line may catch up on. It covers the
// lateness of timers, and is too short to be seen in a rate.
const burst = 5 * time.Millisecond

// pacer hands out moments: when the last byte of a chunk has left the line's
// end, given all that was asked before. It never sleeps; callers do.
type pacer struct {
	mu   sync.Mutex
	bps  int64 // bits per second, 0 for no limit
	free time.Time
}

// reserve books n bytes and returns when they have been put on the line.
// Bookings are served in order, so connections share the rate by chunks.
func (p *pacer) reserve(now time.Time, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bps == 0 {
		p.free = now
		return now
	}
	if oldest := now.Add(-burst); p.free.Before(oldest) {
		p.free = oldest
	}
	p.free = p.free.Add(time.Duration(float64(n) * 8 / float64(p.bps) * float64(time.Second)))
	return p.free
}

func (p *pacer) set(bps int64) {
	p.mu.Lock()
	p.bps = bps
	p.mu.Unlock()
}

func (p *pacer) rate() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bps
}

// inFlight is how many chunks of one connection may be on the line at once.
const inFlight = 16

// chunk is how much is read at a time: a sixteenth of what the line holds
// (with a quarter to spare for late timers), so that a full line of chunks is
// the bandwidth-delay product and little more.
func chunk(bps int64, delay time.Duration) int {
	const least, most = 1460, 64 << 10
	if bps == 0 {
		return most / 2
	}
	perSecond := float64(bps) / 8
	n := int(perSecond * delay.Seconds() * 1.25 / inFlight)
	n = max(n, int(perSecond*0.001)) // a short line still works in steps of a millisecond
	return min(max(n, least), most)
}

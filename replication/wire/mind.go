package wire

import (
	"slices"
	"time"
)

// How bulk looks after its connections.
const (
	lookEvery  = 100 * time.Millisecond
	silent     = time.Second            // before the line itself is tried
	tryEvery   = 750 * time.Millisecond // while it is away
	tryRarely  = 10 * time.Second       // while it is there, and the server is slow
	awayAfter  = time.Second            // without an answer to a try
	owedMost   = 5 * time.Second        // for an acknowledgement, while the line is there
	parkedMost = 30 * time.Second
	warmUp     = time.Second // of a mode, before it is measured
	epochTime  = 2 * time.Second
	epochBytes = 3 << 20
	epochMost  = 6 * time.Second
	partlyMost = 10 * time.Second
)

// carrying is the epoch under way.
type carrying struct {
	from  time.Time // after the warm-up
	busy  time.Duration
	bytes int64
	tcp   int64
	// partly is how long it was put off because some of the mode's connections were
	// not there.
	partly time.Duration
}

// probing is what is known of the line while nothing comes over it.
type probing struct {
	since time.Time // the oldest try without an answer
	next  time.Time
	away  bool
	rest  time.Time // until when it need not be tried again
}

// mind dials, listens and decides, while there is something to do.
func (b *Bulk) mind() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		now := time.Now()
		b.mu.Lock()
		done := b.closed || b.atRest(now)
		var gone []*lane
		if done {
			gone, b.lanes, b.minding = b.lanes, nil, false
		} else {
			b.ready(now)
			b.listen(now, now.Sub(last))
			b.measure(now, now.Sub(last))
			gone = b.sweep(now)
			b.dialMissing(now)
			b.serve()
		}
		b.mu.Unlock()
		for _, l := range gone {
			l.conn.close()
			if q, ok := l.conn.(*laneOfQUIC); ok {
				<-q.ended
			}
		}
		if done {
			return
		}
		last = now
		select {
		case <-tick.C:
		case <-b.life.Done():
		}
	}
}

// atRest says that nothing has been asked for in a long time. The lock is held.
func (b *Bulk) atRest(now time.Time) bool {
	if len(b.waiting) > 0 || now.Sub(b.used) < b.dialer.cfg.IdleTimeout {
		return false
	}
	return !slices.ContainsFunc(b.lanes, func(l *lane) bool { return l.busy > 0 })
}

// ready makes the chooser when mind begins. The lock is held.
func (b *Bulk) ready(now time.Time) {
	if b.chooser != nil {
		return
	}
	b.straight, b.near = !b.dialer.proxied(b.target), false
	b.choose(true, b.dialer.cfg.QUIC && b.straight, b.dialer.ways.mode(b.place, now), now)
}

// choose begins to find out anew. The lock is held.
func (b *Bulk) choose(tcp, quic bool, known mode, now time.Time) {
	b.chooser = newChooser(tcp, quic, known)
	if b.fixed.lanes() > 0 {
		b.chooser.base, b.chooser.now, b.chooser.fixed = b.fixed, b.fixed, true
	}
	b.carrying = carrying{from: now.Add(warmUp)}
}

// wants is how many connections over a way there should be. The lock is held.
func (b *Bulk) wants(way Way) int {
	if way == OverQUIC {
		return b.chooser.now.quic
	}
	return b.chooser.now.tcp
}

// dialMissing dials what the mode lacks. The lock is held.
func (b *Bulk) dialMissing(now time.Time) {
	for _, way := range []Way{OverQUIC, OverTCP} {
		have := 0
		for _, l := range b.lanes {
			if (l.way == OverQUIC) == (way == OverQUIC) && !l.dying && l.conn.alive() {
				have++
				l.park(have > b.wants(way), now)
			}
		}
		missing := b.wants(way) - have - b.dialling[way]
		if missing <= 0 || now.Before(b.retryAt[way]) || b.probing.away {
			continue
		}
		for range missing {
			b.dial(way)
		}
	}
	// A way that was closed is tried again, with nobody waiting.
	for way, at := range b.shut {
		if now.After(at) && b.dialling[way] == 0 {
			delete(b.shut, way)
			b.dial(way)
		}
	}
	// While the line is away each way is tried, one dial at a time.
	if b.probing.next.IsZero() || now.Before(b.probing.next) {
		return
	}
	b.probing.next = now.Add(tryEvery)
	if b.probing.since.IsZero() {
		b.probing.since = now
	}
	for _, way := range []Way{OverQUIC, OverTCP} {
		if b.chooser.has(way) && b.dialling[way] < b.wants(way)+6 {
			b.dial(way)
		}
	}
}

func (l *lane) park(parked bool, now time.Time) {
	if parked && !l.parked {
		l.idle = now
	}
	l.parked = parked
}

// dial begins a dial. The lock is held.
func (b *Bulk) dial(way Way) {
	if b.closed {
		return
	}
	b.dialling[way]++
	b.doing.Go(func() {
		l, err := b.dialLane(b.life, way)
		var here place
		if err == nil {
			here = b.dialer.whereTo(b.life, b.target)
		}
		b.dialled(way, l, err, here)
	})
}

// dialled takes in what a dial brought.
func (b *Bulk) dialled(way Way, l *lane, err error, here place) {
	now := time.Now()
	b.mu.Lock()
	b.dialling[way]--
	if err != nil {
		b.failed(way, err, now)
		b.mu.Unlock()
		return
	}
	spare := b.closed || !b.minding || b.near && way == OverQUIC
	if !spare {
		if way == OverTCP && !b.straight {
			l.way = OverProxy
		}
		delete(b.failures, way)
		b.moved(here, now)
		if !b.chooser.has(way) {
			b.choose(true, true, mode{}, now) // it is open again
		}
		b.answered(l, now)
		b.lanes = append(b.lanes, l)
		b.stayNear(l, now)
		b.lineOK = now
		b.serve()
	}
	b.mu.Unlock()
	if spare {
		l.conn.close()
		if q, ok := l.conn.(*laneOfQUIC); ok {
			<-q.ended
		}
	}
}

// failed notes a dial that came to nothing. The lock is held.
func (b *Bulk) failed(way Way, err error, now time.Time) {
	if b.life.Err() != nil {
		return
	}
	b.failures[way] = err
	b.dialer.paths.failed(b.target, err)
	usable, other := 0, 0
	for _, l := range b.lanes {
		if l.dying || !l.conn.alive() || now.Sub(l.heard) > silent {
			continue
		}
		usable++
		if (l.way == OverQUIC) != (way == OverQUIC) {
			other++
		}
	}
	switch {
	case usable == 0:
		b.retryAt[way] = now.Add(tryEvery)
	case other == usable && b.dialling[way] == 0 && !refusedQUIC(err):
		// The line is there and this way is closed.
		if b.shut[way] = now.Add(b.dialer.cfg.Remember); b.chooser.has(way) {
			b.choose(way != OverTCP, way != OverQUIC, mode{}, now)
		}
	default:
		b.retryAt[way] = now.Add(5 * time.Second)
	}
}

// moved forgets what was learnt elsewhere. The lock is held.
func (b *Bulk) moved(here place, now time.Time) {
	if here == b.place {
		return
	}
	b.place = here
	clear(b.retryAt)
	clear(b.shut)
	b.chooser = nil
	b.ready(now)
}

// answered is called when the line has answered a dial. If it did not answer
// others before, it was away: then what has been silent since will not come back
// by itself soon, as TCP and QUIC wait twice as long after each failure. The same
// holds for connections from an address that we have no more. The lock is held.
func (b *Bulk) answered(fresh *lane, now time.Time) {
	for _, l := range b.lanes {
		elsewhere := l.conn.local() != fresh.conn.local()
		if (b.probing.away || elsewhere) && now.Sub(l.heard) >= silent {
			l.dying = true
		}
	}
	if !b.probing.next.IsZero() {
		b.probing = probing{rest: now.Add(tryRarely)}
		b.carrying = carrying{from: now.Add(warmUp)}
	}
}

// listen notes what came, and when nothing does. The lock is held.
func (b *Bulk) listen(now time.Time, took time.Duration) {
	awaited, newest := false, time.Time{}
	for _, l := range b.lanes {
		n := l.bytes.Load()
		l.pace(n-l.seen, took)
		if n != l.seen {
			b.carrying.add(l, n-l.seen, now)
			l.seen, l.heard = n, now
		}
		quiet, owed := l.conn.quiet(now)
		if heard := now.Add(-quiet); heard.After(l.heard) {
			l.heard = heard
		}
		if l.heard.After(newest) {
			newest = l.heard
		}
		if l.awaiting.Load() > 0 && !l.dying {
			awaited = awaited || owed || l.inBody.Load() > 0
			late := now.Sub(l.heard)
			if owed && late > owedMost && !b.probing.away || late > b.dialer.cfg.Silence+b.dialer.cfg.PingTimeout && l.inBody.Load() > 0 {
				l.dying = true
			}
		}
	}
	if newest.After(b.lineOK) {
		b.lineOK = newest
	}
	p := &b.probing
	switch {
	case now.Sub(newest) < silent:
		// It speaks. If it was tried, that is over, and the next time it need
		// not be tried as soon: the server may just be slow.
		*p = probing{}
	case !awaited && (len(b.waiting) == 0 || len(b.lanes) > 0) || now.Before(p.rest):
	case p.next.IsZero():
		if len(b.lanes) > 0 || now.Sub(b.lineOK) > silent {
			p.next = now
		}
	case !p.since.IsZero() && now.Sub(p.since) > awayAfter:
		p.away = true
	}
}

func (c *carrying) add(l *lane, n int64, now time.Time) {
	if now.Before(c.from) {
		return
	}
	c.bytes += n
	if l.way != OverQUIC {
		c.tcp += n
	}
}

// measure ends an epoch when it has told enough. The lock is held.
func (b *Bulk) measure(now time.Time, took time.Duration) {
	c := &b.carrying
	if now.Before(c.from) || !b.hungry() || b.probing.away {
		return
	}
	if !b.complete() && c.partly < partlyMost {
		// What the others bring says nothing of the mode.
		*c = carrying{from: now.Add(warmUp), partly: c.partly + warmUp}
		return
	}
	c.busy += took
	if c.busy < epochTime || c.bytes < epochBytes && c.busy < epochMost {
		return
	}
	e := epoch{rate: float64(c.bytes) / c.busy.Seconds(), took: c.busy}
	if c.bytes > 0 {
		e.share = float64(c.tcp) / float64(c.bytes)
	}
	if b.goodput == 0 {
		b.goodput = e.rate
	}
	b.goodput += (e.rate - b.goodput) / 2
	was := b.chooser.now
	next, settled := b.chooser.next(e)
	if settled {
		b.dialer.ways.learn(b.place, next, now)
	}
	*c = carrying{from: now}
	if next != was {
		c.from = now.Add(warmUp)
	}
}

// complete says that the mode is what carries: each way that it wants has a
// connection that works, or did. The lock is held.
func (b *Bulk) complete() bool {
	for _, way := range []Way{OverQUIC, OverTCP} {
		if b.wants(way) > 0 && !slices.ContainsFunc(b.lanes, func(l *lane) bool {
			return (l.way == OverQUIC) == (way == OverQUIC) && !l.dying && l.conn.alive() && (l.busy > 0 || l.rate > 0)
		}) {
			return false
		}
	}
	return true
}

// hungry says that more could be carried than there are connections for: then
// what comes tells of the line, not of the callers. The lock is held.
func (b *Bulk) hungry() bool {
	if len(b.waiting) > 0 {
		return true
	}
	usable := 0
	for _, l := range b.lanes {
		if l.parked || l.dying || !l.conn.alive() {
			continue
		}
		usable++
		if l.busy == 0 || l.awaiting.Load() == 0 {
			return false
		}
	}
	return usable > 0
}

// sweep takes out what is dead, given up or long parked. The lock is held.
func (b *Bulk) sweep(now time.Time) (gone []*lane) {
	b.lanes = slices.DeleteFunc(b.lanes, func(l *lane) bool {
		over := l.dying || !l.conn.alive() || l.parked && l.busy == 0 && now.Sub(l.idle) > parkedMost
		if over {
			gone = append(gone, l)
		}
		return over
	})
	return gone
}

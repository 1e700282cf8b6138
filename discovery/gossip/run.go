package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// pace is how fast everything goes.
type pace struct {
	probe, probeTimeout time.Duration
	suspicion           int
	gossip, pushPull    time.Duration
	exchange            time.Duration // like pushPull, while packets don't get through
	stream              time.Duration // for one exchange over TCP
	verify, verifyOld   time.Duration // for one call of the verifier; for whoever may have moved
	leave               time.Duration // for the news that this box leaves
	address             time.Duration // between looks at this box's addresses
	sayLater, sayNow    time.Duration // between two states
	retry               time.Duration // after a failure to listen, to begin with
}

// lanPace finds a box dead that was unplugged within 5 s, and gives one on Wi-Fi
// a third of a second to answer over UDP, twice that over TCP and by way of others,
// and two seconds to contradict. Of a box that was killed its connections tell
// sooner: see Doubt.
//
// Who waits for whom: a box is probed by somebody within about two intervals, is
// suspect one interval later, and dead after suspicion × interval. Most of what
// boxes send that have nothing to tell is these probes.
func lanPace() pace {
	return pace{
		probe: time.Second, probeTimeout: 350 * time.Millisecond, suspicion: 2,
		gossip: 500 * time.Millisecond, pushPull: time.Minute, exchange: 10 * time.Second, stream: 3 * time.Second,
		verify: 4 * time.Second, verifyOld: 3 * time.Second, leave: 900 * time.Millisecond, address: 10 * time.Second,
		sayLater: 20 * time.Second, sayNow: 200 * time.Millisecond, retry: time.Second,
	}
}

const (
	retryMax = 10 * time.Second
	// How much is under way at once. What strangers can cause has room of its own:
	// it must not hold up what is known.
	roomKnown     = 16
	roomStrangers = 32
)

var errMoved = errors.New("this box has another address")

// Run gossips until ctx ends, then says so to the others, closes everything and
// returns nil. Without a network, or if the port is taken, it tries again.
func (g *Gossip) Run(ctx context.Context) error {
	if !g.running.CompareAndSwap(false, true) {
		return errors.New("gossip runs already")
	}
	defer g.running.Store(false)
	at := g.listen
	wait := g.pace.retry
	var said string
	var saidAt time.Time
	for {
		began := time.Now()
		err := g.serve(ctx, &at)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > retryMax {
			wait = g.pace.retry
		}
		pause := jitter(wait)
		if errors.Is(err, errMoved) {
			g.log.InfoContext(ctx, "gossip begins again", "err", err)
			if time.Since(began) > retryMax {
				pause = 0
			}
		} else if err != nil && (err.Error() != said || time.Since(saidAt) > worryEvery) {
			said, saidAt = err.Error(), time.Now()
			g.log.WarnContext(ctx, "gossip is not possible now and is tried again until it is", "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = min(2*wait, retryMax)
	}
}

// life is the time between listening and closing.
type life struct {
	g    *Gossip
	ml   *memberlist.Memberlist
	tr   *transport
	del  *delegate
	chat *chatter
	id   string
	ctx  context.Context // of the work that is under way
	wg   sync.WaitGroup

	known, calls, claims, hints chan struct{} // room for work

	saidAt time.Time
	saying atomic.Bool
	swapAt time.Time // of the latest exchange in place of packets
	looked time.Time // at this box's addresses
	alone  int       // looks at which nobody was there
	try    int       // how many of those before another address is tried
}

// serve listens and gossips until ctx ends or the address is another one. Of a
// port that the kernel chose, at is told: it stays the same.
func (g *Gossip) serve(ctx context.Context, at *netip.AddrPort) error {
	tell, err := choose(ctx, at.Addr(), g.targets())
	if err != nil {
		return err
	}
	tr, err := listen(ctx, *at, tell, g.met, g.log)
	if err != nil {
		return err
	}
	l := &life{
		g: g, tr: tr, del: &delegate{g: g}, chat: &chatter{log: g.log},
		known: make(chan struct{}, roomKnown), calls: make(chan struct{}, roomKnown),
		claims: make(chan struct{}, roomStrangers), hints: make(chan struct{}, roomStrangers),
		looked: time.Now(), try: 3,
	}
	g.table.here(tr.tell)
	g.mu.Lock()
	g.unsaid = saidAlready // it begins with the newest
	g.mu.Unlock()
	l.id = labelled(ctx, func() { l.ml, err = memberlist.Create(l.config()) })
	if err != nil {
		err = errors.Join(fmt.Errorf("begin gossip: %w", err), tr.Shutdown())
		gone(l.id)
		return err
	}
	*at = netip.AddrPortFrom(at.Addr(), tr.tell.Port())
	g.addr.Store(&tr.tell)
	g.log.InfoContext(ctx, "gossip listens", "addr", tr.tell.String())
	g.hints.again(time.Now())
	g.told()
	err = l.run(ctx)
	l.close()
	return err
}

// config is memberlist's.
func (l *life) config() *memberlist.Config {
	g := l.g
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.Keyring = g.cfg.Name, g.cfg.School, g.ring
	c.Delegate, c.Events, c.Alive = l.del, l.del, l.del
	c.LogOutput = l.chat
	c.Transport = l.tr
	if g.wrap != nil {
		c.Transport = g.wrap(l.tr)
	}
	c.BindPort, c.AdvertisePort = int(l.tr.tell.Port()), int(l.tr.tell.Port())
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = g.pace.probe, g.pace.probeTimeout, g.pace.suspicion
	// Two boxes cannot wait for others to confirm, and six do not gain by it.
	c.SuspicionMaxTimeoutMult = 1
	c.AwarenessMaxMultiplier = 4
	c.GossipInterval, c.PushPullInterval, c.TCPTimeout = g.pace.gossip, g.pace.pushPull, g.pace.stream
	c.RetransmitMult = 3
	c.GossipToTheDeadTime = 30 * time.Second
	c.DeadNodeReclaimTime = joinAfter / 2
	c.EnableCompression = false // of packets of a hundred bytes
	return c
}

// targets are addresses where neighbours may be.
func (g *Gossip) targets() []netip.AddrPort { return append(g.table.known(), g.hints.list()...) }

func (l *life) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.ctx = ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.g.turns.Add(1)
		now := time.Now()
		if l.moved(now) {
			return errMoved
		}
		next := sooner(l.looked.Add(l.g.pace.address), l.work(now))
		next = sooner(next, l.say(now))
		next = sooner(next, l.swap(now))
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-ctx.Done():
			return nil
		case <-l.g.wake:
		case <-timer.C:
		}
	}
}

// work begins what is due, and says when to look again.
func (l *life) work(now time.Time) time.Time {
	g := l.g
	checks, calls, next := g.table.due(now)
	for _, c := range checks {
		room := l.claims
		if c.known {
			room = l.known
		}
		l.do(room, func() {
			f := g.prove(l.ctx, c)
			if c.name == g.cfg.Name && f.err == nil && !f.void {
				// One with this box's name: let it know, too.
				if err := l.join(c.seat.gossip); err != nil {
					g.log.DebugContext(l.ctx, "call the twin", "err", err)
				}
			}
			for _, n := range g.table.checked(time.Now(), c, f) {
				if n.warn {
					g.log.WarnContext(l.ctx, n.msg, n.args...) //nolint:sloglint // the messages are constants of the table
				} else {
					g.log.InfoContext(l.ctx, n.msg, n.args...) //nolint:sloglint // the same
				}
			}
			g.told()
		})
	}
	for _, c := range calls {
		l.do(l.calls, func() {
			g.table.called(time.Now(), c, l.join(c.addr))
			g.told()
		})
	}
	every := func() time.Duration { return jitter(g.cfg.RejoinEvery) }
	hinted, at := g.hints.due(now, every, g.table.heard)
	for _, a := range hinted {
		l.do(l.hints, func() {
			if err := l.join(a); err != nil {
				g.log.DebugContext(l.ctx, "nobody at a hint", "addr", a.String(), "err", err)
			}
			now := time.Now()
			g.hints.called(a, now, now.Add(every()))
			g.poke()
		})
	}
	return sooner(next, at)
}

// do runs f when there is room for it. f runs in any case: it tells the table
// that it is over.
func (l *life) do(room chan struct{}, f func()) {
	l.wg.Go(func() {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
		case <-l.ctx.Done():
		}
		f()
	})
}

// join exchanges all that is known with whoever is at addr.
func (l *life) join(addr netip.AddrPort) error {
	if l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	_, err := l.ml.Join([]string{addr.String()})
	if l.ctx.Err() == nil {
		result := resultJoined
		if err != nil {
			result = resultFailed
		}
		l.g.met.rejoins.WithLabelValues(result).Inc()
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", addr, err)
	}
	return nil
}

// swap does over TCP what packets do where those get through: one of the others
// is told all that is known, and tells it.
func (l *life) swap(now time.Time) (next time.Time) {
	if !l.chat.udpFiltered(now) {
		return time.Time{}
	}
	if at := l.swapAt.Add(l.g.pace.exchange); at.After(now) {
		return at
	}
	l.swapAt = now
	if awake := l.g.table.awake(); len(awake) > 0 {
		to := awake[rand.IntN(len(awake))] //nolint:gosec // no secret
		l.do(l.calls, func() {
			if err := l.join(to); err != nil {
				l.g.log.DebugContext(l.ctx, "exchange over TCP", "addr", to.String(), "err", err)
			}
		})
	}
	return now.Add(l.g.pace.exchange)
}

// say tells the others of a new state when it is time to.
func (l *life) say(now time.Time) (next time.Time) {
	g := l.g
	g.mu.Lock()
	defer g.mu.Unlock()
	gap := g.pace.sayLater
	switch {
	case g.unsaid == saidAlready || l.saying.Load():
		return time.Time{}
	case g.unsaid == sayNow:
		gap = g.pace.sayNow
	}
	if at := l.saidAt.Add(gap); at.After(now) {
		return at
	}
	urgent := g.unsaid == sayNow
	g.unsaid, l.saidAt = saidAlready, now
	l.saying.Store(true)
	l.wg.Go(func() {
		defer g.poke()
		defer l.saying.Store(false)
		if err := l.ml.UpdateNode(time.Second); err != nil {
			g.log.DebugContext(l.ctx, "say a new state", "err", err)
		}
		if urgent && l.chat.udpFiltered(time.Now()) {
			// It would wait for the next exchanges.
			for _, a := range g.table.awake() {
				l.wg.Go(func() {
					if err := l.join(a); err != nil {
						g.log.DebugContext(l.ctx, "say a new state over TCP", "err", err)
					}
				})
			}
		}
	})
	return time.Time{}
}

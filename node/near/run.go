package near

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"preau/discovery/gossip"
	"preau/discovery/mdns"
	"preau/node/follow"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// portAgain is how often a port that is taken is tried again.
	portAgain = 10 * time.Second
	// askEvery is how often the region is asked for the school's boxes, give or
	// take a quarter; askSoon after it could not be asked, or has no key yet.
	askEvery, askSoon = 5 * time.Minute, 5 * time.Second
	// listenSoon is how often it is looked whether gossip listens by now.
	listenSoon = 50 * time.Millisecond
	// verifyWithin bounds one verification that gossip has not asked for.
	verifyWithin = 5 * time.Second
	// sayEvery is how often this box looks at what it says of itself.
	sayEvery = 10 * time.Second
	// formerFor is how long an older key of the school is understood.
	formerFor = time.Hour
)

// Run finds, checks and serves neighbours until ctx ends; then it has said
// goodbye, and nothing of it is left running. That there is no network, no region
// or no port is no error.
func (b *Boxes) Run(ctx context.Context) error {
	defer b.closeWays()
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := b.open(ctx)
	if err != nil || listener == nil {
		return err
	}
	failed := make(chan error, 2)
	all.Go(func() {
		err := listener.Run(ctx, wire.Service{Handler: b.serve(), Revoked: func(p wire.Peer) bool { return !b.region.Admits(p) }})
		if err != nil {
			failed <- fmt.Errorf("the port for neighbours was lost: %w", err)
		}
	})
	if err := b.announce(listener); err != nil {
		return err
	}
	all.Go(func() {
		if err := b.mdns.Run(ctx); err != nil {
			failed <- fmt.Errorf("multicast DNS: %w", err)
		}
	})
	g, err := b.join(ctx)
	if err != nil || g == nil {
		return err
	}
	all.Go(func() {
		if err := g.Run(ctx); err != nil {
			failed <- fmt.Errorf("gossip: %w", err)
		}
	})
	b.gossip.Store(g)
	b.log.InfoContext(ctx, "looking for the school's other boxes", "box", string(b.id.Name), "school", string(b.id.School), "port", listener.Addr().String())
	b.say()
	b.hintStatic(ctx)
	b.hintRemembered()
	all.Go(func() { b.ask(ctx, g) })
	all.Go(func() { b.tell(ctx) })
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	for {
		b.hintHeard()
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-g.Changed():
			b.refresh()
			b.remember(g)
		case <-b.mdns.Heard():
		case <-b.region.SchoolChanged():
			listener.DropRevoked()
			b.recheck(ctx, g, &all)
			select {
			case b.asks <- struct{}{}:
			default: // it is about to be asked
			}
		case <-say.C:
			b.say()
			b.refresh()
		}
	}
}

// about is d, give or take a quarter: boxes that start together don't go on
// together.
func about(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// open opens the port, however long that takes. Nil: ctx has ended.
func (b *Boxes) open(ctx context.Context) (*wire.Listener, error) {
	cfg := wire.DefaultConfig()
	cfg.QUIC, cfg.AnyDate, cfg.NoProbes = false, true, true
	cfg.MaxConns, cfg.MaxAnonymous, cfg.MaxPerPeer, cfg.MaxHandshakes = 256, 16, 16, 32
	cfg.MaxStreams = 256
	cfg.Silence = silence
	for first := true; ; first = false {
		l, err := wire.Listen(ctx, b.cfg.Listen, b.region.Credentials(), cfg, b.log, b.reg)
		if err == nil {
			b.listener.Store(l)
			return l, nil
		}
		if first {
			b.log.ErrorContext(ctx, "the port for neighbours can't be opened; it is tried again, and the box goes on without them", "address", b.cfg.Listen, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // ended before there was one
		case <-time.After(portAgain):
		}
	}
}

// announce makes what tells the LAN that this box is here.
func (b *Boxes) announce(l *wire.Listener) error {
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return fmt.Errorf("where neighbours connect: %w", err)
	}
	cfg := mdns.DefaultConfig()
	cfg.Instance, cfg.Port, cfg.HTTPPort = string(b.id.Name), int(at.Port()), b.self.HTTPPort
	cfg.Title = "Préau " + string(b.id.Name)
	cfg.Text = []string{textGossip + "=" + strconv.Itoa(int(gossipPort(b.cfg.Gossip)))}
	cfg.Shared, cfg.Interfaces = b.cfg.Name, b.cfg.Interfaces
	if cfg.Own = string(b.id.Name); cfg.Own == cfg.Shared {
		cfg.Own = "box-" + cfg.Own
	}
	m, err := mdns.New(cfg, b.log, b.reg)
	if err != nil {
		return fmt.Errorf("multicast DNS: %w", err)
	}
	b.mu.Lock()
	b.mdns = m
	b.mu.Unlock()
	return nil
}

// join waits for the school's key and makes the gossip. Nil: ctx has ended.
func (b *Boxes) join(ctx context.Context) (*gossip.Gossip, error) {
	known, err := b.region.School()
	if err != nil {
		b.log.WarnContext(ctx, "what was known of the school's boxes can't be read", "err", err)
	}
	b.mu.Lock()
	b.school = known
	b.mu.Unlock()
	for first := true; len(known.Key) == 0; first = false {
		key, boxes, err := b.region.AskSchool(ctx, nil)
		if err == nil {
			b.learn(ctx, nil, key, boxes)
			known.Key = key
			break
		}
		if first {
			b.log.InfoContext(ctx, "the region has yet to tell the school's key; until then there are no neighbours", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // ended before there was one
		case <-time.After(about(askSoon)):
		case <-b.region.SchoolChanged():
		}
	}
	cfg := gossip.DefaultConfig()
	cfg.Name, cfg.School, cfg.Listen, cfg.Keys = string(b.id.Name), string(b.id.School), b.cfg.Gossip, b.keys()
	return gossip.New(cfg, b.state(), b.verify, b.log, b.reg)
}

// keys are what gossip uses, best first.
func (b *Boxes) keys() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := [][]byte{b.school.Key}
	if len(b.school.Former) > 0 && time.Since(b.keyAt) < formerFor {
		keys = append(keys, b.school.Former)
	}
	return keys
}

// ask asks the region for the school's key and boxes, and tells it where this box
// is, until ctx ends.
func (b *Boxes) ask(ctx context.Context, g *gossip.Gossip) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.asks:
		}
		mine := b.mine(g)
		if !g.Addr().IsValid() {
			timer.Reset(listenSoon) // there is nothing to tell yet
			continue
		}
		key, boxes, err := b.region.AskSchool(ctx, mine)
		if err != nil {
			b.log.DebugContext(ctx, "the region does not tell of the school's boxes now", "err", err)
			timer.Reset(about(askSoon))
			continue
		}
		b.learn(ctx, g, key, boxes)
		b.hintStatic(ctx)
		timer.Reset(about(askEvery))
	}
}

// learn takes in what the region says.
func (b *Boxes) learn(ctx context.Context, g *gossip.Gossip, key []byte, boxes map[string][]netip.AddrPort) {
	b.mu.Lock()
	next := b.school
	if !bytes.Equal(next.Key, key) {
		next.Former, next.Key, b.keyAt = next.Key, key, time.Now()
	}
	next.Boxes = boxes
	changed := !sameSchool(b.school, next)
	b.school = next
	b.mu.Unlock()
	if changed {
		if err := b.region.KeepSchool(next); err != nil {
			b.log.WarnContext(ctx, "what is known of the school's boxes can't be kept", "err", err)
		}
	}
	if g == nil {
		return
	}
	// Also when nothing changed: the older key's time may be over.
	if err := g.SetKeys(b.keys()); err != nil {
		b.log.ErrorContext(ctx, "the school's new key can't be used", "err", err)
	}
	for _, addrs := range boxes {
		b.hint(g, FoundRegion, addrs...)
	}
}

func sameSchool(a, b follow.School) bool {
	if !bytes.Equal(a.Key, b.Key) || !bytes.Equal(a.Former, b.Former) || len(a.Boxes) != len(b.Boxes) {
		return false
	}
	for name, addrs := range a.Boxes {
		other, ok := b.Boxes[name]
		if !ok || len(other) != len(addrs) {
			return false
		}
		for i := range addrs {
			if addrs[i] != other[i] {
				return false
			}
		}
	}
	return true
}

// recheck puts out boxes that the region has taken back or enrolled anew. One of
// which the region had told nothing yet shows its key once more, and what it sends
// meanwhile goes on.
func (b *Boxes) recheck(ctx context.Context, g *gossip.Gossip, all *sync.WaitGroup) {
	b.mu.Lock()
	var gone []string
	var late []*way
	for name, w := range b.ways {
		switch key, err := b.region.Peer(w.id()); {
		case err != nil, key != w.key && w.key != identity.Key{}:
			gone = append(gone, name)
		case key != w.key:
			late = append(late, w)
		}
	}
	b.mu.Unlock()
	for _, w := range late {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, verifyWithin)
			defer cancel()
			at, err := netip.ParseAddrPort(w.address)
			if err == nil {
				err = b.verify(ctx, w.name, at)
			}
			if err != nil && ctx.Err() == nil {
				b.forget(w.name)
				g.Lost(w.name)
			}
			b.refresh()
		})
	}
	for _, name := range gone {
		b.forget(name)
		g.Lost(name)
	}
	b.refresh()
}

func (b *Boxes) closeWays() {
	b.mu.Lock()
	ways := b.ways
	b.ways = map[string]*way{}
	b.mu.Unlock()
	b.pool.Store(&pool{})
	var errs []error
	for _, w := range ways {
		errs = append(errs, w.Close())
	}
	if err := errors.Join(errs...); err != nil {
		b.log.Debug("close the ways to neighbours", "err", err)
	}
}

package wire

import (
	"context"
	"net"
	"time"
)

// here is the place that the target is reached from, looked up now and then.
func (t *Transport) here(ctx context.Context) (place, bool) {
	t.mu.Lock()
	p, fresh := t.place, time.Since(t.placed) < networkEvery
	t.mu.Unlock()
	if fresh {
		return p, true
	}
	ctx, cancel := context.WithTimeout(ctx, t.dialer.cfg.DialTimeout)
	defer cancel()
	p = t.dialer.whereTo(ctx, t.target)
	if ctx.Err() != nil {
		return p, false
	}
	t.mu.Lock()
	t.place, t.placed = p, time.Now()
	t.mu.Unlock()
	return p, true
}

// crowd is how many requests go over one QUIC connection before there is
// another: a server takes 64, and each may last for days.
const (
	crowd     = 48
	mostConns = 4
)

// choose finds the connection for a request, which has a place on it from now on,
// or nil for TCP.
func (t *Transport) choose(ctx context.Context) (*quicConn, error) {
	if q := t.seat(); q != nil {
		return q, nil
	}
	p, ok := t.here(ctx)
	if !ok {
		return nil, &dialError{context.Cause(ctx)}
	}
	way, probe := t.dialer.ways.at(p, time.Now())
	if probe {
		t.background(func(ctx context.Context) { t.probe(ctx, p) })
	}
	if way == OverTCP {
		t.dialer.paths.chose(t.target, ByMemory)
		return nil, nil
	}
	// Those who waited for the same race may have filled what it brought.
	for {
		race := t.race(OverQUIC)
		if race == nil {
			return nil, net.ErrClosed
		}
		select {
		case <-race.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if race.err != nil {
			return nil, race.err
		}
		if race.way == OverTCP {
			return nil, nil
		}
		if q := t.seat(); q != nil {
			return q, nil
		}
		if !race.won.alive() {
			return nil, race.won.lost() //nolint:contextcheck // it is the connection's own
		}
	}
}

// seat takes a place on the QUIC connection with the least to do, if one has room
// or there may be no more of them. Who looks and takes it later finds that a crowd
// has looked as well, and waits behind it for days.
func (t *Transport) seat() *quicConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *quicConn
	least, alive := 0, t.quic[:0]
	for _, q := range t.quic {
		if q.conn.Context().Err() != nil {
			continue
		}
		alive = append(alive, q)
		if load := q.load(); q.alive() && (best == nil || load < least) {
			best, least = q, load
		}
	}
	clear(t.quic[len(alive):])
	t.quic = alive
	if best != nil && least >= crowd && len(alive) < mostConns {
		return nil
	}
	if best != nil {
		best.begin()
	}
	return best
}

// background runs do until it is done or the transport is closed.
func (t *Transport) background(do func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.doing.Go(func() { do(t.life) })
	return true
}

// race begins a race, or joins the one under way. It is nil once the transport
// is closed. It does not end with the request that began it: others may wait.
func (t *Transport) race(first Way) *racing {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if t.racing != nil {
		return t.racing
	}
	race := &racing{done: make(chan struct{})}
	t.racing = race
	t.doing.Go(func() {
		p, _ := t.here(t.life)
		f, err := t.dialer.race(t.life, t.target, first, t.dialTCP)
		if err != nil {
			t.dialer.paths.failed(t.target, err)
		} else {
			f = t.nearer(f)
			t.dialer.ways.won(p, f.way(), time.Now())
			t.dialer.paths.chose(t.target, ByRace)
		}
		t.mu.Lock()
		t.racing = nil
		race.way, race.won, race.err = f.way(), f.quic, err
		var spare finish
		switch {
		case err != nil:
		case t.closed:
			spare = f
		case f.quic != nil:
			t.quic = append(t.quic, f.quic)
		default:
			spare.tcp = t.won
			t.won, t.wonAt = f.tcp, time.Now()
		}
		t.mu.Unlock()
		spare.give()
		close(race.done)
	})
	return race
}

// probe finds out, with nobody waiting, whether QUIC works where it did not.
func (t *Transport) probe(ctx context.Context, p place) {
	if conn, near := t.dialer.near(ctx, t.target); near {
		conn.Close()
		t.dialer.ways.won(p, OverTCP, time.Now())
		return
	}
	q, err := t.dialer.dialQUIC(ctx, t.target)
	if err != nil {
		t.dialer.ways.won(p, OverTCP, time.Now())
		return
	}
	t.dialer.ways.won(p, OverQUIC, time.Now())
	t.dialer.paths.chose(t.target, ByProbe)
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.quic = append(t.quic, q)
	}
	t.mu.Unlock()
	if closed {
		q.close()
		<-q.ended
	}
}

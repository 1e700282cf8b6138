package gossip

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// prove asks the verifier what c wants to know.
func (g *Gossip) prove(ctx context.Context, c check) (f finding) {
	old := make(chan bool, 1)
	go func() { old <- c.old.IsValid() && g.ask(ctx, c.name, c.old, g.pace.verifyOld) == nil }()
	f.err = g.ask(ctx, c.name, c.addr, g.pace.verify)
	if f.held = <-old; f.held {
		f.twin, f.err = f.err == nil, nil
	}
	if f.err != nil && c.alt.IsValid() && g.ask(ctx, c.name, c.alt, g.pace.verify) == nil {
		f.err, f.alt = nil, true
	}
	f.void = ctx.Err() != nil
	return f
}

func (g *Gossip) ask(ctx context.Context, name string, addr netip.AddrPort, within time.Duration) error {
	if addr.Port() == 0 {
		return errors.New("it does not say at which port")
	}
	g.mu.Lock()
	port := g.state.Port
	g.mu.Unlock()
	if name == g.cfg.Name && addr.Port() == port && isLocal(addr.Addr()) {
		return errors.New("that is this box itself")
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := g.verify(ctx, name, addr)
	switch {
	case err == nil:
		g.met.verifications.WithLabelValues(resultProved).Inc()
	case !errors.Is(err, context.Canceled):
		g.met.verifications.WithLabelValues(resultFailed).Inc()
	}
	return err
}

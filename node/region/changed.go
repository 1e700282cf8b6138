package region

import (
	"context"
	"errors"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

// changed is called after each step of the catalogue, by the one goroutine
// that makes them.
func (g *Region) changed(index uint64, records []catalogue.Record) {
	if g.revoked.note(records) && g.listener != nil {
		g.listener.DropRevoked()
	}
	resources, purges, deposits := false, false, false
	for _, r := range records {
		if !r.Kind.Private() {
			g.published.Store(r.Index)
		}
		resources = resources || r.Kind == catalogue.KindResource
		purges = purges || r.Kind == catalogue.KindPurge
		deposits = deposits || r.Kind == catalogue.KindDeposit
	}
	if g.feed != nil {
		g.feed.Publish(index, records)
	}
	if deposits && g.uplink != nil {
		g.uplink.Poke()
	}
	if resources || deposits {
		poke(g.news)
	}
	if purges {
		poke(g.purges)
	}
}

// poke wakes whoever waits on c, now or when it waits next.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// runRepairNews has what was published lately fetched from the servers that
// have it, at once and then not too often, until ctx ends.
func (g *Region) runRepairNews(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.news:
		}
		g.repairer.Poke()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(repairEvery):
		}
	}
}

// refused reports whether a certificate, though good, is no longer its bearer's
// way in: it was revoked, or another box has taken the name since.
func (g *Region) refused(p wire.Peer) bool {
	if g.revoked.has(p) {
		return true
	}
	if p.Role != identity.Box {
		return false
	}
	key, ok := g.revoked.keyOf(string(p.Name))
	if !ok {
		return g.current() // a server that is behind may not know it yet
	}
	return key != [32]byte(p.Key)
}

// replaced is called when a snapshot has taken the place of everything.
func (g *Region) replaced(index uint64) {
	view, err := g.state.View()
	if err == nil {
		err = errors.Join(g.revoked.load(view), view.Close())
	}
	if err != nil {
		g.log.Error("who is revoked can't be read", "err", err)
	}
	g.published.Store(index)
	if g.feed != nil {
		g.feed.Replaced(index)
	}
	if g.listener != nil {
		g.listener.DropRevoked()
	}
	poke(g.news)
	poke(g.purges)
}

// feedIndex is the latest index that a box that has followed must have reached.
func (g *Region) feedIndex() uint64 { return g.published.Load() }

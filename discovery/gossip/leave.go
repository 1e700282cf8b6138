package gossip

import (
	"sync"
	"time"
)

// moved reports, now and then, whether this box is to be found elsewhere now.
func (l *life) moved(now time.Time) bool {
	if now.Sub(l.looked) < l.g.pace.address {
		return false
	}
	l.looked = now
	at := l.g.listen.Addr()
	if !at.IsUnspecified() {
		return false
	}
	if !isLocal(l.tr.tell.Addr()) {
		return true
	}
	// With nobody there it may be that the others are on another of its networks:
	// tried at the third look, and then ever more seldom.
	if len(l.g.table.awake()) > 0 {
		l.alone, l.try = 0, 3
		return false
	}
	l.alone++
	if l.alone < l.try {
		return false
	}
	l.try *= 3
	better, err := choose(l.ctx, at, l.g.targets())
	return err == nil && better != l.tr.tell.Addr()
}

// close leaves the others and ends everything.
func (l *life) close() {
	g := l.g
	began := time.Now()
	awake := g.table.awake()
	if err := l.ml.Leave(g.pace.leave / 2); err != nil {
		g.log.Debug("leave", "err", err)
	}
	// Packets get lost, or are not let through.
	told := make(chan struct{})
	go func() {
		defer close(told)
		var wg sync.WaitGroup
		for _, a := range awake {
			wg.Go(func() {
				if _, err := l.ml.Join([]string{a.String()}); err != nil {
					g.log.Debug("leave", "err", err)
				}
			})
		}
		wg.Wait()
	}()
	rest := time.NewTimer(g.pace.leave - time.Since(began))
	select {
	case <-told:
	case <-rest.C:
	}
	rest.Stop()
	l.del.over.Store(true)
	if err := l.ml.Shutdown(); err != nil {
		g.log.Warn("gossip did not close well", "err", err)
	}
	<-told
	l.wg.Wait()
	gone(l.id)
	g.addr.Store(nil)
	g.table.silence(time.Now())
	g.told()
}

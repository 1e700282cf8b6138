package upstream

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// patience is a timer that asks what to do each time it fires.
type patience struct {
	mu    sync.Mutex
	timer *time.Timer
	done  bool
	tick  func() time.Duration // until the next tick; 0 ends it
}

func newPatience(first time.Duration, tick func() time.Duration) *patience {
	p := &patience{tick: tick}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(first, p.fire)
	return p
}

func (p *patience) fire() {
	if p.stopped() {
		return
	}
	next := p.tick()
	p.mu.Lock()
	defer p.mu.Unlock()
	if next > 0 && !p.done {
		p.timer.Reset(next)
	}
}

func (p *patience) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	p.timer.Stop()
}

// watch looks after one Fetch from its start to the end of its body. It has no
// goroutine: a timer looks at how long the fetch has been waiting for a byte.
type watch struct {
	u        *Upstream
	cancel   context.CancelCauseFunc
	begun    int64        // on the meter's clock, as are the others
	long     bool         // counts as a long fetch; guarded by u.mu
	since    atomic.Int64 // waiting for a byte since then; -1: nobody waits
	inBody   atomic.Bool
	patience *patience
}

// watch begins to look after a fetch when it is its turn.
func (u *Upstream) watch(ctx context.Context, cancel context.CancelCauseFunc) (*watch, error) {
	w := &watch{u: u, cancel: cancel}
	u.mu.Lock()
	if enters := u.gate.enter(w.begin()); !enters {
		u.mu.Unlock()
		if err := u.wait(ctx); err != nil {
			return nil, err
		}
		u.mu.Lock()
		w.begin()
	}
	u.watches[w] = struct{}{}
	u.mu.Unlock()
	w.patience = newPatience(u.cfg.SilenceAfter, w.tick)
	return w, nil
}

func (w *watch) begin() int64 {
	w.begun = w.u.meter.now()
	w.since.Store(w.begun)
	return w.begun
}

// end may be called more than once.
func (w *watch) end() {
	w.patience.stop()
	w.u.mu.Lock()
	defer w.u.mu.Unlock()
	if _, on := w.u.watches[w]; !on {
		return
	}
	delete(w.u.watches, w)
	w.u.gate.leave(w.long)
	if len(w.u.gate.queue) > 0 {
		w.u.arm(w.u.meter.now())
	}
}

// lengthen counts the fetch as a long one, so that others need not wait for it.
func (w *watch) lengthen(now int64) {
	w.u.mu.Lock()
	defer w.u.mu.Unlock()
	if _, on := w.u.watches[w]; on && !w.long && w.u.gate.lengthen() {
		w.long = true
		w.u.arm(now)
	}
}

func (w *watch) waits()  { w.since.Store(w.u.meter.now()) }
func (w *watch) resume() { w.since.Store(-1) }

// tick runs at least once in every SilenceAfter.
func (w *watch) tick() time.Duration {
	cfg, now := &w.u.cfg, w.u.meter.now()
	if time.Duration(now-w.begun) >= longAfter {
		w.lengthen(now)
	}
	since := w.since.Load()
	idle := time.Duration(0)
	if since >= 0 {
		idle = time.Duration(now - since)
	}
	if w.inBody.Load() {
		if idle >= cfg.BodyStall {
			w.cancel(fmt.Errorf("%w: no body byte for %s", ErrStalled, cfg.BodyStall))
			return 0
		}
	} else if time.Duration(now-w.begun) >= cfg.HeaderTimeout {
		w.cancel(fmt.Errorf("%w: no response header for %s", ErrStalled, cfg.HeaderTimeout))
		return 0
	}
	if idle < cfg.SilenceAfter {
		return cfg.SilenceAfter - idle
	}
	w.u.observe(event{kind: evSilent})
	return cfg.SilenceAfter
}

// waiting lists the fetches that a line that is down leaves without hope: those
// that have been silent for long, and with header also all that have no
// response header yet. The caller holds u.mu.
func (u *Upstream) waiting(now time.Time, header bool) []*watch {
	at := int64(now.Sub(u.meter.epoch))
	var list []*watch
	for w := range u.watches {
		since := w.since.Load()
		silent := since >= 0 && time.Duration(at-since) >= u.cfg.SilenceAfter
		if silent || header && !w.inBody.Load() {
			list = append(list, w)
		}
	}
	return list
}

// body is a watched response body.
type body struct {
	io.ReadCloser
	w      *watch
	ctx    context.Context // the fetch's own: its cause says why we broke it off
	parent context.Context // the caller's
	ended  bool            // by Read; Read is not concurrent with itself
	closed atomic.Bool     // by the caller, maybe under a Read
}

func (b *body) Read(p []byte) (int, error) {
	b.w.waits()
	n, err := b.ReadCloser.Read(p)
	b.w.resume()
	if err == nil {
		return n, nil
	}
	if err != io.EOF { //nolint:errorlint // one that is wrapped is not the end of the body
		err = b.broken(err)
	}
	b.ended = true
	b.w.end()
	b.w.cancel(nil)
	return n, err
}

func (b *body) Close() error {
	b.closed.Store(true)
	b.w.end()
	err := b.ReadCloser.Close()
	b.w.cancel(nil)
	return err
}

// broken turns the error of a cancelled read into what it was cancelled for.
func (b *body) broken(err error) error {
	if b.ended || b.closed.Load() {
		return err
	}
	result, err := b.w.u.failed(b.parent, b.ctx, err)
	if result == resultLineDown || result == resultStalled || result == resultCut {
		b.w.u.metrics.brokenBodies.WithLabelValues(result).Inc()
	}
	return fmt.Errorf("upstream %s body: %w", b.w.u.cfg.Name, err)
}

package publish

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/central"
	"preau/replication/central/store"
)

const (
	leaseName = "lease"
	// renewEvery is how often a holder writes the lease anew.
	renewEvery = 10 * time.Second
	// leaseStale is how long a lease may stay as it is before another gateway takes
	// it, and leaseLost how long a holder that can't write it believes in it.
	leaseStale = 40 * time.Second
	leaseLost  = 30 * time.Second
)

// lease is which gateway makes the passes: an object that its holder rewrites
// all the time. No clock is compared with another. It saves work and no more:
// that two gateways make a pass at a time does no harm to a history.
type lease struct {
	st     store.Store
	system string
	log    *slog.Logger
	gauge  prometheus.Gauge
	id     string // never empty: that is nobody

	mu     sync.Mutex
	held   context.Context //nolint:containedctx // ends when the lease does
	lose   context.CancelFunc
	change chan struct{} // closed when held is set

	// Of run alone.
	tag     string // of the lease as it was last seen
	mine    bool
	count   uint64
	seen    time.Time // since when it has been so
	renewed time.Time
}

type leaseText struct {
	Holder string `cbor:"1,keyasint"` // empty: nobody
	Count  uint64 `cbor:"2,keyasint"`
}

// newLease is one for a gateway of that name. With a name that outlives the
// process, a gateway that was killed finds the lease still its own; without one
// it has to wait as any other.
func newLease(st store.Store, system, name string, log *slog.Logger, gauge prometheus.Gauge) *lease {
	if name == "" {
		var id [8]byte
		rand.Read(id[:]) // never fails
		name = hex.EncodeToString(id[:])
	}
	return &lease{st: st, system: system, log: log, gauge: gauge, id: name, change: make(chan struct{})}
}

// wait returns a context that lasts as long as the lease, once this gateway has
// it; nil if ctx ends first.
func (l *lease) wait(ctx context.Context) (context.Context, context.CancelFunc) {
	for {
		l.mu.Lock()
		held, change := l.held, l.change
		l.mu.Unlock()
		if held != nil {
			held, stop := context.WithCancel(held)
			return held, stop
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-change:
		}
	}
}

// run holds the lease whenever it can, until ctx ends.
func (l *lease) run(ctx context.Context) {
	defer l.drop()
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, leaseLost/2)
		err := l.step(try)
		cancel()
		if err != nil && ctx.Err() == nil {
			l.log.InfoContext(ctx, "the lease of the passes can't be had or renewed now", "err", err)
		}
		switch {
		case !l.mine, time.Since(l.renewed) > leaseLost:
			l.mine = false
			l.drop()
		default:
			l.take(ctx)
		}
		pause(ctx, renewEvery)
	}
	if l.mine {
		// So that another one need not wait.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := l.write(last, "", store.Condition{ETag: l.tag}); err != nil {
			l.log.InfoContext(last, "the lease of the passes could not be given up", "err", err)
		}
	}
}

func (l *lease) take(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held, l.lose = context.WithCancel(ctx)
		l.gauge.Set(1)
		l.log.InfoContext(ctx, "this gateway makes the passes")
		close(l.change)
	}
}

func (l *lease) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		l.lose()
		l.held, l.lose = nil, nil
		l.change = make(chan struct{})
		l.gauge.Set(0)
	}
}

// step renews the lease, or takes it if nobody has it.
func (l *lease) step(ctx context.Context) error {
	if l.mine {
		err := l.write(ctx, l.id, store.Condition{ETag: l.tag})
		if err == nil {
			return nil
		}
		// It may be written in spite of the error, or be another's.
		if again := l.look(ctx); again != nil {
			return errors.Join(err, again)
		}
		return err
	}
	if err := l.look(ctx); err != nil || l.mine {
		return err
	}
	c := store.Condition{ETag: l.tag, Absent: l.tag == ""}
	if l.tag != "" && time.Since(l.seen) < leaseStale {
		return nil
	}
	err := l.write(ctx, l.id, c)
	if errors.Is(err, store.ErrChanged) {
		return nil // somebody was quicker
	}
	return err
}

// look reads the lease.
func (l *lease) look(ctx context.Context) error {
	body, info, err := l.st.Get(ctx, l.system, leaseName, 0, -1, "")
	if errors.Is(err, store.ErrNotFound) {
		l.tag, l.mine = "", false
		return l.st.MakeBucket(ctx, l.system)
	}
	if err != nil {
		return fmt.Errorf("read the lease: %w", err)
	}
	defer body.Close()
	p, err := io.ReadAll(io.LimitReader(body, 4<<10))
	if err != nil {
		return fmt.Errorf("read the lease: %w", err)
	}
	var text leaseText
	if err := cbor.Unmarshal(p, &text); err != nil {
		text = leaseText{Holder: "?"} // stale some day, like any other
	}
	if info.ETag != l.tag {
		l.tag, l.seen = info.ETag, time.Now()
	}
	if l.mine = text.Holder == l.id; l.mine {
		l.renewed = time.Now()
		l.count = max(l.count, text.Count) // it may be from before a restart
	}
	if text.Holder == "" {
		l.seen = time.Time{} // given up: for whoever comes
	}
	return nil
}

func (l *lease) write(ctx context.Context, holder string, c store.Condition) error {
	l.count++
	p, err := central.Encode(leaseText{Holder: holder, Count: l.count})
	if err != nil {
		return err
	}
	info, err := l.st.Put(ctx, l.system, leaseName, bytes.NewReader(p), int64(len(p)), store.Options{ContentType: anything}, c)
	if err != nil {
		return fmt.Errorf("write the lease: %w", err)
	}
	l.tag, l.mine, l.seen, l.renewed = info.ETag, holder == l.id, time.Now(), time.Now()
	return nil
}

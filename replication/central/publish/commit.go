package publish

import (
	"context"
	"errors"
	"time"

	"preau/replication/central/publish/history"
)

const (
	// linger is how long results wait for others, so that a burst is one batch.
	linger = 200 * time.Millisecond
	// The waits between attempts to write to a history that can't be written to.
	shortWait = time.Second
	longWait  = 30 * time.Second
)

// commit appends what comes of a bucket to its history, until ctx ends.
func (p *Publisher) commit(ctx context.Context, b *bucket) {
	for {
		rs := p.gather(ctx, b)
		if len(rs) == 0 {
			return
		}
		p.append(ctx, b, rs)
	}
}

// gather waits for results, and then a little for more of them. None: ctx has
// ended.
func (p *Publisher) gather(ctx context.Context, b *bucket) []result {
	var rs []result
	size := 0
	add := func(r result) bool {
		rs = append(rs, r)
		size += len(r.entry.Record.Change.Signed) + 128
		return len(rs) < history.MaxBatch && size < history.MaxBatchBytes
	}
	select {
	case <-ctx.Done():
		return nil
	case r := <-b.results:
		add(r)
	}
	end := time.NewTimer(linger)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			closeAll(rs)
			return nil
		case <-end.C:
			return rs
		case r := <-b.results:
			if !add(r) {
				return rs
			}
		}
	}
}

func closeAll(rs []result) {
	for _, r := range rs {
		r.entry.Attempt.Close()
	}
}

// append has rs in the history, or looked at again, when it returns, unless ctx
// has ended.
func (p *Publisher) append(ctx context.Context, b *bucket, rs []result) {
	defer closeAll(rs)
	h := b.hist.Load()
	entries := make([]history.Entry, 0, len(rs))
	for _, r := range rs {
		if r.h == h { // else of a history that has been replaced
			entries = append(entries, r.entry)
		}
	}
	wait := shortWait
	for len(entries) > 0 {
		err := h.Append(ctx, entries)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			p.met.appends.WithLabelValues("ok").Inc()
			break
		}
		p.met.appends.WithLabelValues("failed").Inc()
		b.log.WarnContext(ctx, "the history can't be written to, so nothing new is published", "err", err, "again_in", wait)
		if errors.Is(err, history.ErrEpoch) || b.hist.Load() != h {
			p.forget(b, h, err)
			break
		}
		pause(ctx, wait)
		wait = min(2*wait, longWait)
	}
	for _, r := range rs {
		switch {
		case r.entry.Attempt.Appended():
			p.met.changes.WithLabelValues(r.kind).Inc()
			p.dropPlace(ctx, r.old)
			p.queue.finish(r.job)
		default:
			p.met.looks.WithLabelValues("again").Inc()
			p.dropPlace(ctx, r.fresh)
			p.queue.later(r.job, linger)
		}
	}
}

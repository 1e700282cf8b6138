package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"preau/replication/central/publish/history"
	"preau/replication/central/store"
)

const (
	// fewRows is how large a table may be that is believed to become empty at once.
	fewRows = 100
	// maxGone is how many deletions one pass looks into; the next one goes on.
	maxGone = 100_000
	// doubtWait is how long to wait before a pass that seems wrong is repeated.
	doubtWait = time.Minute
	// foldBatches is how many batches of the log a gateway that starts may have to
	// read one by one, because the table does not have them.
	foldBatches = 100
	// sweepPasses is how many passes there are to a sweep of the table.
	sweepPasses = 100
)

// passes makes pass after pass over all buckets while this gateway has the lease,
// until ctx ends.
func (p *Publisher) passes(ctx context.Context) {
	for ctx.Err() == nil {
		held, stop := p.lease.wait(ctx)
		if held == nil {
			return
		}
		again := false
		for _, name := range p.cfg.Buckets {
			if held.Err() == nil {
				again = p.tryPass(held, p.buckets[name]) || again
			}
		}
		wait := p.cfg.Every*9/10 + rand.N(p.cfg.Every/5+1)
		if again {
			wait = min(wait, doubtWait)
		}
		p.rest(held, wait)
		stop()
	}
}

// rest waits for the next pass. Hints that were dropped bring it nearer.
func (p *Publisher) rest(ctx context.Context, d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(max(d/10, time.Second))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-look.C:
			p.hintMu.Lock()
			missed := p.missed
			p.missed = false
			p.hintMu.Unlock()
			if missed {
				return
			}
		}
	}
}

// tryPass makes one pass and says whether another one should come soon.
func (p *Publisher) tryPass(ctx context.Context, b *bucket) (again bool) {
	began := time.Now()
	h, err := p.history(ctx, b)
	var s survey
	if err == nil {
		s, err = p.pass(ctx, h, b)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		p.forget(b, h, err)
		p.met.passes.WithLabelValues("failed").Inc()
		b.log.WarnContext(ctx, "a pass over the bucket failed", "err", err)
		return errors.Is(err, history.ErrEpoch)
	case s.doubtful:
		p.met.passes.WithLabelValues("doubtful").Inc()
		b.log.WarnContext(ctx, "more than half of the bucket seems to be gone: nothing is deleted before a second pass says so too",
			"listed", s.listed, "known", s.known, "gone", s.gone)
		return true
	}
	p.met.passes.WithLabelValues("ok").Inc()
	p.met.passSeconds.Set(time.Since(began).Seconds())
	p.met.objects.WithLabelValues(b.name).Set(float64(s.listed))
	p.met.held.WithLabelValues(b.name).Set(float64(s.held))
	b.log.InfoContext(ctx, "pass over the bucket", "listed", s.listed, "known", s.known, "new", s.fresh, "gone", s.gone, "dur", time.Since(began))
	if h.Due(uint64(p.cfg.Spare)) {
		p.compact(ctx, h, b)
	}
	return s.gone > maxGone
}

// compact has a new history of what still counts take the place of a long one.
func (p *Publisher) compact(ctx context.Context, h *history.History, b *bucket) {
	began := time.Now()
	before, _ := h.Head()
	err := h.Compact(ctx)
	p.forget(b, h, err)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, history.ErrEpoch):
		p.met.compactions.WithLabelValues("ok").Inc()
		b.log.InfoContext(ctx, "the history is written anew, without what no longer counts", "changes", before, "dur", time.Since(began))
	default:
		p.met.compactions.WithLabelValues("failed").Inc()
		b.log.WarnContext(ctx, "the history can't be written anew, and grows until it can", "changes", before, "err", err)
	}
}

// survey is what a pass has seen.
type survey struct {
	listed, known, held, fresh, gone int
	missing                          []string // the first of those that are gone
	doubtful                         bool
}

// pass compares a bucket's listing with its table and has every difference looked
// at. Both come in the order of the keys' bytes.
func (p *Publisher) pass(ctx context.Context, h *history.History, b *bucket) (survey, error) {
	var s survey
	rows := tableOf{h: h}
	after, before := "", ""
	for {
		page, err := p.st.List(ctx, b.name, "", after, store.MaxPage)
		if err != nil {
			return s, fmt.Errorf("list the bucket: %w", err)
		}
		for i := range page.Objects {
			listed := page.Objects[i]
			if listed.Key <= before {
				return s, fmt.Errorf("list the bucket: %w: it is out of order after %q", store.ErrUnavailable, before)
			}
			before = listed.Key
			if err := p.compare(ctx, &s, &rows, b, listed); err != nil {
				return s, err
			}
		}
		if page.Next == "" {
			break
		}
		if page.Next <= after {
			return s, fmt.Errorf("list the bucket: %w: it does not go on after %q", store.ErrUnavailable, after)
		}
		after = page.Next
		if err := p.foldIfFull(ctx, h); err != nil {
			return s, err
		}
	}
	for {
		row, ok, err := rows.next(ctx)
		if err != nil {
			return s, err
		}
		if !ok {
			break
		}
		s.miss(row)
	}
	return s, p.conclude(ctx, h, b, &s)
}

// compare takes the next object of the listing.
func (p *Publisher) compare(ctx context.Context, s *survey, rows *tableOf, b *bucket, listed store.Info) error {
	for {
		row, ok, err := rows.peek(ctx)
		if err != nil {
			return err
		}
		if !ok || row.Key > listed.Key {
			break
		}
		rows.skip()
		if row.Key < listed.Key {
			s.miss(row)
			continue
		}
		s.listed, s.known = s.listed+1, s.known+1
		if row.ETag == listed.ETag && row.Size == listed.Size && row.Modified == listed.Modified.UnixMilli() {
			if row.Held {
				s.held++
			}
			return nil
		}
		return p.submit(ctx, s, b, listed)
	}
	if listed.Size == 0 && strings.HasSuffix(listed.Key, "/") {
		return nil // marks a folder
	}
	s.listed++
	if err := store.CheckKey(listed.Key); err != nil {
		p.met.looks.WithLabelValues("refused").Inc()
		b.log.WarnContext(ctx, "an object can't be published", "key", strings.ToValidUTF8(listed.Key, "?"), "reason", err)
		return nil
	}
	return p.submit(ctx, s, b, listed)
}

func (p *Publisher) submit(ctx context.Context, s *survey, b *bucket, listed store.Info) error {
	s.fresh++
	if !p.queue.put(ctx, &job{b: b, key: listed.Key, listed: &listed}) {
		return context.Cause(ctx)
	}
	return nil
}

func (s *survey) miss(row history.Named) {
	s.known++
	if s.gone++; s.gone <= maxGone {
		s.missing = append(s.missing, row.Key)
	}
}

// conclude has the objects looked at that were not listed, if that can be true.
func (p *Publisher) conclude(ctx context.Context, h *history.History, b *bucket, s *survey) error {
	much := s.known > fewRows && 2*s.gone > s.known
	if much && !b.doubtful {
		b.doubtful, s.doubtful = true, true
		return nil
	}
	b.doubtful = much && s.gone > maxGone
	for _, key := range s.missing {
		if !p.queue.put(ctx, &job{b: b, key: key}) {
			return context.Cause(ctx)
		}
	}
	if _, batches := h.Behind(); batches >= foldBatches {
		if err := h.Fold(ctx); err != nil {
			return err
		}
	}
	if b.sweeps++; b.sweeps%sweepPasses == 1 {
		return errors.Join(h.Sweep(ctx), h.Prune(ctx))
	}
	return nil
}

func (p *Publisher) foldIfFull(ctx context.Context, h *history.History) error {
	if rows, _ := h.Behind(); rows < p.cfg.FoldRows {
		return nil
	}
	return h.Fold(ctx)
}

// tableOf reads a history's table row by row.
type tableOf struct {
	h    *history.History
	rows []history.Named
	from string
	end  bool
}

func (t *tableOf) peek(ctx context.Context) (history.Named, bool, error) {
	for len(t.rows) == 0 && !t.end {
		rows, next, err := t.h.Scan(ctx, t.from)
		if err != nil {
			return history.Named{}, false, err
		}
		t.rows, t.from, t.end = rows, next, next == ""
	}
	if len(t.rows) == 0 {
		return history.Named{}, false, nil
	}
	return t.rows[0], true, nil
}

func (t *tableOf) skip() { t.rows = t.rows[1:] }

func (t *tableOf) next(ctx context.Context) (history.Named, bool, error) {
	row, ok, err := t.peek(ctx)
	if ok {
		t.skip()
	}
	return row, ok, err
}

// takeHints has what hints name looked at, until ctx ends.
func (p *Publisher) takeHints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.hintNews:
		}
		pause(ctx, settle)
		p.hintMu.Lock()
		hints := p.hinted
		p.hinted = map[hint]bool{}
		p.hintMu.Unlock()
		for h := range hints {
			if strings.HasSuffix(h.key, "/") {
				continue // may mark a folder: a pass knows by its size
			}
			if !p.queue.put(ctx, &job{b: p.buckets[h.bucket], key: h.key, hinted: true}) {
				return
			}
		}
	}
}

package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/hold"
	"preau/replication/identity"
)

const (
	dueAtOnce   = 1000             // deposits tried before the next look
	rising      = 3                // deposits on their way at once
	lookEvery   = 30 * time.Second // at the catalogue, without news
	complainIn  = 20 * time.Second // a deposit's trouble is written down after it
	hopeless    = time.Hour        // between tries of one that the centre can't accept
	riseAgain   = 5 * time.Second  // after an error, at first
	riseSlowest = 5 * time.Minute
	awaySlowest = 30 * time.Second // between looks whether the gateway or its store is back
	stuckAfter  = rising           // deposits that the store refuses in a row: it is the store's fault
)

// errAway is a gateway that can't be reached: no deposit's fault.
var errAway = errors.New("the gateway can't be reached")

// trouble is what is remembered of a deposit that did not go up.
type trouble struct {
	failures int
	since    time.Time
	next     time.Time
}

// bringUp brings deposits up until ctx ends.
func (u *Uplink) bringUp(ctx context.Context) {
	troubles := make(map[string]*trouble)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer u.waits(0, 0, time.Time{})
	away := 0
	well := time.Now()
	for ctx.Err() == nil {
		next, untried, err := u.rise(ctx, troubles)
		if err == nil {
			away, well = 0, time.Now()
		} else {
			if saysWhy(err) || time.Since(well) >= complainIn {
				u.complain(ctx, reason(err), untried...)
			}
			next = min(riseAgain<<min(away, 8), awaySlowest)
			away++
		}
		wait := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-u.pokes:
		case <-tick.C:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// rise tries all deposits that are due, and says when the next one is. The error
// is one that all have, so that the rest was not tried.
func (u *Uplink) rise(ctx context.Context, troubles map[string]*trouble) (_ time.Duration, untried []catalogue.Deposit, _ error) {
	var due []catalogue.Deposit
	var waits, bytes int64
	var oldest time.Time
	next := lookEvery
	known := make(map[string]bool)
	err := u.region.Deposits(ctx, func(d catalogue.Deposit) bool {
		waits, bytes = waits+1, bytes+d.Length
		if oldest.IsZero() || d.At.Before(oldest) {
			oldest = d.At
		}
		known[d.ID] = true
		if t := troubles[d.ID]; t != nil && time.Until(t.next) > 0 {
			next = min(next, time.Until(t.next))
			return true
		}
		if len(due) < dueAtOnce {
			due = append(due, d)
		}
		return true
	})
	if err != nil {
		u.log.WarnContext(ctx, "deposits could not be listed", "err", err)
		return 0, nil, err
	}
	for id := range troubles {
		if !known[id] {
			delete(troubles, id)
		}
	}
	u.waits(waits, bytes, oldest)
	// Those that failed before come last, so that they keep nobody from a turn.
	slices.SortStableFunc(due, func(a, b catalogue.Deposit) int { return turn(troubles[a.ID]).Compare(turn(troubles[b.ID])) })
	var (
		mu    sync.Mutex // guards troubles, all and stuck
		all   error
		stuck int // that the store refused, in a row
		wg    sync.WaitGroup
		slots = make(chan struct{}, rising)
	)
	for i, d := range due {
		slots <- struct{}{}
		mu.Lock()
		over := all != nil || ctx.Err() != nil
		mu.Unlock()
		if over {
			untried = due[i:]
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			err := u.up(ctx, d)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			if err == nil {
				delete(troubles, d.ID)
				stuck = 0
				mu.Unlock()
				return
			}
			if saysWhy(err) {
				stuck++
			}
			if errors.Is(err, errAway) || stuck >= stuckAfter {
				all = err
			}
			complain := u.failed(ctx, troubles, d, err)
			mu.Unlock()
			if complain {
				u.complain(ctx, reason(err), d)
			}
		})
	}
	wg.Wait()
	for _, t := range troubles {
		next = min(next, max(time.Until(t.next), 100*time.Millisecond))
	}
	return next, untried, all
}

// turn is when a deposit was to be tried: long ago for one that never was.
func turn(t *trouble) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.next
}

// failed notes that a deposit did not go up, and whether its school is to be
// told why. A gateway that is away keeps nobody from trying as soon as it is back.
func (u *Uplink) failed(ctx context.Context, troubles map[string]*trouble, d catalogue.Deposit, err error) (complain bool) {
	t := troubles[d.ID]
	if t == nil {
		t = &trouble{since: time.Now()}
		troubles[d.ID] = t
	}
	long := time.Since(t.since) >= complainIn
	if errors.Is(err, errAway) {
		u.log.WarnContext(ctx, "deposits wait for the centre, which can't be reached", "deposit", d.ID, "school", string(d.School), "err", err)
		return long
	}
	t.failures++
	pause := min(riseAgain<<min(t.failures-1, 8), riseSlowest)
	invalid := errors.Is(err, central.ErrInvalid)
	switch {
	case invalid:
		pause = hopeless
	case saysWhy(err):
		pause = min(pause, awaySlowest) // no more its fault than that of a gateway that is away
	}
	t.next = time.Now().Add(pause)
	u.log.WarnContext(ctx, "a deposit waits for the centre", "deposit", d.ID, "school", string(d.School), "again_in", pause, "err", err)
	return long || invalid || saysWhy(err)
}

// up brings one deposit up, and has the region write down that it is kept.
func (u *Uplink) up(ctx context.Context, d catalogue.Deposit) error {
	entries, err := u.entries(ctx, d)
	if err != nil {
		return err
	}
	description, licence := catalogue.TakeLicence(d.Description)
	var ours atomic.Bool // the fault: the gateway has nothing to do with it
	state, err := u.client.Push(ctx, central.Deposit{
		ID: d.ID, Region: u.region.ID(), School: d.School, Box: identity.Name(d.Box), Name: d.Filename, Length: d.Length,
		SHA256: d.SHA256, At: d.At, Meta: central.Meta{
			Title: d.Title, Description: description, Licence: licence, Collection: d.Collection, ContentType: d.ContentType,
		},
	}, func(ctx context.Context, off int64, n int) ([]byte, error) {
		p, err := u.part(ctx, entries, off, n)
		if err != nil {
			ours.Store(true)
		}
		return p, err
	}, nil)
	if !ours.Load() {
		u.said(ctx, err)
		if err != nil && !answered(err) {
			err = fmt.Errorf("%w: %w", errAway, err)
		}
	}
	if err == nil && !state.Kept {
		err = errors.New("the centre does not say that it keeps it")
	}
	if err != nil {
		u.met.deposits.WithLabelValues("failed").Inc()
		return err
	}
	u.met.deposits.WithLabelValues("kept").Inc()
	d.Kept, d.Bucket, d.Key, d.ETag, d.KeptAt, d.Waiting = true, state.Bucket, state.Key, state.ETag, time.Now().UTC(), ""
	op, err := catalogue.NewPut(d)
	if err != nil {
		return err
	}
	return u.region.Submit(ctx, op)
}

func (u *Uplink) entries(ctx context.Context, d catalogue.Deposit) ([]hold.Entry, error) {
	if d.Manifest.IsZero() {
		var out []hold.Entry
		for i, digest := range d.Blocks {
			out = append(out, hold.Entry{Digest: digest, Length: block.BlockLen(d.Length, i)})
		}
		return out, nil
	}
	p, err := u.region.Read(ctx, d.Manifest)
	if err != nil {
		return nil, fmt.Errorf("list of the deposit's blocks: %w", err)
	}
	return hold.DecodeList(p, d.Length)
}

// part puts n bytes together from the blocks that they lie in.
func (u *Uplink) part(ctx context.Context, entries []hold.Entry, off int64, n int) ([]byte, error) {
	out := make([]byte, 0, n)
	at := int64(0)
	for _, e := range entries {
		from, to := at, at+int64(e.Length)
		at = to
		if to <= off || from >= off+int64(n) {
			continue
		}
		p, err := u.region.Read(ctx, e.Digest)
		if err != nil {
			return nil, fmt.Errorf("block of the deposit: %w", err)
		}
		if len(p) != e.Length {
			return nil, fmt.Errorf("block %s has %d bytes, want %d", e.Digest, len(p), e.Length)
		}
		out = append(out, p[max(0, off-from):min(int64(len(p)), off+int64(n)-from)]...)
	}
	if len(out) != n {
		return nil, fmt.Errorf("the blocks have %d of %d bytes", len(out), n)
	}
	return out, nil
}

package shelf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

// saveBlocks is after how many blocks a prefetch records what it has: what a
// kill -9 may cost it, as blocks that nobody owns go when their turn comes.
const saveBlocks = 8

// ErrNoStorage reports that there is no disk to keep anything on now.
var ErrNoStorage = errors.New("no storage is open")

// errEvicted: what is larger than its share, or not asked for, makes room.
var errEvicted = errors.New("it was evicted while it came: pin it, or give the cache more disk")

// Fetch brings all of an item that is not held, at the limiter's rate, and
// returns when it is complete. While anything is being fetched for somebody who
// waits, it does not. Errors: ErrUnknown if the item is not published, or is
// not any more; ErrNoStorage; block.ErrNoSpace; ctx's; the source's.
func (s *Shelf) Fetch(ctx context.Context, id string, limit Limiter) error {
	it, err := s.find(id)
	if err != nil {
		return err
	}
	st := s.store()
	if st == nil {
		return ErrNoStorage
	}
	if err := s.yield(ctx, st); err != nil {
		return err
	}
	if it, err = s.whole(ctx, it); err != nil {
		return fmt.Errorf("prefetch: %w", err)
	}
	slow := s.slowed(st, limit)
	fetch := s.fetch
	if it.Listed {
		fetch = s.fetchPieces
	}
	if err := fetch(ctx, st, it, slow); err != nil {
		return fmt.Errorf("prefetch %q: %w", id, err)
	}
	if err := s.settle(ctx, st, id); err != nil {
		return fmt.Errorf("prefetch %q: version before: %w", id, err)
	}
	return nil
}

// slowed returns what keeps to a limit, if there is one, and lets people go
// first.
func (s *Shelf) slowed(st *storage.Storage, limit Limiter) pace {
	return func(ctx context.Context, n int) error {
		if err := s.yield(ctx, st); err != nil {
			return err
		}
		if limit == nil {
			return nil
		}
		return limit.WaitN(ctx, n)
	}
}

func (s *Shelf) fetch(ctx context.Context, st *storage.Storage, it Item, slow pace) error {
	o, m, err := s.begun(ctx, st, it)
	if err != nil || o.Complete && s.allThere(st, it) {
		return err
	}
	segs := map[block.Segment]bool{}
	unsaved := 0
	save := func() error {
		list := make([]block.Segment, 0, len(segs))
		for g := range segs {
			list = append(list, g)
		}
		clear(segs)
		unsaved = 0
		// A fill that runs keeps the manifest itself.
		if err := s.idle(ctx, st, o.ID); err != nil {
			return err
		}
		s.recording.Lock()
		defer s.recording.Unlock()
		return st.SaveManifest(ctx, o, m, list)
	}
	for i, d := range it.Blocks {
		if !s.current(it) {
			return ErrUnknown
		}
		if _, ok := st.Blocks().Has(d); ok && m.Blocks[i] == d {
			continue // recorded already
		}
		seg, err := s.bring(ctx, st, o.Ring, it.ID, Piece{d, block.BlockLen(it.Length, i)}, slow)
		if err != nil {
			if unsaved > 0 && ctx.Err() == nil {
				err = errors.Join(err, save())
			}
			return err
		}
		m.Blocks[i], segs[seg] = d, true
		if unsaved++; unsaved >= saveBlocks {
			if err := save(); err != nil {
				return err
			}
		}
	}
	m.Pieces = nil
	if err := save(); err != nil {
		return err
	}
	if !s.current(it) {
		return ErrUnknown
	}
	if set, err := st.Objects().Lookup(o.Key); err != nil || len(set) == 0 || !s.allThere(st, it) {
		return errors.Join(errEvicted, err)
	}
	return nil
}

// allThere reports whether the storage has every block.
func (s *Shelf) allThere(st *storage.Storage, it Item) bool {
	for _, d := range it.Blocks {
		if _, ok := st.Blocks().Has(d); !ok {
			return false
		}
	}
	return true
}

// begun returns an item's object, and the manifest of what is held of it with
// room for all blocks.
func (s *Shelf) begun(ctx context.Context, st *storage.Storage, it Item) (*object.Object, block.Manifest, error) {
	o, err := s.object(ctx, st, it)
	if err != nil {
		return nil, block.Manifest{}, err
	}
	if err := s.idle(ctx, st, o.ID); err != nil {
		return nil, block.Manifest{}, err
	}
	if set, err := st.Objects().Lookup(o.Key); err == nil && set.ByID(o.ID) != nil {
		o = set.ByID(o.ID)
	}
	m, err := st.Objects().Manifest(o)
	if err != nil {
		return nil, m, err
	}
	blocks := make([]block.Digest, len(it.Blocks))
	copy(blocks, m.Blocks)
	m.Length, m.Blocks = it.Length, blocks
	return o, m, nil
}

// bring gets one block into the storage and returns where it lies.
func (s *Shelf) bring(ctx context.Context, st *storage.Storage, ring block.Ring, of string, p Piece, slow pace) (block.Segment, error) {
	if err := s.yield(ctx, st); err != nil {
		return 0, err
	}
	s.mu.Lock()
	_, flying := s.flights[aim{Piece: p}]
	s.mu.Unlock()
	// Only now: what has just landed is here.
	if seg, ok := st.Blocks().Has(p.Digest); ok {
		s.metrics.blocks.WithLabelValues("local").Inc()
		return seg, nil
	}
	var data []byte
	var err error
	if flying { // somebody who waits is fetching it
		f := s.join(ctx, st, ring, Request{Of: of, Digest: p.Digest, Length: p.Length})
		data, err = f.wait(ctx)
		s.leave(f)
	} else {
		// Not as a flight that others would follow: nobody is to wait at this pace.
		data, err = s.fetchBlock(ctx, Request{Of: of, Digest: p.Digest, Length: p.Length, Slow: slow})
	}
	if err != nil {
		return 0, err
	}
	return st.Blocks().Put(ctx, ring, p.Digest, data)
}

// yield returns when nothing is being fetched for anybody.
func (s *Shelf) yield(ctx context.Context, st *storage.Storage) error {
	return s.until(ctx, func() bool {
		busy := s.people.Load() > 0
		if st != nil {
			st.Fills().Bodies(func(b *fill.Body) { busy = busy || b.Fetching() })
		}
		return !busy
	})
}

// idle returns when the body of an object is not in use.
func (s *Shelf) idle(ctx context.Context, st *storage.Storage, id object.ID) error {
	return s.until(ctx, func() bool { return !st.Fills().InUse(fill.ID(id)) })
}

func (s *Shelf) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		timer := time.NewTimer(s.cfg.Quiet)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return ctx.Err()
}

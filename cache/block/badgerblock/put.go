package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"preau/cache/block"
)

const (
	// A transaction takes what waits, up to these: enough to make a commit's
	// fixed cost small, not so much that the first waits long for the last.
	batchBytes   = 8 * mib
	batchEntries = 256
	batchKeys    = 64 << 10 // Badger's own bound on a transaction is by keys
)

// request is one value on its way into a ring.
type request struct {
	pair
	digest block.Digest
	record bool

	done  bool // guarded by the ring's lock, as are the results
	seg   block.Segment
	err   error
	ready chan struct{} // closed after the results are set; for blocks put by Put
}

// Put implements block.Store.
func (s *Store) Put(ctx context.Context, r block.Ring, d block.Digest, p []byte) (block.Segment, error) {
	seg, stored, err := s.put(ctx, r, d, p)
	switch {
	case errors.Is(err, block.ErrNoSpace):
		s.met.puts.WithLabelValues("refused").Inc()
	case err != nil:
		s.met.puts.WithLabelValues("failed").Inc()
	case stored:
		s.met.puts.WithLabelValues("stored").Inc()
	default:
		s.met.puts.WithLabelValues("present").Inc()
	}
	if err != nil {
		return 0, fmt.Errorf("put block %s: %w", d, err)
	}
	return seg, nil
}

func (s *Store) put(ctx context.Context, r block.Ring, d block.Digest, p []byte) (seg block.Segment, stored bool, err error) {
	if int(r) >= len(s.rings) || len(p) > block.Size || d.IsZero() {
		return 0, false, fmt.Errorf("ring %d of %d, %d bytes: out of bounds", r, len(s.rings), len(p))
	}
	for {
		if ctx.Err() != nil {
			return 0, false, context.Cause(ctx)
		}
		if seg, ok, err := s.present(d, p); ok || err != nil {
			return seg, false, err
		}
		q := &request{pair: pair{blockKey(d), p}, digest: d, ready: make(chan struct{})}
		s.flightMu.Lock()
		other := s.flight[d]
		if other == nil {
			s.flight[d] = q
		}
		s.flightMu.Unlock()
		if other != nil {
			select {
			case <-other.ready:
				// Its writer may have given up for reasons of its own, and what it
				// wrote may be about to go.
				continue
			case <-ctx.Done():
				return 0, false, context.Cause(ctx)
			}
		}
		s.write(ctx, s.rings[r], []*request{q}, false)
		s.flightMu.Lock()
		delete(s.flight, d)
		s.flightMu.Unlock()
		close(q.ready)
		return q.seg, q.err == nil, q.err
	}
}

// PutRecord appends a small value to ring r, where it stays until its segment
// is retired, and returns the segment. key and value are not kept. Records
// are for rebuilding what is known about blocks from the blocks' own folders;
// two of the same key are two records.
func (s *Store) PutRecord(ctx context.Context, r block.Ring, key, value []byte) (block.Segment, error) {
	if int(r) >= len(s.rings) || len(key) > maxRecordKey || len(value) > block.Size {
		return 0, fmt.Errorf("put record: ring %d of %d, key of %d bytes, value of %d: out of bounds", r, len(s.rings), len(key), len(value))
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("put record: %w", context.Cause(ctx))
	}
	q := recordRequest(key, value)
	s.write(ctx, s.rings[r], []*request{q}, false)
	if q.err != nil {
		return 0, fmt.Errorf("put record: %w", q.err)
	}
	return q.seg, nil
}

func recordRequest(key, value []byte) *request {
	return &request{pair: pair{append([]byte{kindRecord}, key...), value}, record: true}
}

// write puts qs into r and waits until each has its result. What several
// callers bring while one of them is writing goes into the next transaction
// together. moving is for what is carried forward: it has segments of its own,
// lest others take the room that was claimed for it, and makes no room.
func (s *Store) write(ctx context.Context, r *ring, qs []*request, moving bool) {
	if moving = moving || isMoving(ctx); !moving {
		// What moves does so within a write or within Run, both of which
		// Close waits for; to wait again here would be to wait for Close.
		s.writes.RLock()
		defer s.writes.RUnlock()
	} else {
		r = s.carriers[r.number]
	}
	if s.closed.Load() {
		for _, q := range qs {
			q.err = ErrClosed
		}
		return
	}
	r.queueMu.Lock()
	r.queue = append(r.queue, qs...)
	r.queueMu.Unlock()
	for !s.drain(r, qs, moving) {
		// Room is made with no lock of the ring held, since that writes too.
		if err := s.makeRoom(ctx); err != nil {
			r.giveUp(qs, err)
			return
		}
	}
}

// drain commits what waits in r until qs are done. It returns false if that
// needs room first.
func (s *Store) drain(r *ring, qs []*request, moving bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !allDone(qs) {
		if !moving && s.short() {
			return false
		}
		batch := r.take()
		if len(batch) > 0 {
			s.commit(r, batch)
			if !moving {
				s.full.Store(false)
			}
			continue
		}
		// The first in the queue does not fit.
		if moving && !s.useClaim() && !s.claim(1, true) {
			r.fail(qs, block.ErrNoSpace)
			return true
		} else if !moving && !s.claim(1, false) {
			return false
		}
		err := s.newActive(r)
		s.unclaim(1) // from here on the segment itself counts
		if err != nil {
			if noSpace(err) {
				err = fmt.Errorf("%w: %w", block.ErrNoSpace, err)
				s.full.Store(true)
			}
			r.fail(qs, err)
			return true
		}
	}
	return true
}

func allDone(qs []*request) bool {
	return !slices.ContainsFunc(qs, func(q *request) bool { return !q.done })
}

// take removes from the queue what the active segment has room for. It is
// empty if the first has to wait for a new segment. The caller holds r.mu.
func (r *ring) take() []*request {
	r.queueMu.Lock()
	defer r.queueMu.Unlock()
	if r.active == nil {
		return nil
	}
	after := r.active.w.fill
	bytes, keys, n := 0, 0, 0
	for _, q := range r.queue {
		if n == batchEntries || n > 0 && (bytes+len(q.value) > batchBytes || keys+len(q.key) > batchKeys) || !after.fits(len(q.key), len(q.value)) {
			break
		}
		after.add(len(q.key), len(q.value))
		bytes += len(q.value)
		keys += len(q.key)
		n++
	}
	batch := slices.Clone(r.queue[:n])
	r.queue = slices.Delete(r.queue, 0, n)
	return batch
}

// giveUp ends those of qs that nobody has written.
func (r *ring) giveUp(qs []*request, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(qs, err)
}

// fail is giveUp for who holds r.mu.
func (r *ring) fail(qs []*request, err error) {
	r.queueMu.Lock()
	defer r.queueMu.Unlock()
	for _, q := range qs {
		if !q.done {
			q.done, q.err = true, err
		}
	}
	r.queue = slices.DeleteFunc(r.queue, func(q *request) bool { return slices.Contains(qs, q) })
}

// commit writes batch to r's active segment. The caller holds r.mu.
func (s *Store) commit(r *ring, batch []*request) {
	g := r.active
	// A transaction holds one value for a key. Two of one key are two entries
	// only in two transactions.
	for len(batch) > 0 {
		n := distinctKeys(batch)
		s.commitDistinct(g, batch[:n])
		if batch[0].err != nil {
			// After an error it is not known how the value log ends. What
			// was learned of it stays readable; nothing is added.
			for _, q := range batch[n:] {
				q.done, q.err = true, batch[0].err
			}
			r.fillUp()
			s.sealSoon()
			return
		}
		batch = batch[n:]
	}
}

// distinctKeys returns how many of batch come before a key comes again.
func distinctKeys(batch []*request) int {
	if len(batch) == 1 {
		return 1
	}
	keys := make(map[string]bool, len(batch))
	for i, q := range batch {
		if keys[string(q.key)] {
			return i
		}
		keys[string(q.key)] = true
	}
	return len(batch)
}

func (s *Store) commitDistinct(g *segment, batch []*request) {
	pairs := make([]pair, len(batch))
	bytes := 0
	for i, q := range batch {
		pairs[i] = q.pair
		bytes += len(q.value)
	}
	places := make(map[block.Digest]place, len(batch))
	err := g.w.commit(g.vlog, pairs, func(e entry) {
		if d, ok := digestOf(e.key); ok {
			places[d] = place{off: uint32(e.value), len: uint32(e.len), ord: -1}
		}
	})
	for _, q := range batch {
		if q.record || err != nil {
			continue
		}
		if p, ok := places[q.digest]; !ok || int(p.len) != len(q.value) {
			err = fmt.Errorf("block %s is not in the value log as it was put", q.digest)
		}
	}
	if err == nil {
		g.mu.Lock()
		maps.Copy(g.places, places)
		g.mu.Unlock()
		g.live.Add(int64(bytes))
		s.met.putBytes.Add(float64(bytes))
	}
	for _, q := range batch {
		q.done, q.err = true, err
		if err == nil {
			q.seg = g.id()
		}
	}
}

// newActive gives r a new segment to write to. The caller holds r.mu and has
// claimed the room.
func (s *Store) newActive(r *ring) error {
	if r.active != nil {
		r.fillUp()
		s.sealSoon()
	}
	id, err := s.nextNumber()
	if err != nil {
		return err
	}
	g := newSegment(label{id: id, ring: r.number, dir: s.segmentDir(r, id)})
	g.places = make(map[block.Digest]place)
	if g.w, err = openWriter(g.dir(), s.geo, s.log); err != nil {
		return err
	}
	if g.vlog, err = os.Open(filepath.Join(g.dir(), vlogName)); err != nil {
		return errors.Join(fmt.Errorf("create segment: %w", err), g.w.close(g.dir()), os.RemoveAll(g.dir()))
	}
	g.fd = g.vlog.Fd()
	g.disk.Store(s.geo.cost)
	s.replaceList(func(list []*segment) []*segment { return append(list, g) })
	r.active = g
	s.wakeUp()
	return nil
}

func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

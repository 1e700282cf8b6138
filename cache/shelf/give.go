package shelf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/storage"
)

const (
	// mostLent is of how many items the names of blocks are at hand for neighbours,
	// and mostNames how many names those may be: about 100 bytes each.
	mostLent, mostNames = 64, 40_000
	// noteEvery is how long given blocks wait for more to be noted with.
	noteEvery = 2 * time.Second
)

// lent is what neighbours ask for: block after block of the same few items.
type lent struct {
	mu sync.Mutex
	of map[string]*naming // by id
}

// naming is which blocks an item has.
type naming struct {
	it    Item // whole
	at    map[block.Digest]int
	used  time.Time // guarded by lent's lock, as are:
	users int       // that get a block which is fetched
	came  []int     // fetched for neighbours, and not noted yet
	noted time.Time
	ended bool // the last block was given
}

func (n *naming) len() int { return max(len(n.it.Pieces), len(n.it.Blocks)) }

func (n *naming) piece(i int) Piece {
	if n.it.Listed {
		return n.it.Pieces[i]
	}
	return Piece{n.it.Blocks[i], block.BlockLen(n.it.Length, i)}
}

// Lent is how long a block of a published item is that lies here. Errors:
// ErrUnknown if no such item is published; block.ErrNotFound if the block does
// not lie here or is not one of the item's, in the version of now or in one that
// is kept here.
func (s *Shelf) Lent(ctx context.Context, id string, d block.Digest) (length int, err error) {
	st, err := s.lends(ctx, id, d)
	if err != nil {
		return 0, err
	}
	b, err := st.Blocks().Open(d)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", block.ErrNotFound, err)
	}
	return b.Len(), b.Close()
}

// Lend returns the bytes of a block for which Lent says how long it is, with the
// same errors.
func (s *Shelf) Lend(ctx context.Context, id string, d block.Digest) ([]byte, error) {
	st, err := s.lends(ctx, id, d)
	if err != nil {
		return nil, err
	}
	b, err := st.Blocks().Open(d)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", block.ErrNotFound, err)
	}
	n := b.Len()
	if err := b.Close(); err != nil {
		return nil, err
	}
	data, ok := s.local(st, d, n)
	if !ok {
		return nil, fmt.Errorf("%w: %s can't be read", block.ErrNotFound, d)
	}
	return data, nil
}

// lends returns the storage if d may be had from it as a block of the item.
func (s *Shelf) lends(ctx context.Context, id string, d block.Digest) (*storage.Storage, error) {
	it, err := s.find(id)
	if err != nil {
		return nil, err
	}
	st := s.store()
	if st == nil {
		return nil, fmt.Errorf("%w: %w", block.ErrNotFound, ErrNoStorage)
	}
	if _, here := st.Blocks().Has(d); !here {
		return nil, block.ErrNotFound
	}
	if n, err := s.naming(ctx, it); err == nil {
		if _, ok := n.at[d]; ok {
			return st, nil
		}
	}
	// Who asks may know a version that this box does not know yet, or no more.
	s.mu.RLock()
	versions := []block.Digest{s.held[id].sum, s.olds[id].sum}
	s.mu.RUnlock()
	for _, sum := range versions {
		if sum.IsZero() {
			continue
		}
		set, err := st.Objects().Lookup(key(st, id, sum))
		if err != nil || len(set) == 0 {
			continue
		}
		if m, err := st.Objects().Manifest(set[0]); err == nil && slices.Contains(m.Blocks, d) {
			return st, nil
		}
	}
	return nil, fmt.Errorf("%w: it is no block of %q", block.ErrNotFound, id)
}

// Give returns a block of a published item for another box of the school. What
// does not lie here is fetched, once for all who ask, and kept as what people
// here ask for is. limit counts only if nobody waits for it (ahead): then people
// go first. done is to be called when the bytes are of no more use. Errors: as of
// Lent, ctx's, the source's.
func (s *Shelf) Give(ctx context.Context, id string, d block.Digest, ahead bool, limit Limiter) (data []byte, done func(), err error) {
	it, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	n, err := s.naming(ctx, it)
	if err != nil {
		return nil, nil, err
	}
	i, ok := n.at[d]
	if !ok {
		return nil, nil, fmt.Errorf("%w: it is no block of %q", block.ErrNotFound, id)
	}
	p, st := n.piece(i), s.store()
	if data, ok := s.local(st, d, p.Length); ok {
		s.metrics.blocks.WithLabelValues("local").Inc()
		return data, func() {}, nil
	}
	o, err := s.keeper(ctx, st, n.it)
	if err != nil {
		return nil, nil, err
	}
	req := Request{Of: id, Digest: d, Length: p.Length, Neighbour: true}
	if ahead {
		req.Slow = s.slowed(st, limit)
	} else {
		s.people.Add(1)
		defer s.people.Add(-1)
	}
	keep, ring := st, block.Ring(0)
	if o == nil {
		keep = nil
	} else {
		ring = o.Ring
	}
	s.lent.mu.Lock()
	n.users++
	s.lent.mu.Unlock()
	f := s.join(ctx, keep, ring, req)
	data, err = f.wait(ctx)
	done = func() {
		s.leave(f) // it may still be on its way to the disk
		s.gave(context.WithoutCancel(ctx), st, o, n, i, err == nil)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return data, done, nil
}

// keeper is the object that keeps what comes of an item, nil if nothing does.
func (s *Shelf) keeper(ctx context.Context, st *storage.Storage, it Item) (*object.Object, error) {
	if s.passes(st, it) {
		return nil, nil //nolint:nilnil // nothing is kept, and that is no error
	}
	o, err := s.object(ctx, st, it)
	if errors.Is(err, object.ErrFull) || errors.Is(err, block.ErrNoSpace) {
		return nil, nil //nolint:nilnil // see above
	}
	return o, err
}

// naming returns which blocks an item has.
func (s *Shelf) naming(ctx context.Context, it Item) (*naming, error) {
	s.lent.mu.Lock()
	n := s.lent.of[it.ID]
	if n != nil && n.it.SHA256 == it.SHA256 && n.it.list() == it.list() {
		n.used = time.Now()
		s.lent.mu.Unlock()
		return n, nil
	}
	s.lent.mu.Unlock()
	it, err := s.whole(ctx, it)
	if err != nil {
		return nil, err
	}
	n = &naming{it: it, at: map[block.Digest]int{}, used: time.Now()}
	for i := n.len() - 1; i >= 0; i-- {
		n.at[n.piece(i).Digest] = i
	}
	s.lent.mu.Lock()
	defer s.lent.mu.Unlock()
	delete(s.lent.of, it.ID)
	s.lent.room(n.len())
	s.lent.of[it.ID] = n
	return n, nil
}

// room forgets those that were asked for longest ago until there is room for
// another item with so many names. The lock is held.
func (l *lent) room(names int) {
	for _, m := range l.of {
		names += m.len()
	}
	for len(l.of) >= mostLent || len(l.of) > 0 && names > mostNames {
		oldest := ""
		for id, m := range l.of {
			if oldest == "" || m.used.Before(l.of[oldest].used) {
				oldest = id
			}
		}
		names -= l.of[oldest].len()
		delete(l.of, oldest)
	}
}

// gave notes that a block came, or not, for a neighbour: until it is noted, nothing
// keeps it. They are noted together, as an item may have thousands.
func (s *Shelf) gave(ctx context.Context, st *storage.Storage, o *object.Object, n *naming, i int, came bool) {
	s.lent.mu.Lock()
	n.users--
	if came && o != nil {
		n.came = append(n.came, i)
		n.ended = n.ended || i == n.len()-1
	}
	quiet := n.users == 0 && (n.ended || time.Since(n.noted) >= noteEvery)
	if o == nil || len(n.came) == 0 || len(n.came) < recordPieces && !quiet {
		s.lent.mu.Unlock()
		return
	}
	blocks := n.came
	n.came, n.noted = nil, time.Now()
	s.lent.mu.Unlock()
	var err error
	if n.it.Listed {
		err = s.record(ctx, st, o, n.it, blocks, true)
	} else {
		err = s.recordEven(ctx, st, o, n.it, blocks)
	}
	if err != nil {
		s.log.DebugContext(ctx, "what there is of an item could not be noted", "item", n.it.ID, "err", err)
	}
}

// recordEven is record for an item whose blocks are as long as a body's. While
// its body is being read the fill keeps the manifest, and whoever reads on finds
// the blocks.
func (s *Shelf) recordEven(ctx context.Context, st *storage.Storage, o *object.Object, it Item, blocks []int) error {
	s.recording.Lock()
	whole, err := s.recordEvenAll(ctx, st, o, it, blocks)
	s.recording.Unlock()
	if err == nil && whole {
		err = s.settle(ctx, st, it.ID)
	}
	return err
}

func (s *Shelf) recordEvenAll(ctx context.Context, st *storage.Storage, o *object.Object, it Item, blocks []int) (whole bool, err error) {
	set, err := st.Objects().Lookup(o.Key)
	if err != nil || set.ByID(o.ID) == nil || set.ByID(o.ID).Complete || st.Fills().InUse(fill.ID(o.ID)) {
		return false, err
	}
	o = set.ByID(o.ID)
	m, err := st.Objects().Manifest(o)
	if err != nil {
		return false, err
	}
	all := make([]block.Digest, len(it.Blocks))
	copy(all, m.Blocks)
	m.Length, m.Blocks = it.Length, all
	segs := map[block.Segment]bool{}
	for _, i := range blocks {
		if seg, ok := st.Blocks().Has(it.Blocks[i]); ok {
			m.Blocks[i], segs[seg] = it.Blocks[i], true
		}
	}
	if len(segs) == 0 {
		return false, nil
	}
	list := make([]block.Segment, 0, len(segs))
	for g := range segs {
		list = append(list, g)
	}
	m.Pieces = slices.DeleteFunc(slices.Clone(m.Pieces), func(p block.Piece) bool { return !m.Blocks[p.Off/block.Size].IsZero() })
	if err := st.SaveManifest(ctx, o, m, list); err != nil {
		return false, fmt.Errorf("note what is held: %w", err)
	}
	return m.Complete(), nil
}

package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"sync"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/storage"
)

const (
	// atOncePieces is how many blocks are fetched at once, and aheadPieces how many
	// of those after the one that is sent may have come before it: whichever comes
	// first makes place for the next, so that the line is never idle. Each server
	// has its own connection: with fewer at once there were moments when those in use
	// could not fill the line, and with more the one that is sent next comes later.
	atOncePieces, aheadPieces = 4, 6
	// recordPieces is after how many fetched blocks it is noted what there is.
	recordPieces = 16
)

// pieceReader sends a listed item: what is here from the disk, the rest as it
// comes, each block verified as a whole before a byte of it leaves.
type pieceReader struct {
	s        *Shelf
	st       *storage.Storage // nil: nothing is on a disk
	keep     *object.Object   // nil: nothing is to be kept
	it       Item
	ends     []int64
	pos, end int64

	ctx     context.Context // of what is fetched
	cancel  context.CancelFunc
	running sync.WaitGroup
	coming  map[int]*arrival
	came    []int // fetched and not noted yet
	waits   bool  // counts among s.people

	mu     sync.Mutex
	flying int      // that are being fetched
	queue  []func() // that wait for one of these
}

// arrival is one block on its way.
type arrival struct {
	done chan struct{}
	data []byte
	err  error
}

// readPieces returns a reader of the bytes from..to. What it fetches does not
// end with ctx but with close.
func (s *Shelf) readPieces(ctx context.Context, st *storage.Storage, keep *object.Object, it Item, from, to int64) *pieceReader {
	r := &pieceReader{s: s, st: st, keep: keep, it: it, pos: from, end: to, coming: map[int]*arrival{}}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.ends = make([]int64, len(it.Pieces))
	at := int64(0)
	for i, p := range it.Pieces {
		at += int64(p.Length)
		r.ends[i] = at
	}
	return r
}

// at is the block with the byte at off.
func (r *pieceReader) at(off int64) int {
	return sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > off })
}

// here reports whether a block is on the disk.
func (r *pieceReader) here(i int) bool {
	if r.st == nil {
		return false
	}
	_, ok := r.st.Blocks().Has(r.it.Pieces[i].Digest)
	return ok
}

// holds reports whether all that is to be sent is here.
func (r *pieceReader) holds() bool {
	for i := r.at(r.pos); i < len(r.ends) && r.ends[i]-int64(r.it.Pieces[i].Length) < r.end; i++ {
		if !r.here(i) {
			return false
		}
	}
	return true
}

// start has a block fetched.
func (r *pieceReader) start(i int) *arrival {
	a := r.coming[i]
	if a != nil {
		return a
	}
	if !r.waits {
		r.waits = true
		r.s.people.Add(1)
	}
	a = &arrival{done: make(chan struct{})}
	r.coming[i] = a
	keep, ring := r.st, block.Ring(0)
	if r.keep == nil {
		keep = nil
	} else {
		ring = r.keep.Ring
	}
	r.turn(func() {
		p := r.it.Pieces[i]
		f := r.s.join(r.ctx, keep, ring, Request{Of: r.it.ID, Digest: p.Digest, Length: p.Length})
		a.data, a.err = f.wait(r.ctx)
		close(a.done)
		r.landed()
		r.s.leave(f) // it may still be on its way to the disk
	})
	return a
}

// turn has fetch run once there is place for it.
func (r *pieceReader) turn(fetch func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flying == atOncePieces {
		r.queue = append(r.queue, fetch)
		return
	}
	r.flying++
	r.running.Go(fetch)
}

// landed has the next one take the place of what has come.
func (r *pieceReader) landed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.flying--
		return
	}
	r.running.Go(r.queue[0])
	r.queue = r.queue[1:]
}

// next gets the block at the reader's place under way, with those after it.
func (r *pieceReader) next() (i int, a *arrival) {
	i = r.at(r.pos)
	for k := i; k < len(r.ends) && k <= i+aheadPieces && r.ends[k]-int64(r.it.Pieces[k].Length) < r.end; k++ {
		if r.coming[k] == nil && !r.here(k) {
			r.start(k)
		}
	}
	return i, r.coming[i]
}

// ready returns when the first byte can be sent, or can't be had.
func (r *pieceReader) ready(ctx context.Context) error {
	if r.pos >= r.end {
		return nil
	}
	_, a := r.next()
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// linger waits until what was asked for first has come or failed: on a slow line
// it is here then for whoever asks next.
func (r *pieceReader) linger() {
	if a := r.coming[r.at(r.pos)]; a != nil {
		<-a.done
	}
}

// copyTo sends all of it.
func (r *pieceReader) copyTo(ctx context.Context, w io.Writer) (sent int64, err error) {
	for r.pos < r.end {
		i, a := r.next()
		if a == nil {
			n, err := r.fromDisk(i, w)
			sent, r.pos = sent+n, r.pos+n
			switch {
			case err == nil:
				r.s.metrics.blocks.WithLabelValues("local").Inc()
			case n == 0 && errors.Is(err, block.ErrNotFound):
				r.start(i) // it was evicted, or damaged
			default:
				return sent, err
			}
			continue
		}
		select {
		case <-a.done:
		default:
			flush(w)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
		if a.err != nil {
			return sent, a.err
		}
		from, to := r.span(i)
		n, err := w.Write(a.data[from:to])
		sent, r.pos = sent+int64(n), r.pos+int64(n)
		delete(r.coming, i)
		if r.came = append(r.came, i); len(r.came) >= recordPieces {
			r.note()
		}
		if err != nil {
			return sent, err
		}
		if err := ctx.Err(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// span is what is to be sent of block i, within it.
func (r *pieceReader) span(i int) (from, to int) {
	begin := r.ends[i] - int64(r.it.Pieces[i].Length)
	return int(r.pos - begin), int(min(r.ends[i], r.end) - begin)
}

func (r *pieceReader) fromDisk(i int, w io.Writer) (int64, error) {
	b, err := r.st.Blocks().Open(r.it.Pieces[i].Digest)
	if err != nil {
		return 0, err
	}
	defer func() { _ = b.Close() }() // nothing was written
	if b.Len() != r.it.Pieces[i].Length {
		return 0, errWrong // the item's list is not that of these bytes
	}
	from, to := r.span(i)
	return b.WriteRange(w, from, to-from)
}

// note records what has come. Those that came and are not on the disk yet are
// noted next time.
func (r *pieceReader) note() {
	if r.keep == nil || len(r.came) == 0 {
		return
	}
	if err := r.s.record(r.ctx, r.st, r.keep, r.it, r.came, r.waits); err != nil {
		r.s.log.DebugContext(r.ctx, "what there is of an item could not be noted", "item", r.it.ID, "err", err)
		return
	}
	last := r.came[len(r.came)-1]
	r.came = append(r.came[:0], last) // perhaps not on the disk yet
}

// close ends what is being fetched, and notes what came.
func (r *pieceReader) close(from int64) {
	if r.waits {
		r.s.people.Add(-1)
	}
	// What has come and was not sent stays all the same.
	r.came = append(r.came, r.arrived()...)
	defer r.cancel()
	if len(r.coming) > 0 {
		r.cancel()
	}
	r.mu.Lock()
	r.queue = nil // nothing is begun any more
	r.mu.Unlock()
	r.running.Wait()
	if r.keep == nil {
		return
	}
	r.ctx = context.WithoutCancel(r.ctx)
	if !r.keep.Complete {
		// Blocks that were here for another item are this one's too from now on.
		r.came = r.came[:0]
		for i := r.at(from); i < len(r.ends) && r.ends[i]-int64(r.it.Pieces[i].Length) < r.pos; i++ {
			r.came = append(r.came, i)
		}
		r.came = append(r.came, r.arrived()...)
	}
	r.note()
}

// arrived are the blocks that have come and were not sent.
func (r *pieceReader) arrived() (list []int) {
	for i, a := range r.coming {
		select {
		case <-a.done:
			if a.err == nil {
				list = append(list, i)
			}
		default:
		}
	}
	return list
}

func flush(w io.Writer) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// record notes blocks of an item that are on the disk. fresh: some came just
// now, and may lie elsewhere than those that are noted already.
func (s *Shelf) record(ctx context.Context, st *storage.Storage, o *object.Object, it Item, blocks []int, fresh bool) error {
	s.recording.Lock()
	whole, err := s.recordAll(ctx, st, o, it, blocks, fresh)
	s.recording.Unlock()
	if err == nil && whole {
		err = s.settle(ctx, st, it.ID)
	}
	return err
}

func (s *Shelf) recordAll(ctx context.Context, st *storage.Storage, o *object.Object, it Item, blocks []int, fresh bool) (whole bool, err error) {
	set, err := st.Objects().Lookup(o.Key)
	if err != nil || set.ByID(o.ID) == nil {
		return false, err // replaced or evicted: there is nothing to note
	}
	m, err := s.manifest(st, set.ByID(o.ID), it)
	if err != nil {
		return false, err
	}
	segs := map[block.Segment]bool{}
	for _, i := range blocks {
		if seg, ok := st.Blocks().Has(it.Pieces[i].Digest); ok && (fresh || m.Blocks[i] != it.Pieces[i].Digest) {
			m.Blocks[i], segs[seg] = it.Pieces[i].Digest, true
		}
	}
	if len(segs) == 0 {
		return m.Complete(), nil
	}
	list := make([]block.Segment, 0, len(segs))
	for g := range segs {
		list = append(list, g)
	}
	if err := st.SaveManifest(ctx, o, m, list); err != nil {
		return false, fmt.Errorf("note what is held: %w", err)
	}
	return m.Complete(), nil
}

// manifest is what is noted of a listed item, with room for all its blocks.
func (s *Shelf) manifest(st *storage.Storage, o *object.Object, it Item) (block.Manifest, error) {
	m, err := st.Objects().Manifest(o)
	if err != nil {
		return m, err
	}
	blocks := make([]block.Digest, len(it.Pieces))
	copy(blocks, m.Blocks)
	m.Length, m.Blocks, m.Pieces = stretched(len(blocks)), blocks, nil
	return m, nil
}

package fill

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
)

// ID names one version of one representation in the manager's table.
type ID [16]byte

// Spec is what a Body is made of.
type Spec struct {
	Manifest block.Manifest
	Ring     block.Ring
	// Owner is the caller's own name for what the body belongs to, which
	// Unsaved hands back.
	Owner  [32]byte
	Source Source
	// Closed: what is not held is not to be fetched.
	Closed bool
	// Save keeps what is held: called from one goroutine at a time, at most
	// every Config.SaveEvery while a fill runs, and when it pauses or is whole.
	// segs are the segments that blocks went to since the last call.
	Save func(ctx context.Context, m block.Manifest, segs []block.Segment) error
	// Pass, unless nil, is asked now and then whether the body is but passed on to
	// its readers: another keeps it, from whom what is missing can be had again in
	// any order. Once it says no, or so many read it at such distances that memory
	// does not do, the body is kept. It must be quick.
	Pass func() bool
	// Passed is called in the end if nothing of the body was kept.
	Passed func()
}

// Body is one version of a body: what is held, what is being fetched, who
// reads. All methods may be called concurrently.
type Body struct {
	m    *Manager
	id   ID
	spec Spec
	gone chan struct{} // closed when the body has left the manager's table

	saving sync.Mutex // held while spec.Save runs; locked before mu

	mu       sync.Mutex
	left     bool // out of the table: another may save now, this one no more
	length   int64
	blocks   []block.Digest
	shared   bool                 // blocks is the caller's: copy before changing
	expect   map[int]block.Digest // of blocks that were held and lost
	have     spans
	parts    map[int]*part
	recent   []int      // stored parts still in memory, oldest first
	homeless []homeless // oldest first
	keeps    bool       // what Pass says does not count any more
	disowned bool       // Passed was called, or will not be
	passed   []homeless // whole blocks that are held for readers only
	waits    int        // fetches that wait for readers
	moved    chan struct{}
	segs     map[*segment]struct{}
	busy     int      // fetches that have not settled what they brought
	flights  []flight // memory for flying
	readers  map[*Reader]struct{}
	refs     int
	asked    [2]time.Time // when the two latest readers came
	deaf     bool         // the source began elsewhere than it was asked to
	dup      int64        // bytes read over
	err      error        // no byte that is not held will ever come
	trouble  time.Time    // since when no fetch has brought anything; zero: no trouble
	failures int
	retrying bool
	touched  map[block.Segment]struct{}
	arriving map[block.Digest]int    // how many are putting it
	fresh    map[block.Digest]uint64 // stored, and in which round of saving
	round    uint64
	dirty    bool
	stopTry  context.CancelFunc // ends the wait before the next attempt
	losses   int                // blocks lost while they were being read
	saved    time.Time
	summing  bool
	sha256   block.Digest
}

// Open returns the body named id, held by the caller until Release. If it is
// not in use, load says what it is made of.
func (m *Manager) Open(id ID, load func() (Spec, error)) (*Body, error) {
	for {
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return nil, ErrStopped
		}
		b, busy := m.byID[id], m.loading[id]
		if b == nil && busy == nil {
			m.work.Add(1)
			done := make(chan struct{})
			m.loading[id] = done
			m.mu.Unlock()
			return m.load(id, done, load)
		}
		m.mu.Unlock()
		// Neither load nor a body's lock may be waited for with m.mu held:
		// bodies take it under their own.
		switch {
		case b == nil:
			<-busy
		case b.hold():
			return b, nil
		default:
			<-b.gone // it is saving what it has; then it can be loaded again
		}
	}
}

// load makes the body named id, which nobody else does until done is closed.
func (m *Manager) load(id ID, done chan struct{}, load func() (Spec, error)) (*Body, error) {
	defer m.work.Done()
	defer func() {
		m.mu.Lock()
		delete(m.loading, id)
		m.mu.Unlock()
		close(done)
	}()
	spec, err := load()
	if err != nil {
		return nil, err
	}
	b := newBody(m, id, spec)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrStopped
	}
	m.byID[id] = b
	m.metrics.bodies.Inc()
	return b, nil
}

func newBody(m *Manager, id ID, spec Spec) *Body {
	b := &Body{
		m: m, id: id, spec: spec, gone: make(chan struct{}), refs: 1,
		moved: make(chan struct{}, 1), length: spec.Manifest.Length, blocks: spec.Manifest.Blocks, shared: true, sha256: spec.Manifest.SHA256,
	}
	if spec.Manifest.Complete() {
		b.have = b.have.add(0, b.length)
		return b
	}
	for i, d := range b.blocks {
		if !d.IsZero() {
			b.have = b.have.add(b.extent(i))
		}
	}
	for _, p := range spec.Manifest.Pieces {
		i := int(p.Off / block.Size)
		if i < len(b.blocks) && !b.blocks[i].IsZero() {
			continue
		}
		pt := b.part(i)
		pt.onDisk = append(pt.onDisk, p)
		b.have = b.have.add(p.Off, p.Off+int64(p.Len))
	}
	if !spec.Closed && !spec.Source.Ranges() {
		b.trim()
	}
	return b
}

// trim forgets what lies behind the first hole. A source without ranges sends
// all of it again anyway, and if nothing names the version, what fills the hole
// can't be known to be of the version that lies behind it.
func (b *Body) trim() {
	end := b.have.end(0)
	b.have = b.have.remove(end, endless)
	for i, d := range b.blocks {
		if from, _ := b.extent(i); from >= end && !d.IsZero() {
			b.own(i)
			b.blocks[i] = block.Digest{}
		}
	}
	for i, pt := range b.parts {
		pt.onDisk = slices.DeleteFunc(pt.onDisk, func(p block.Piece) bool { return p.Off >= end })
		if len(pt.onDisk) == 0 {
			delete(b.parts, i)
		}
	}
}

// hold takes a reference, unless the body is on its way out.
func (b *Body) hold() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refs < 0 || b.err != nil {
		return false
	}
	b.refs++
	return true
}

// Release gives back what Open took. When nobody holds the body and nothing is
// worth fetching any more, what is held of it is saved and it leaves memory.
func (b *Body) Release() {
	b.mu.Lock()
	b.refs--
	b.replan()
	b.mu.Unlock()
	b.retire()
}

// retire takes an unused body out of the table and settles it.
func (b *Body) retire() {
	b.mu.Lock()
	if b.refs != 0 || b.busy > 0 || b.retrying || !b.m.start() {
		b.mu.Unlock()
		return // in use, or left to Close
	}
	b.refs = -1
	passing := b.passing()
	b.mu.Unlock()
	end := func() {
		defer b.m.work.Done()
		b.settle()
		b.drop()
		b.disown()
		b.leave()
	}
	if passing {
		go end() // who has had the last byte need not wait for the owner
		return
	}
	end()
}

// leave takes b out of the manager's table. From then on another body may
// stand for the same version, so b records nothing any more.
func (b *Body) leave() {
	b.saving.Lock()
	b.mu.Lock()
	b.left = true
	b.mu.Unlock()
	b.saving.Unlock()
	b.m.mu.Lock()
	if b.m.byID[b.id] == b {
		delete(b.m.byID, b.id)
		b.m.metrics.bodies.Dec()
		close(b.gone)
	}
	b.m.mu.Unlock()
}

// fail ends the body: bytes that are held stay readable for those who have it
// open, all others learn err.
func (b *Body) fail(err error) {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return
	}
	b.err = err
	for s := range b.segs {
		s.cancel()
	}
	if b.stopTry != nil {
		b.stopTry()
	}
	for r := range b.readers {
		r.nudge()
	}
	complete := b.allStored()
	b.mu.Unlock()
	if !complete {
		b.m.metrics.failures.WithLabelValues(cause(err)).Inc()
	}
	switch {
	case errors.Is(err, ErrStopped):
		return // Close settles it when its fetches have ended
	case errors.Is(err, ErrUnavailable):
		b.settle() // whoever asks next goes on from here
	}
	b.disown()
	b.leave()
}

func cause(err error) string {
	switch {
	case errors.Is(err, ErrChanged):
		return "changed"
	case errors.Is(err, ErrStopped):
		return "stopped"
	}
	return "unavailable"
}

// extent is where block i lies in the body.
func (b *Body) extent(i int) (from, to int64) {
	from = int64(i) * block.Size
	to = from + block.Size
	if b.length >= 0 {
		to = min(to, b.length)
	}
	return from, to
}

// part returns the part for block i, which it makes if there is none.
func (b *Body) part(i int) *part {
	pt := b.parts[i]
	if pt == nil {
		pt = &part{held: &b.m.memory.held}
		if b.parts == nil {
			b.parts = map[int]*part{}
		}
		b.parts[i] = pt
	}
	return pt
}

// own makes blocks ours to change and long enough for block i.
func (b *Body) own(i int) {
	if b.shared {
		b.blocks, b.shared = slices.Clone(b.blocks), false
	}
	for len(b.blocks) <= i {
		b.blocks = append(b.blocks, block.Digest{})
	}
}

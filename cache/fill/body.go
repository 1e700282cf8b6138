package fill

import (
	"context"
	"errors"
	"hash"
	"maps"
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
	Source   Source
	// Closed: what is not held is not to be fetched.
	Closed bool
	// Save keeps what is held: called from one goroutine at a time, at most
	// every Config.SaveEvery while a fill runs, and when it pauses or is whole.
	// segs are the segments that blocks went to since the last call.
	Save func(ctx context.Context, m block.Manifest, segs []block.Segment) error
}

// Body is one version of a body: what is held, what is being fetched, who
// reads. All methods may be called concurrently.
type Body struct {
	m    *Manager
	id   ID
	spec Spec
	gone chan struct{} // closed when the body has left the manager's table

	saving sync.Mutex // held while spec.Save runs

	mu       sync.Mutex
	length   int64
	blocks   []block.Digest
	shared   bool // blocks is the caller's: copy before changing
	expect   map[int]block.Digest
	have     spans
	parts    map[int]*part
	recent   []int // stored parts still in memory, oldest first
	homeless []int // whole parts that the store had no room for, oldest first
	segs     map[*segment]struct{}
	readers  map[*Reader]struct{}
	refs     int
	opened   [2]time.Time // the two latest requests
	err      error        // no byte that is not held will ever come
	trouble  time.Time    // since when no fetch has brought anything; zero: no trouble
	failures int
	retrying bool
	touched  map[block.Segment]struct{}
	dirty    bool
	stopTry  context.CancelFunc // ends the wait before the next attempt
	losses   int                // blocks lost while they were being read
	saved    time.Time
	sum      hash.Hash // of the blocks up to summed
	summed   int
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
		b := m.byID[id]
		if b == nil {
			break
		}
		if b.hold() {
			m.mu.Unlock()
			return b, nil
		}
		m.mu.Unlock()
		<-b.gone // it is saving what it has; then it can be loaded again
	}
	defer m.mu.Unlock()
	spec, err := load()
	if err != nil {
		return nil, err
	}
	b := newBody(m, id, spec)
	m.byID[id] = b
	m.metrics.bodies.Inc()
	return b, nil
}

func newBody(m *Manager, id ID, spec Spec) *Body {
	b := &Body{
		m: m, id: id, spec: spec, gone: make(chan struct{}), refs: 1,
		length: spec.Manifest.Length, blocks: spec.Manifest.Blocks, shared: true, sha256: spec.Manifest.SHA256,
	}
	if spec.Manifest.Complete() {
		b.have = spans{{0, b.length}}
	} else {
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
	}
	now := time.Now()
	b.opened = [2]time.Time{{}, now}
	return b
}

// hold takes a reference, unless the body is on its way out.
func (b *Body) hold() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refs < 0 || b.err != nil {
		return false
	}
	b.refs++
	b.opened = [2]time.Time{b.opened[1], time.Now()}
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
	if b.refs != 0 || len(b.segs) > 0 || b.retrying {
		b.mu.Unlock()
		return
	}
	b.refs = -1
	b.mu.Unlock()
	b.settle()
	b.leave()
}

// leave takes b out of the manager's table.
func (b *Body) leave() {
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
	for r := range b.readers {
		r.nudge()
	}
	complete := b.allStored()
	b.mu.Unlock()
	if !complete {
		b.m.metrics.failures.WithLabelValues(cause(err)).Inc()
	}
	if errors.Is(err, ErrUnavailable) {
		b.settle() // whoever asks next goes on from here
	}
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
		pt = &part{}
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

// Length is the body's length, or block.UnknownLength while it isn't known.
func (b *Body) Length() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.length
}

// SHA256 is the digest of the whole body; zero until it is known.
func (b *Body) SHA256() block.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sha256
}

// Err is why no more bytes will come; nil while they may.
func (b *Body) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Status is a look at a body for people.
type Status struct {
	ID      ID
	Held    int64
	Length  int64 // block.UnknownLength if not known
	Readers int
	Fetches int
	Waiting bool // the source can't be reached
}

// Status describes the body as it is now.
func (b *Body) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{ID: b.id, Held: b.have.size(), Length: b.length, Readers: len(b.readers), Fetches: len(b.segs), Waiting: !b.trouble.IsZero()}
}

// end is the body's length for planning.
func (b *Body) end() int64 {
	if b.length < 0 {
		return endless
	}
	return b.length
}

// planner returns the distances that suit the source.
func (b *Body) planner() planner {
	if !b.spec.Source.Ranges() {
		return planner{near: endless, skip: endless, most: 1}
	}
	return planner{near: b.m.cfg.Near, skip: b.m.cfg.Skip, most: b.m.cfg.Fetches}
}

// flying lists the fetches under way. Callers hold b.mu.
func (b *Body) flying() []flight {
	out := make([]flight, 0, len(b.segs))
	for s := range b.segs {
		if s.ctx.Err() == nil {
			out = append(out, flight{s.pos, s.to})
		}
	}
	return out
}

// coming reports whether a fetch under way brings the byte at pos soon, so
// that a reader who waits for it need not have everything planned anew.
// Callers hold b.mu.
func (b *Body) coming(pos int64) bool {
	return b.planner().served(b.have, b.flying(), pos, true)
}

// replan begins the fetches that are missing and ends those nobody needs.
// Callers hold b.mu.
func (b *Body) replan() {
	if b.err != nil || b.refs < 0 || b.spec.Closed {
		return
	}
	wants := make([]want, 0, len(b.readers)+1)
	for r := range b.readers {
		wants = append(wants, want{r.pos, min(r.end, b.end()), r.waiting})
	}
	keepOn := b.worthFinishing()
	if keepOn && len(wants) == 0 {
		wants = append(wants, want{0, b.end(), false})
	}
	// Who holds the body and has no reader yet may be about to need anything.
	keepOn = keepOn || b.refs > len(b.readers)
	for s := range b.segs {
		if !keepOn && !slices.ContainsFunc(wants, func(w want) bool { return w.pos < s.to && w.end > s.pos }) {
			s.cancel()
		}
	}
	if len(wants) == 0 && b.stopTry != nil {
		b.stopTry()
	}
	if b.retrying || b.m.ctx.Err() != nil || len(wants) == 0 {
		return
	}
	p, flying := b.planner(), b.flying()
	ranges := b.spec.Source.Ranges()
	if !ranges && len(b.segs) > 0 {
		return // one at a time, and the old one must have ended
	}
	for _, g := range p.plan(b.have, b.end(), flying, wants) {
		if !ranges {
			g = span{0, b.end()}
		}
		b.begin(g.from, g.to, nil)
	}
}

// worthFinishing reports whether the body is to be fetched to its end with no
// reader left: little is missing, or it was asked for twice lately.
func (b *Body) worthFinishing() bool {
	if b.length >= 0 && b.have.covers(0, b.length) {
		return false
	}
	if !b.trouble.IsZero() && b.refs == 0 {
		return false
	}
	if !b.opened[0].IsZero() && time.Since(b.opened[0]) < b.m.cfg.AskedLately {
		return true
	}
	return b.length >= 0 && b.length-b.have.size() <= max(block.Size, b.length*int64(b.m.cfg.LittleLeft)/100)
}

// lost forgets block i, whose bytes d are not in the store any more.
func (b *Body) lost(i int, d block.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i >= len(b.blocks) || b.blocks[i] != d {
		return
	}
	b.own(i)
	b.blocks[i] = block.Digest{}
	b.have = b.have.remove(b.extent(i))
	if b.expect == nil {
		b.expect = map[int]block.Digest{}
	}
	b.expect[i] = d
	b.dirty = true
	b.losses++
	b.m.metrics.refetched.Inc()
}

// allStored reports whether the store has every block. Callers hold b.mu.
func (b *Body) allStored() bool {
	return b.length >= 0 && len(b.blocks) == block.NumBlocks(b.length) &&
		!slices.ContainsFunc(b.blocks, block.Digest.IsZero)
}

// manifest describes what the store holds. Callers hold b.mu.
func (b *Body) manifest() block.Manifest {
	m := block.Manifest{Length: b.length, Blocks: slices.Clone(b.blocks), SHA256: b.sha256}
	for _, pt := range b.parts {
		if !pt.stored {
			m.Pieces = append(m.Pieces, pt.onDisk...)
		}
	}
	slices.SortFunc(m.Pieces, func(x, y block.Piece) int { return int(x.Off - y.Off) })
	return m
}

// save keeps the manifest if anything changed since it was kept last.
func (b *Body) save() {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	if !b.dirty || errors.Is(b.err, ErrChanged) && !b.anyHeld() {
		b.mu.Unlock()
		return
	}
	m := b.manifest()
	segs := slices.Collect(maps.Keys(b.touched))
	b.touched, b.dirty, b.saved = nil, false, time.Now()
	b.mu.Unlock()
	// Not the fetch's context: what is held must be kept also when the fetch
	// was ended.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.spec.Save(ctx, m, segs); err != nil {
		b.m.log.Warn("what is held of a body could not be recorded", "err", err)
		b.mu.Lock()
		b.dirty = true
		for _, s := range segs {
			b.touch(s)
		}
		b.mu.Unlock()
	}
}

func (b *Body) anyHeld() bool { return len(b.have) > 0 }

func (b *Body) touch(s block.Segment) {
	if b.touched == nil {
		b.touched = map[block.Segment]struct{}{}
	}
	b.touched[s] = struct{}{}
}

// settle puts what is in memory into the store and keeps the manifest.
func (b *Body) settle() {
	b.mu.Lock()
	parts := slices.Collect(maps.Keys(b.parts))
	b.mu.Unlock()
	for _, i := range parts {
		b.spill(i)
	}
	b.mu.Lock()
	for _, pt := range b.parts {
		pt.release()
	}
	b.recent, b.homeless = nil, nil
	b.mu.Unlock()
	b.save()
}

// spill moves the bytes of an unfinished part from memory to the store.
func (b *Body) spill(i int) {
	b.mu.Lock()
	pt := b.parts[i]
	if pt == nil || pt.stored || len(pt.have) == 0 || slices.Contains(b.homeless, i) {
		b.mu.Unlock()
		return
	}
	for s := range b.segs {
		if s.pos/block.Size == int64(i) && s.ctx.Err() == nil {
			b.mu.Unlock() // still being written
			return
		}
	}
	from, _ := b.extent(i)
	type piece struct {
		off  int64
		data []byte
	}
	var pieces []piece
	for _, sp := range pt.have {
		buf := make([]byte, sp.to-sp.from)
		pt.read(sp.from, buf)
		pieces = append(pieces, piece{from + sp.from, buf})
	}
	gen := pt.have.size()
	b.mu.Unlock()

	var onDisk []block.Piece
	var segs []block.Segment
	for _, p := range pieces {
		d := block.Sum(p.data)
		seg, err := b.m.store.Put(context.Background(), b.spec.Ring, d, p.data)
		if err != nil {
			return // it stays in memory for its readers, and is lost with them
		}
		onDisk, segs = append(onDisk, block.Piece{Off: p.off, Len: len(p.data), Digest: d}), append(segs, seg)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parts[i] != pt || pt.stored || pt.have.size() != gen {
		return // it grew meanwhile; the next end of a fetch spills it
	}
	pt.onDisk = append(pt.onDisk, onDisk...)
	pt.release()
	for _, s := range segs {
		b.touch(s)
	}
	b.dirty = true
}

// load brings the pieces of part i that an earlier fill left back to memory.
// What can't be read any more is forgotten. Callers hold b.mu.
func (b *Body) load(i int, pt *part) {
	from, _ := b.extent(i)
	for _, p := range pt.onDisk {
		buf := make([]byte, p.Len)
		if err := b.readPiece(p, buf); err != nil {
			b.have = b.have.remove(p.Off, p.Off+int64(p.Len))
			b.m.metrics.refetched.Inc()
			continue
		}
		pt.write(p.Off-from, buf)
	}
	if len(pt.onDisk) > 0 {
		// Still on disk, but no longer vouched for by the manifest: the next
		// spill writes them again with what came since.
		pt.onDisk = nil
		b.dirty = true
	}
}

func (b *Body) readPiece(p block.Piece, buf []byte) error {
	bl, err := b.m.store.Open(p.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = bl.Close() }() // nothing was written
	if bl.Len() != p.Len {
		return block.ErrNotFound
	}
	_, err = bl.ReadAt(buf, 0)
	return err
}

// Holds reports whether every byte of from..to (-1: to the end) is held.
func (b *Body) Holds(from, to int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to < 0 {
		to = b.end()
	}
	return from >= to || b.have.covers(from, to)
}

// Fetching reports whether the body is being fetched, or waits for its source
// to come back.
func (b *Body) Fetching() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.segs) > 0 || b.retrying
}

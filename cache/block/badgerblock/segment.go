package badgerblock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/block"
)

const droppedName = "dropped"

// segment is one folder. It is born with a writer and a map of places; sealing
// it replaces both by an index, after which its files never change.
type segment struct {
	name atomic.Pointer[label]
	vlog *os.File
	fd   uintptr // vlog's

	// refs counts the store's own hold and those of open blocks. The files
	// are closed when it reaches 0, and gone runs.
	refs atomic.Int64
	gone func()

	disk     atomic.Int64 // allocated
	live     atomic.Int64 // sum of the lengths of blocks and records
	filled   atomic.Bool  // nothing more is written
	retiring atomic.Bool
	removed  atomic.Bool
	reported atomic.Bool // that it could not be sealed

	sealMu sync.Mutex // held while sealing
	w      *writer    // nil once sealed; the ring's lock guards its use

	mu     sync.RWMutex
	places map[block.Digest]place // until there is an index

	idx     atomic.Pointer[index] // set once
	drops   []atomic.Uint64       // by number in the index; set before idx
	checked atomic.Pointer[checks]

	// seen is for segments without an index: in which state of the file a large
	// block, by its offset, was last verified. Our own appends change the state
	// too, so it is of use in the quiet between them.
	seen sync.Map // uint32 → fileStat
}

// label is what a segment goes by. Relabelling replaces it, with mu held, while
// the segment's files and those who read them stay what they are.
type label struct {
	id   block.Segment
	ring block.Ring
	dir  string
}

func newSegment(l label) *segment {
	g := &segment{}
	g.name.Store(&l)
	g.refs.Store(1)
	return g
}

func (g *segment) id() block.Segment { return g.name.Load().id }
func (g *segment) ring() block.Ring  { return g.name.Load().ring }
func (g *segment) dir() string       { return g.name.Load().dir }

// hold takes a reference, unless the segment is closed already.
func (g *segment) hold() bool {
	for {
		n := g.refs.Load()
		if n == 0 {
			return false
		}
		if g.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *segment) release() {
	if g.refs.Add(-1) > 0 {
		return
	}
	_ = g.vlog.Close() //nolint:errcheck // only read from
	if x := g.idx.Load(); x != nil {
		_ = x.f.Close() //nolint:errcheck // only read from
	}
	if g.gone != nil {
		g.gone()
	}
}

// sealed reports whether nothing more is written to g.
func (g *segment) sealed() bool { return g.idx.Load() != nil }

// find looks d up. The caller holds g.
func (g *segment) find(d block.Digest) (place, bool) {
	x := g.idx.Load()
	if x == nil {
		g.mu.RLock()
		p, ok := g.places[d]
		sealed := g.places == nil
		g.mu.RUnlock()
		if !sealed {
			return p, ok
		}
		x = g.idx.Load()
	}
	p, ok := x.find(d)
	if ok && isSet(g.drops, p.ord) {
		return place{}, false
	}
	return p, ok
}

// drop forgets d. With an index that is noted in a file, so that it holds
// after a restart.
func (g *segment) drop(d block.Digest) (bool, error) {
	return g.dropIf(d, func(place) bool { return true })
}

// dropIf is drop if cond is true of the place of d.
func (g *segment) dropIf(d block.Digest, cond func(place) bool) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.places != nil {
		p, ok := g.places[d]
		if !ok || !cond(p) {
			return false, nil
		}
		delete(g.places, d)
		return true, nil
	}
	p, ok := g.idx.Load().find(d)
	if !ok || isSet(g.drops, p.ord) || !cond(p) {
		return false, nil
	}
	set(g.drops, p.ord)
	return true, g.note(d[:])
}

// dropOthers forgets all blocks of the sealed segment g but those in keep, and
// returns their length.
func (g *segment) dropOthers(keep map[block.Digest]bool) (length int64, err error) {
	var ords []int32
	var names []byte
	err = g.each(func(d block.Digest, p place) error {
		if !keep[d] {
			length += int64(p.len)
			ords, names = append(ords, p.ord), append(names, d[:]...)
		}
		return nil
	})
	if err != nil || len(ords) == 0 {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ord := range ords {
		set(g.drops, ord)
	}
	return length, g.note(names)
}

// note writes down which blocks were dropped. The caller holds g.mu.
func (g *segment) note(digests []byte) error {
	f, err := os.OpenFile(filepath.Join(g.dir(), droppedName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("note dropped blocks: %w", err)
	}
	_, err = f.Write(digests)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("note dropped blocks: %w", err)
	}
	return nil
}

// adopt gives g its index, from now on in place of the map.
func (g *segment) adopt(x *index) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if st, err := g.vlog.Stat(); err != nil {
		return fmt.Errorf("stat value log: %w", err)
	} else if st.Size() != x.values {
		return fmt.Errorf("value log has %d bytes, its index says %d", st.Size(), x.values)
	}
	g.drops = make([]atomic.Uint64, (x.count+63)/64)
	p, err := os.ReadFile(filepath.Join(g.dir(), droppedName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read dropped blocks: %w", err)
	}
	for ; len(p) >= len(block.Digest{}); p = p[len(block.Digest{}):] {
		if at, ok := x.find(block.Digest(p[:len(block.Digest{})])); ok {
			set(g.drops, at.ord)
		}
	}
	if g.places != nil {
		// What was dropped while x was being written.
		ord := int32(0)
		err := x.each(func(recs []byte) error {
			for ; len(recs) > 0; recs = recs[indexRecord:] {
				if _, ok := g.places[block.Digest(recs[:32])]; !ok {
					set(g.drops, ord)
				}
				ord++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	g.idx.Store(x)
	g.places = nil
	g.live.Store(x.bytes)
	return nil
}

// each calls fn for every block of g. Those whose records in the index are
// damaged are left out.
func (g *segment) each(fn func(block.Digest, place) error) error {
	x := g.idx.Load()
	if x == nil {
		g.mu.RLock()
		sealed := g.places == nil
		list := make([]indexed, 0, len(g.places))
		for d, p := range g.places {
			list = append(list, indexed{d, p})
		}
		g.mu.RUnlock()
		if !sealed {
			for _, e := range list {
				if err := fn(e.digest, e.place); err != nil {
					return err
				}
			}
			return nil
		}
		x = g.idx.Load()
	}
	ord := int32(0)
	err := x.each(func(recs []byte) error {
		for ; len(recs) > 0; recs = recs[indexRecord:] {
			p, ok := x.placeOf(recs[:indexRecord], ord)
			ord++
			if !ok || isSet(g.drops, p.ord) {
				continue
			}
			if err := fn(block.Digest(recs[:32]), p); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errBadIndex) {
		// What cannot be read is lost. As an error it would keep the segment
		// from ever being retired.
		x.bad.Store(true)
		return nil
	}
	return err
}

// records calls fn for every record in g, in the order they were written.
// Those whose checksum is wrong are left out.
func (g *segment) records(fn func(key, value []byte) error) error {
	st, err := g.vlog.Stat()
	if err != nil {
		return fmt.Errorf("stat value log: %w", err)
	}
	_, err = scan(g.vlog, make([]byte, scanBuffer), vlogHeader, st.Size(), func(e entry) error {
		if len(e.key) == 0 || e.key[0] != kindRecord {
			return nil
		}
		p := make([]byte, e.end()-e.start)
		if _, err := g.vlog.ReadAt(p, e.start); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read record: %w", err)
		}
		if !checkEntry(p) {
			return nil
		}
		key := p[e.value-e.start-int64(len(e.key)+versionLen):][:len(e.key)]
		return fn(key[1:], p[e.value-e.start:][:e.len])
	})
	return err
}

// checks remembers which blocks were verified while the value log's stat was
// what it is.
type checks struct {
	stat  fileStat
	since time.Time
	bits  []atomic.Uint64
}

// recheckAfter is how long a block's verification holds where the kernel
// cannot tell whether its pages were read from disk anew since.
const recheckAfter = 10 * time.Minute

// checksFor returns what is known of the sealed segment g in state st.
func (g *segment) checksFor(st fileStat, now time.Time) *checks {
	c := g.checked.Load()
	if c != nil && c.stat == st && (!noPageInfo() || now.Sub(c.since) < recheckAfter) {
		return c
	}
	fresh := &checks{stat: st, since: now, bits: make([]atomic.Uint64, len(g.drops))}
	g.checked.CompareAndSwap(c, fresh)
	return fresh
}

func isSet(b []atomic.Uint64, i int32) bool {
	return b[i/64].Load()&(1<<(i%64)) != 0
}

func set(b []atomic.Uint64, i int32) { b[i/64].Or(1 << (i % 64)) }

func unset(b []atomic.Uint64, i int32) { b[i/64].And(^(uint64(1) << (i % 64))) }

// headerLen is the length of the header that Badger puts before the key of a
// block of valueLen bytes.
func headerLen(valueLen int) int {
	var b [10]byte
	return 2 + binary.PutUvarint(b[:], uint64(blockKeyLen+versionLen)) + binary.PutUvarint(b[:], uint64(valueLen)) + 1
}

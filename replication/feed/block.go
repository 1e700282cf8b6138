package feed

import (
	"cmp"
	"container/list"
	"crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// Where blocks are cut: at indices that divide by boundary, so that boxes that
// come from different cursors soon share blocks, and where they get large.
const (
	boundary     = 1 << 14
	cutBytes     = 256 << 10 // of records; a block ends at the next index
	frameBytes   = 256 << 10
	frameRecords = 10_000
)

// payload is what one frame carries: compressed records that all boxes get
// alike.
type payload struct {
	bytes []byte
	count int
}

// block is all that there is to tell about the indices above after up to upto,
// ready to be written to any number of boxes. What everybody sees is compressed
// once; the rest is filtered for each school.
type block struct {
	after, upto, at uint64 // at is what had been applied when it was made
	floor           uint64 // up to which purges and marks had been forgotten by then
	public          []payload
	extra           []catalogue.Record
	size            int64

	mu   sync.Mutex
	cert *tls.Certificate // whose signatures these are, one for each of public
	sigs [][]byte
}

// head is the header of b's frame number part, for a box whose cursor is after.
func (b *block) head(after uint64, part int, more bool) batchHeader {
	return batchHeader{After: after, Upto: b.upto, Part: uint16(part), More: more, Count: uint32(b.public[part].count)}
}

// signatures returns one for each of b.public, made once per certificate.
func (b *block) signatures(cert *tls.Certificate, region identity.Region, epoch uint64) ([][]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cert == cert {
		return b.sigs, nil
	}
	sigs := make([][]byte, len(b.public))
	for i, p := range b.public {
		h := b.head(b.after, i, i < len(b.public)-1 || len(b.extra) > 0)
		h.At = b.at
		if err := sign(cert, region, epoch, &h, p.bytes); err != nil {
			return nil, err
		}
		sigs[i] = h.Sig
	}
	b.cert, b.sigs = cert, sigs
	return sigs, nil
}

// packer makes payloads of records.
type packer struct {
	enc  *compressor
	buf  []byte // records
	out  []byte // the same, compressed
	n    int
	done []payload
}

// compressor lends out buffers that are large enough after a while.
type compressor struct {
	*zstd.Encoder
	buffers sync.Pool // of *packer
}

func (c *compressor) packer() *packer {
	p, ok := c.buffers.Get().(*packer)
	if !ok {
		p = new(packer)
	}
	*p = packer{enc: c, buf: p.buf[:0], out: p.out[:0]}
	return p
}

// finish returns the payloads and gives the buffers back.
func (p *packer) finish() []payload {
	p.flush()
	done := p.done
	p.done = nil
	p.enc.buffers.Put(p)
	return done
}

func (p *packer) add(r *catalogue.Record, gone bool) {
	p.buf = appendRecord(p.buf, r, gone)
	p.n++
	if len(p.buf) >= frameBytes || p.n >= frameRecords {
		p.flush()
	}
}

func (p *packer) flush() {
	if p.n > 0 {
		p.out = p.enc.EncodeAll(p.buf, p.out[:0])
		p.done = append(p.done, payload{bytes: slices.Clone(p.out), count: p.n})
		p.buf, p.n = p.buf[:0], 0
	}
}

// school makes the payloads of what school alone sees of b, deletions only if
// gone.
func (b *block) school(school identity.School, gone bool, enc *compressor) []payload {
	if len(b.extra) == 0 {
		return nil
	}
	p := enc.packer()
	for i := range b.extra {
		switch b.extra[i].SeenBy(school) {
		case catalogue.Visible:
			p.add(&b.extra[i], false)
		case catalogue.Gone:
			if gone {
				p.add(&b.extra[i], true)
			}
		case catalogue.Hidden:
		}
	}
	return p.finish()
}

// makeBlock puts records in order of index, as each calls its argument with,
// into a block that ends at limit or, having become large, before.
func makeBlock(enc *compressor, after, limit, at uint64, gone bool, each func(fn func(r catalogue.Record) bool) error) (*block, error) {
	b := &block{after: after, upto: limit, at: at, size: 256}
	p := enc.packer()
	var bytes, last uint64
	err := each(func(r catalogue.Record) bool {
		if bytes >= cutBytes && r.Index != last {
			b.upto = r.Index - 1
			return false
		}
		last = r.Index
		switch {
		case r.Kind.Private(), r.Deleted && !gone:
			return true
		case r.Public():
			bytes += uint64(64 + len(r.ID) + len(r.Body))
			p.add(&r, r.Deleted)
		default:
			b.extra = append(b.extra, r)
			w := weight(&r)
			b.size += int64(w)
			bytes += uint64(w)
		}
		return true
	})
	public := p.finish()
	if err != nil {
		return nil, err
	}
	if b.public = public; len(b.public) == 0 && !gone {
		// A snapshot tells of empty stretches too: they are signed.
		b.public = []payload{{}}
	}
	for _, f := range b.public {
		b.size += int64(len(f.bytes)) + 128
	}
	if len(b.public) >= MaxParts/2 {
		return nil, fmt.Errorf("the change of index %d is too large for the feed", b.upto)
	}
	return b, nil
}

type blockKey struct {
	after, limit uint64
	gone         bool
}

// shelf builds blocks from the source, each once for all who want it at a time,
// and keeps the latest.
type shelf struct {
	source  Source
	enc     *compressor
	met     *metrics
	budget  int64
	builder chan struct{} // how many build at a time

	mu     sync.Mutex
	held   map[blockKey]*list.Element
	recent list.List // of *shelved, latest first
	bytes  int64
	doing  map[blockKey]*building
}

type shelved struct {
	key  blockKey
	b    *block
	used time.Time // when somebody wanted it last
}

type building struct {
	done chan struct{}
	b    *block
	err  error
}

func newShelf(source Source, enc *compressor, budget int64, met *metrics) *shelf {
	return &shelf{
		source: source, enc: enc, met: met, budget: budget,
		builder: make(chan struct{}, max(1, runtime.GOMAXPROCS(0))),
		held:    make(map[blockKey]*list.Element), doing: make(map[blockKey]*building),
	}
}

// get returns a block from after to at most limit. For a snapshot, gone is
// false and the block is as of limit or later. ErrPruned and ErrBehind are the
// view's; others the source's.
func (s *shelf) get(after, limit uint64, gone bool, asOf uint64) (*block, error) {
	if next := (after/boundary + 1) * boundary; next < limit {
		limit = next
	}
	key := blockKey{after, limit, gone}
	s.mu.Lock()
	if e, ok := s.held[key]; ok {
		if it, ok := e.Value.(*shelved); ok && it.b.at >= asOf {
			s.recent.MoveToFront(e)
			it.used = time.Now()
			s.mu.Unlock()
			s.met.blocks.WithLabelValues("hit").Inc()
			return it.b, nil
		}
	}
	if d, ok := s.doing[key]; ok {
		s.mu.Unlock()
		<-d.done // milliseconds: a block is small
		if d.err == nil && d.b.at < asOf {
			return nil, ErrBehind
		}
		if d.err == nil {
			s.met.blocks.WithLabelValues("hit").Inc()
		}
		return d.b, d.err
	}
	d := &building{done: make(chan struct{})}
	s.doing[key] = d
	s.mu.Unlock()

	s.builder <- struct{}{}
	d.b, d.err = s.build(key, asOf)
	<-s.builder

	s.mu.Lock()
	delete(s.doing, key)
	if d.err == nil {
		s.put(key, d.b)
	}
	s.mu.Unlock()
	close(d.done)
	if d.err != nil {
		s.met.blocks.WithLabelValues("failed").Inc()
	} else {
		s.met.blocks.WithLabelValues("built").Inc()
	}
	return d.b, d.err
}

func (s *shelf) build(key blockKey, asOf uint64) (b *block, err error) {
	v, err := s.source.View()
	if err != nil {
		return nil, fmt.Errorf("view the catalogue: %w", err)
	}
	defer func() {
		if cerr := v.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close the view of the catalogue: %w", cerr)
		}
	}()
	at, _ := v.Applied()
	switch {
	case at < max(asOf, key.limit):
		return nil, ErrBehind
	case key.gone && key.after < v.Floor(), !key.gone && asOf < v.Floor():
		return nil, ErrPruned
	}
	b, err = makeBlock(s.enc, key.after, key.limit, at, key.gone, func(fn func(catalogue.Record) bool) error {
		return v.Changes(key.after, key.limit, fn)
	})
	if err != nil {
		return nil, fmt.Errorf("read changes of the catalogue after %d: %w", key.after, err)
	}
	b.floor = v.Floor()
	return b, nil
}

// put keeps b and lets go of what is over the budget. s.mu is held.
func (s *shelf) put(key blockKey, b *block) {
	if old, ok := s.held[key]; ok {
		s.drop(old)
	}
	if b.size > s.budget/2 {
		return
	}
	s.held[key] = s.recent.PushFront(&shelved{key, b, time.Now()})
	s.bytes += b.size
	for s.bytes > s.budget {
		s.drop(s.recent.Back())
	}
}

func (s *shelf) drop(e *list.Element) {
	if it, ok := s.recent.Remove(e).(*shelved); ok {
		delete(s.held, it.key)
		s.bytes -= it.b.size
	}
}

// forget lets go of what nobody has wanted since then.
func (s *shelf) forget(then time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.recent.Back(); e != nil; e = s.recent.Back() {
		if it, ok := e.Value.(*shelved); ok && it.used.After(then) {
			return
		}
		s.drop(e)
	}
}

// sorted orders records by index; ties keep a fixed order too.
func sorted(records []catalogue.Record) []catalogue.Record {
	slices.SortFunc(records, func(a, b catalogue.Record) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return records
}

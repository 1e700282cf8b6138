package boltkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What follows reads bbolt's file format (version 2) without bbolt, trusting no
// number in it. All integers are in the machine's order.
const (
	pageHeader    = 16
	elementHeader = 16
	metaLen       = 64

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04
	flagBucket = 0x01 // of an element

	magic         = 0xED0CDAED
	formatVersion = 2

	// A tree of 2^48 pages is less deep, even with two keys to a page.
	maxDepth = 48
)

var order = binary.NativeEndian

// verifyFile reads all of the file at path and returns kv.ErrDamaged if it is
// not exactly what this package wrote last.
func verifyFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	readAhead(f, fi.Size())
	return verify(context.Background(), f, fi.Size(), path)
}

// Check reads the whole content as it is now and returns kv.ErrDamaged if
// anything is wrong with it. Updates go on meanwhile; it counts as a view.
func (s *Store) Check(ctx context.Context) error {
	s.writer.Lock()
	v, err := s.view()
	if err != nil {
		s.writer.Unlock()
		return err
	}
	// No update is under way, so what is on disk is what the view sees.
	w, err := newWalk(ctx, v.file.f, s.path)
	s.writer.Unlock()
	if err == nil {
		err = w.run()
	}
	return errors.Join(err, v.Close())
}

func verify(ctx context.Context, r io.ReaderAt, size int64, path string) error {
	w, err := newWalkOf(ctx, r, size, path)
	if err != nil {
		return err
	}
	return w.run()
}

// meta is what a meta page says.
type meta struct {
	pageSize, root, end, txid uint64
}

// walk is one reading of the whole tree.
type walk struct {
	ctx  context.Context
	r    io.ReaderAt
	path string
	meta meta
	seen []uint64 // bitmap of pages reached
	free [][]byte // page buffers to use again
}

func newWalk(ctx context.Context, f *os.File, path string) (*walk, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return newWalkOf(ctx, f, fi.Size(), path)
}

func newWalkOf(ctx context.Context, r io.ReaderAt, size int64, path string) (*walk, error) {
	w := &walk{ctx: ctx, r: r, path: path}
	m0, err := w.readMeta(0)
	if err != nil {
		return nil, err
	}
	m1, err := w.readMeta(int64(m0.pageSize))
	if err != nil {
		return nil, err
	}
	// bbolt would go on with one good page. But the page is smaller than what a
	// disk writes whole, so a bad one is damage, and the other one of the past.
	switch {
	case m0.pageSize != m1.pageSize, m0.txid != m1.txid+1 && m1.txid != m0.txid+1:
		return nil, w.damaged("its two meta pages contradict each other")
	case m0.txid > m1.txid:
		w.meta = m0
	default:
		w.meta = m1
	}
	if w.meta.end < 4 || w.meta.end > uint64(size)/w.meta.pageSize {
		return nil, w.damaged("it is truncated: %d bytes, want at least %d pages of %d", size, w.meta.end, w.meta.pageSize)
	}
	w.seen = make([]uint64, w.meta.end/64+1)
	return w, nil
}

func (w *walk) damaged(format string, args ...any) error {
	return damaged(w.path, fmt.Sprintf(format, args...))
}

func (w *walk) readMeta(off int64) (meta, error) {
	b := make([]byte, pageHeader+metaLen)
	if _, err := w.r.ReadAt(b, off); errors.Is(err, io.EOF) {
		return meta{}, w.damaged("it is too short")
	} else if err != nil {
		return meta{}, fmt.Errorf("read %s: %w", w.path, err)
	}
	flags, b := order.Uint16(b[8:]), b[pageHeader:]
	h := fnv.New64a()
	_, _ = h.Write(b[:56]) // never fails
	m := meta{
		pageSize: uint64(order.Uint32(b[8:])),
		root:     order.Uint64(b[16:]),
		end:      order.Uint64(b[40:]),
		txid:     order.Uint64(b[48:]),
	}
	switch {
	case order.Uint32(b) != magic || flags != flagMeta:
		return m, w.damaged("it is not a file of this store")
	case order.Uint32(b[4:]) != formatVersion:
		return m, w.damaged("it has version %d, want %d", order.Uint32(b[4:]), formatVersion)
	case order.Uint64(b[56:]) != h.Sum64():
		return m, w.damaged("a meta page fails its checksum")
	case m.pageSize < 1024 || m.pageSize > 1<<16 || m.pageSize&(m.pageSize-1) != 0:
		return m, w.damaged("it has pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// run walks all buckets and compares the totals.
func (w *walk) run() error {
	var found, want totals
	var sawData, sawMeta, sawTotals, sawFormat bool
	inData := func(k, v []byte) error {
		if _, ok := unseal(k, v); !ok {
			return w.damaged("the value of key %.64q fails its checksum", k)
		}
		found.add(v)
		return nil
	}
	inMeta := func(k, v []byte) (err error) {
		switch {
		case bytes.Equal(k, totalsKey):
			sawTotals = true
			if want, err = decodeTotals(v); err != nil {
				return w.damaged("its %s", err)
			}
		case bytes.Equal(k, formatKey):
			sawFormat = true
			if string(v) != format {
				return w.damaged("its format is %.64q, want %q", v, format)
			}
		default:
			return w.damaged("it describes itself with an unknown key")
		}
		return nil
	}
	err := w.page(w.meta.root, nil, nil, 0, func(flags uint32, k, v []byte) error {
		if flags != flagBucket {
			return w.damaged("there is a key outside all buckets")
		}
		switch {
		case bytes.Equal(k, dataBucket):
			sawData = true
			return w.bucket(v, inData)
		case bytes.Equal(k, metaBucket):
			sawMeta = true
			return w.bucket(v, inMeta)
		case bytes.Equal(k, spareBucket):
			return w.bucket(v, func(_, _ []byte) error { return nil })
		}
		return w.damaged("it has an unknown bucket")
	})
	switch {
	case err != nil:
		return err
	case !sawData || !sawMeta || !sawTotals || !sawFormat:
		return w.damaged("it is not whole")
	case found != want:
		return w.damaged("it holds %d records, want %d, or other ones", found.count, want.count)
	}
	return nil
}

// bucket walks the bucket that is described by v.
func (w *walk) bucket(v []byte, fn func(k, v []byte) error) error {
	if len(v) < 16 {
		return w.damaged("a bucket has no root")
	}
	plain := func(flags uint32, k, v []byte) error {
		if flags != 0 {
			return w.damaged("there is a bucket in a bucket")
		}
		return fn(k, v)
	}
	if root := order.Uint64(v); root != 0 {
		return w.page(root, nil, nil, 0, plain)
	}
	if len(v) < 16+pageHeader {
		return w.damaged("a bucket has no page")
	}
	return w.leaf(v[16:], nil, nil, plain)
}

// page walks the page with this number and all below it. Keys must be at least
// lo and less than hi, where those are not nil.
func (w *walk) page(id uint64, lo, hi []byte, depth int, fn func(flags uint32, k, v []byte) error) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return w.damaged("its tree is too deep")
	}
	p, err := w.read(id)
	if err != nil {
		return err
	}
	defer func() { w.free = append(w.free, p) }()
	switch order.Uint16(p[8:]) {
	case flagLeaf:
		return w.leaf(p, lo, hi, fn)
	case flagBranch:
		return w.branch(p, lo, hi, depth, fn)
	}
	return w.damaged("page %d is of no known kind", id)
}

// read returns page id with what it overflows into.
func (w *walk) read(id uint64) ([]byte, error) {
	if id < 2 || id >= w.meta.end {
		return nil, w.damaged("page %d is not in the file", id)
	}
	ps := w.meta.pageSize
	var p []byte
	if n := len(w.free); n > 0 {
		p, w.free = w.free[n-1], w.free[:n-1]
	}
	if uint64(cap(p)) < ps {
		p = make([]byte, ps)
	}
	p = p[:ps]
	if err := w.readAt(p, int64(id*ps)); err != nil {
		return nil, err
	}
	over := uint64(order.Uint32(p[12:]))
	if order.Uint64(p) != id || over >= w.meta.end-id {
		return nil, w.damaged("page %d has a wrong header", id)
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, w.damaged("page %d is in two places", i)
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	if over > 0 {
		p = append(p, make([]byte, over*ps)...)
		if err := w.readAt(p[ps:], int64((id+1)*ps)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (w *walk) readAt(p []byte, off int64) error {
	if _, err := w.r.ReadAt(p, off); errors.Is(err, io.EOF) {
		return w.damaged("it is truncated")
	} else if err != nil {
		return fmt.Errorf("read %s: %w", w.path, err)
	}
	return nil
}

// slice is p from off on, n bytes, or nil if that is not in p.
func slice(p []byte, off, n uint64) []byte {
	if off > uint64(len(p)) || n > uint64(len(p))-off {
		return nil
	}
	return p[off : off+n : off+n]
}

// elements checks the table at the head of a page.
func (w *walk) elements(p []byte) (int, error) {
	n := int(order.Uint16(p[10:]))
	if pageHeader+n*elementHeader > len(p) {
		return 0, w.damaged("a page has more elements than room")
	}
	return n, nil
}

func (w *walk) leaf(p []byte, lo, hi []byte, fn func(flags uint32, k, v []byte) error) error {
	n, err := w.elements(p)
	if err != nil {
		return err
	}
	if order.Uint16(p[8:]) != flagLeaf {
		return w.damaged("a page is not a leaf")
	}
	last := lo
	for i := range n {
		at := uint64(pageHeader + i*elementHeader)
		e := p[at:]
		flags, ks, vs := order.Uint32(e), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		kv := slice(p, at+uint64(order.Uint32(e[4:])), ks+vs)
		if kv == nil || ks == 0 {
			return w.damaged("an element lies outside its page")
		}
		k, v := kv[:ks:ks], kv[ks:]
		if err := w.inOrder(k, last, i == 0, hi); err != nil {
			return err
		}
		last = k
		if err := fn(flags, k, v); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) branch(p []byte, lo, hi []byte, depth int, fn func(flags uint32, k, v []byte) error) error {
	n, err := w.elements(p)
	if err != nil {
		return err
	}
	if n == 0 {
		return w.damaged("a branch is empty")
	}
	element := func(i int) (id uint64, k []byte) {
		at := uint64(pageHeader + i*elementHeader)
		e := p[at:]
		return order.Uint64(e[8:]), slice(p, at+uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])))
	}
	last := lo
	for i := range n {
		id, k := element(i)
		if len(k) == 0 {
			return w.damaged("an element lies outside its page")
		}
		if err := w.inOrder(k, last, i == 0, hi); err != nil {
			return err
		}
		last = k
		next := hi
		if i+1 < n {
			if _, next = element(i + 1); len(next) == 0 {
				return w.damaged("an element lies outside its page")
			}
		}
		if err := w.page(id, k, next, depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}

// inOrder checks that k follows last, which it may equal if it is the first of
// its page, and is less than hi.
func (w *walk) inOrder(k, last []byte, first bool, hi []byte) error {
	if last != nil {
		if c := bytes.Compare(k, last); c < 0 || c == 0 && !first {
			return w.damaged("key %.64q comes after %.64q", k, last)
		}
	}
	if hi != nil && bytes.Compare(k, hi) >= 0 {
		return w.damaged("key %.64q comes before %.64q", hi, k)
	}
	return nil
}

package blocktest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"preau/cache/block"
)

// Memory is a block.Store that keeps everything in memory: the store to test
// other packages with. Its zero value is not usable; see NewMemory.
type Memory struct {
	mu     sync.Mutex
	blocks map[block.Digest]held
	limit  int64
	used   int64
	puts   int
}

type held struct {
	ring  block.Ring
	bytes []byte
}

var _ block.Store = (*Memory)(nil)

// NewMemory returns an empty store. With limit > 0, a Put that would make it
// hold more than limit bytes returns block.ErrNoSpace.
func NewMemory(limit int64) *Memory {
	return &Memory{blocks: make(map[block.Digest]held), limit: limit}
}

// segment is the one segment that Memory has for each ring.
func segment(r block.Ring) block.Segment { return block.Segment(r) + 1 }

// Put implements block.Store.
func (m *Memory) Put(ctx context.Context, r block.Ring, d block.Digest, p []byte) (block.Segment, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if len(p) > block.Size {
		return 0, fmt.Errorf("block of %d bytes is too long", len(p))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.blocks[d]; ok {
		return segment(h.ring), nil
	}
	if m.limit > 0 && m.used+int64(len(p)) > m.limit {
		return 0, block.ErrNoSpace
	}
	m.blocks[d] = held{ring: r, bytes: bytes.Clone(p)}
	m.used += int64(len(p))
	m.puts++
	return segment(r), nil
}

// Open implements block.Store.
func (m *Memory) Open(d block.Digest) (block.Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.blocks[d]
	if !ok {
		return nil, block.ErrNotFound
	}
	return &memoryBlock{store: m, digest: d, bytes: h.bytes}, nil
}

// Has implements block.Store.
func (m *Memory) Has(d block.Digest) (block.Segment, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.blocks[d]
	if !ok {
		return 0, false
	}
	return segment(h.ring), true
}

// Drop implements block.Store.
func (m *Memory) Drop(d block.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.blocks[d]; ok {
		m.used -= int64(len(h.bytes))
		delete(m.blocks, d)
	}
}

// dropCopy drops d if it still is the copy that was read: a good one may have
// been put in its place since.
func (m *Memory) dropCopy(d block.Digest, read []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.blocks[d]; ok && len(h.bytes) > 0 && len(read) > 0 && &h.bytes[0] == &read[0] {
		m.used -= int64(len(h.bytes))
		delete(m.blocks, d)
	}
}

// Damage flips a bit of d as a failing disk would: whoever reads d next gets
// block.ErrCorrupt. It reports whether d was there with at least one byte.
func (m *Memory) Damage(d block.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.blocks[d]
	if !ok || len(h.bytes) == 0 {
		return false
	}
	// A copy: blocks that are open keep the good bytes, as they would if
	// those were still in the page cache.
	b := bytes.Clone(h.bytes)
	b[len(b)/2] ^= 0x10
	h.bytes = b
	m.blocks[d] = h
	return true
}

// Len is the number of blocks held.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blocks)
}

// Bytes is the sum of the lengths of the blocks held.
func (m *Memory) Bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Puts is how many blocks were written; those that were there already don't
// count.
func (m *Memory) Puts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts
}

type memoryBlock struct {
	store   *Memory
	digest  block.Digest
	bytes   []byte
	checked bool
}

func (b *memoryBlock) Len() int { return len(b.bytes) }

func (b *memoryBlock) Close() error { return nil }

func (b *memoryBlock) check() error {
	if b.checked {
		return nil
	}
	if block.Sum(b.bytes) != b.digest {
		b.store.dropCopy(b.digest, b.bytes)
		return fmt.Errorf("read block %s: %w", b.digest, block.ErrCorrupt)
	}
	b.checked = true
	return nil
}

func (b *memoryBlock) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read block %s: negative offset %d", b.digest, off)
	}
	if err := b.check(); err != nil {
		return 0, err
	}
	if off >= int64(len(b.bytes)) {
		return 0, io.EOF
	}
	n := copy(p, b.bytes[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *memoryBlock) WriteRange(w io.Writer, off, n int) (int64, error) {
	if off < 0 || n < 0 || off > len(b.bytes) || n > len(b.bytes)-off {
		return 0, fmt.Errorf("write %d bytes from %d of block %s, which has %d", n, off, b.digest, len(b.bytes))
	}
	if err := b.check(); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	m, err := w.Write(b.bytes[off : off+n])
	return int64(m), err
}

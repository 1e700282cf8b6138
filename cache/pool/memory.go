package pool

import (
	"sync"
	"sync/atomic"

	"preau/cache/block"
)

// mostBuffers is for how many bodies at a time one site has memory, and small
// is up to where a body has a buffer of its own length, which is not counted.
const (
	mostBuffers = 32
	small       = 64 << 10
)

// Memory is what the blocks lie in that are not compared yet: one for each body
// that a neighbour sends. When there is no more, bodies come from the authority.
type Memory struct {
	most int64
	used atomic.Int64
	pool sync.Pool
}

// NewMemory returns memory for so many blocks at a time.
func NewMemory(blocks int) *Memory {
	return &Memory{most: int64(blocks), pool: sync.Pool{New: func() any { return new([block.Size]byte) }}}
}

// free reports whether there is any left.
func (m *Memory) free() bool { return m.used.Load() < m.most }

// buffer is memory for one block.
type buffer struct {
	p     []byte
	whole *[block.Size]byte // to be given back
	of    *Memory
}

// take returns memory for the blocks that s touches; false if there is none.
func (m *Memory) take(s span) (*buffer, bool) {
	if end := s.gridEnd(); end >= 0 && end-s.gridStart() <= small {
		return &buffer{p: make([]byte, end-s.gridStart())}, true
	}
	if m.used.Add(1) > m.most {
		m.used.Add(-1)
		return nil, false
	}
	whole := m.pool.Get().(*[block.Size]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	return &buffer{whole[:], whole, m}, true
}

// back gives the memory back. It is called once.
func (b *buffer) back() {
	b.p = nil
	if b.of != nil {
		b.of.pool.Put(b.whole)
		b.of.used.Add(-1)
	}
}

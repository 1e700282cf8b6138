package pool

import (
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
}

// NewMemory returns memory for so many blocks at a time.
func NewMemory(blocks int) *Memory {
	return &Memory{most: int64(blocks)}
}

// free reports whether there is any left.
func (m *Memory) free() bool { return m.used.Load() < m.most }

// buffer is memory for one block: small, or chunks, which come when they are needed
// and may be handed on when they are full.
type buffer struct {
	small  []byte
	chunks []*block.Chunk
	of     *Memory // nil for a small one
}

// size is how much fits.
func (b *buffer) size() int {
	if b.of == nil {
		return len(b.small)
	}
	return block.Size
}

// at is the memory from off to end, as far as it is in one piece.
func (b *buffer) at(off, end int) []byte {
	if b.of == nil {
		return b.small[off:end]
	}
	i, from := off/block.ChunkSize, off%block.ChunkSize
	for len(b.chunks) <= i {
		b.chunks = append(b.chunks, block.GetChunk())
	}
	return b.chunks[i][from:min(block.ChunkSize, from+end-off)]
}

// give gives the chunks away.
func (b *buffer) give() []*block.Chunk {
	chunks := b.chunks
	b.chunks = nil
	return chunks
}

// take returns memory for the blocks that s touches; false if there is none.
func (m *Memory) take(s span) (*buffer, bool) {
	if end := s.gridEnd(); end >= 0 && end-s.gridStart() <= small {
		return &buffer{small: make([]byte, end-s.gridStart())}, true
	}
	if m.used.Add(1) > m.most {
		m.used.Add(-1)
		return nil, false
	}
	return &buffer{of: m}, true
}

// back gives the memory back. It is called once.
func (b *buffer) back() {
	b.small = nil
	for _, c := range b.give() {
		block.PutChunk(c)
	}
	if b.of != nil {
		b.of.used.Add(-1)
	}
}

package block

import "sync"

// ChunkSize is the length of a Chunk.
const ChunkSize = 64 << 10

// Chunk is the unit in which memory for a block under way is taken, so that a short
// body or a short range does not cost a whole block, and so that those who carry a
// block can hand its memory on instead of copying it.
type Chunk [ChunkSize]byte

var chunks = sync.Pool{New: func() any { return new(Chunk) }}

// GetChunk returns a chunk with anything in it.
func GetChunk() *Chunk { return chunks.Get().(*Chunk) } //nolint:errcheck,forcetypeassert // it holds nothing else

// PutChunk gives back a chunk that nobody uses any more.
func PutChunk(c *Chunk) { chunks.Put(c) }

package fill

import (
	"context"
	"sync/atomic"
	"time"

	"preau/cache/block"
)

// A device has its bytes before the disk does, and may be off for the next
// body: without a bound, whatever the line is faster at than the disk would
// pile up in memory.
const (
	// heldBytes is how much may be in memory, over all bodies, when a fetch
	// begins another block.
	heldBytes = 24 << 20
	// storingBytes is how much of that may be whole and on its way to the disk.
	storingBytes = 12 << 20
	// storingBlocks is how many blocks are put into the store at a time.
	storingBlocks = 4
	// sheltered is how many blocks, over all bodies, are kept for readers when
	// the disk takes nothing; each body keeps at least one.
	shelteredBlocks = 24
	// trickle is how long a fetch waits for others that have begun blocks and
	// don't finish them: they may be slow, and it is not to starve for that.
	trickle = 2 * time.Second
)

// memory counts what blocks under way take.
type memory struct {
	held, storing      atomic.Int64 // bytes
	sheltered, passing atomic.Int64 // blocks
	puts               chan struct{}
}

func newMemory() *memory { return &memory{puts: make(chan struct{}, storingBlocks)} }

func (m *memory) crowded() bool {
	return m.storing.Load() > storingBytes || m.held.Load() > heldBytes
}

// ease waits until another block may be begun.
func (m *memory) ease(ctx context.Context) error {
	const pause = 5 * time.Millisecond
	for waited := time.Duration(0); m.crowded(); waited += pause {
		if m.storing.Load() <= storingBytes && waited >= trickle {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// buffer returns n bytes for a block to be put together in, until done is
// called. Large ones are few, and waited for.
func (m *memory) buffer(n int) (p []byte, done func()) {
	if n <= chunkSize {
		c := block.GetChunk()
		return c[:n], func() { block.PutChunk(c) }
	}
	m.puts <- struct{}{}
	w := whole.Get().(*[block.Size]byte)
	return w[:n], func() { whole.Put(w); <-m.puts }
}

// begins reports whether the next byte of s is the first of a block that is in
// memory.
func (b *Body) begins(s *segment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parts[int(s.pos/block.Size)] == nil
}

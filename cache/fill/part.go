package fill

import (
	"bytes"
	"sync"
	"sync/atomic"

	"preau/cache/block"
)

// chunkSize is the unit in which memory for a block under way is taken, so
// that a short body or a short range does not cost a whole block.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// whole holds buffers in which a complete block is put together for the store.
var whole = sync.Pool{New: func() any { return new([block.Size]byte) }}

// part is one block while it is being put together: bytes in memory, and those
// an earlier fill left in the store. It is guarded by its body's lock.
type part struct {
	chunks [block.Size / chunkSize]*[chunkSize]byte
	have   spans         // within the block, in memory
	onDisk []block.Piece // in the store; offsets in the body
	loaded bool          // onDisk is in memory too; must be so before bytes are added
	stored bool          // the store has the whole block: kept for readers just behind
	by     *segment      // the fetch that all its bytes came from; nil before the first
	mixed  bool          // they came from several, or from the store
	digest block.Digest  // of the block, if the fetch knew it
	held   *atomic.Int64 // counts the chunks' bytes
}

// from takes note of the fetch that brings some of the part.
func (pt *part) from(s *segment) {
	if pt.by == nil && len(pt.have) == 0 && len(pt.onDisk) == 0 && !pt.mixed {
		pt.by = s
	} else if pt.by != s {
		pt.by, pt.mixed = nil, true
	}
}

// write puts p at off, which lies within the block.
func (pt *part) write(off int64, p []byte) {
	pt.have = pt.have.add(off, off+int64(len(p)))
	for len(p) > 0 {
		i, at := off/chunkSize, off%chunkSize
		if pt.chunks[i] == nil {
			pt.chunks[i] = chunks.Get().(*[chunkSize]byte)
			pt.held.Add(chunkSize)
		}
		n := copy(pt.chunks[i][at:], p)
		p, off = p[n:], off+int64(n)
	}
}

// read copies bytes in memory from off to p and returns how many there were.
func (pt *part) read(off int64, p []byte) int {
	n := int(min(int64(len(p)), pt.have.end(off)-off))
	p = p[:n]
	for len(p) > 0 {
		i, at := off/chunkSize, off%chunkSize
		k := copy(p, pt.chunks[i][at:])
		p, off = p[k:], off+int64(k)
	}
	return n
}

// equal reports whether p is what is in memory at off; all of it must be there.
func (pt *part) equal(off int64, p []byte) bool {
	for len(p) > 0 {
		i, at := off/chunkSize, off%chunkSize
		n := min(len(p), chunkSize-int(at))
		if !bytes.Equal(pt.chunks[i][at:int(at)+n], p[:n]) {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
}

// release gives the memory back.
func (pt *part) release() {
	for i, c := range pt.chunks {
		if c != nil {
			chunks.Put(c)
			pt.held.Add(-chunkSize)
			pt.chunks[i] = nil
		}
	}
	pt.have, pt.by, pt.mixed, pt.digest = nil, nil, true, block.Digest{}
}

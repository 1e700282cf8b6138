package fill

import (
	"bytes"
	"sync"
	"sync/atomic"

	"preau/cache/block"
)

// chunkSize is the unit in which memory is taken for parts.
const chunkSize = block.ChunkSize

// whole holds buffers in which a complete block is put together for the store.
var whole = sync.Pool{New: func() any { return new([block.Size]byte) }}

// part is one block while it is being put together: bytes in memory, and those
// an earlier fill left in the store. It is guarded by its body's lock.
type part struct {
	chunks [block.Size / chunkSize]*block.Chunk
	lent   [block.Size / chunkSize]int32 // how many write from a chunk
	have   spans                         // within the block, in memory
	onDisk []block.Piece                 // in the store; offsets in the body
	loaded bool                          // onDisk is in memory too; must be so before bytes are added
	stored bool                          // the store has the whole block: kept for readers just behind
	by     *segment                      // the fetch that all its bytes came from; nil before the first
	mixed  bool                          // they came from several, or from the store
	digest block.Digest                  // of the block, if the fetch knew it
	held   *atomic.Int64                 // counts the chunks' bytes
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
			pt.chunks[i] = block.GetChunk()
			pt.held.Add(chunkSize)
		}
		n := copy(pt.chunks[i][at:], p)
		p, off = p[n:], off+int64(n)
	}
}

// fill has the first n bytes of an empty part be those of chunks, which become its
// own.
func (pt *part) fill(chunks []*block.Chunk, n int64) {
	copy(pt.chunks[:], chunks)
	pt.held.Add(int64(len(chunks)) * chunkSize)
	pt.have = pt.have.add(0, n)
}

// loan is a chunk from which somebody writes; the zero loan is none.
type loan struct {
	of *part
	i  int64
	c  *block.Chunk
}

// lend returns bytes in memory at off, at most n and all in one chunk, whose memory
// is not used for anything else before the loan is back. There must be some.
func (pt *part) lend(off, n int64) ([]byte, loan) {
	i, at := off/chunkSize, off%chunkSize
	n = min(n, pt.have.end(off)-off, chunkSize-at)
	pt.lent[i]++
	return pt.chunks[i][at : at+n], loan{pt, i, pt.chunks[i]}
}

// back ends the loan.
func (l loan) back() {
	if l.of != nil && l.of.chunks[l.i] == l.c {
		l.of.lent[l.i]--
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
		if c == nil {
			continue
		}
		if pt.lent[i] == 0 { // else it goes when nobody has it any more
			block.PutChunk(c)
		}
		pt.held.Add(-chunkSize)
		pt.chunks[i], pt.lent[i] = nil, 0
	}
	pt.have, pt.by, pt.mixed, pt.digest = nil, nil, true, block.Digest{}
}

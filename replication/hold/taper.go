package hold

import (
	"bytes"

	"preau/cache/block"
)

// The end of a file is cut finer than the rest. Nobody gets a byte of a block before
// all of it is there and is right: when a file's last byte has crossed a slow line, a
// class of 40 still has to get over the school's network whatever came with it, and of
// blocks that travel side by side the last ones all come at about the same time. Were
// each of these half a MiB, that took 40 devices a third of a second at 1 Gbit/s.
const (
	// taperZone is where that begins, in bytes before the end. Shorter files are not
	// cut finer: what is saved of them is little, and each block has to be asked for.
	taperZone = 4 << 20
	// taperParts is into how many parts what is left of a file is cut at least, if it
	// is a power of 2, and minPart the least that a part has.
	taperParts = 4
	minPart    = 64 << 10
)

// tapered cuts the last chunks of a file once more.
type tapered struct {
	next  func(buf []byte) ([]byte, error) // the chunks
	size  int64                            // of the file; below 0: nobody knows
	at    int64                            // how much of it was returned
	held  [][]byte                         // read and not returned
	bytes int64                            // of held
	part  int                              // how long the parts of the first one are, 0: not known yet
	err   error                            // how the chunks ended
}

// piece returns the next part, in buf. Of a file whose length is not known it reads
// taperZone ahead, so that it is cut just as if it were.
func (t *tapered) piece(buf []byte) ([]byte, error) {
	if t.size >= 0 && partOf(t.size, t.size-t.at) == block.Size && len(t.held) == 0 {
		p, err := t.next(buf)
		t.at += int64(len(p))
		return p, err
	}
	for t.err == nil && (len(t.held) == 0 || t.size < 0 && t.bytes < taperZone) {
		var chunk []byte
		if chunk, t.err = t.next(buf); len(chunk) > 0 {
			t.held, t.bytes = append(t.held, bytes.Clone(chunk)), t.bytes+int64(len(chunk))
		}
	}
	if len(t.held) == 0 {
		return nil, t.err
	}
	head := t.held[0]
	if t.part == 0 {
		size := t.size
		if size < 0 {
			size = t.at + t.bytes
		}
		t.part = partOf(size, size-t.at)
	}
	n := min(t.part, len(head))
	p := append(buf[:0], head[:n]...)
	t.at, t.bytes = t.at+int64(n), t.bytes-int64(n)
	if t.held[0] = head[n:]; n == len(head) {
		t.held, t.part = t.held[1:], 0
	}
	return p, nil
}

// partOf is how long the parts are of a chunk from whose begin there are left bytes of
// a file of size to its end. It goes by powers of 2, so that most cuts stay where they
// are when the end changes.
func partOf(size, left int64) int {
	if size < taperZone || left >= taperZone {
		return block.Size
	}
	part := minPart
	for part < block.Size && int64(part)*2*taperParts <= left {
		part *= 2
	}
	return part
}

//go:build bench

package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

const (
	kiB int64 = 1 << 10
	miB int64 = 1 << 20
	giB int64 = 1 << 30

	patternBlock = 64 << 10
)

// pattern makes bodies whose every byte is known at every offset at memory
// speed, so that each byte each client gets is compared, not sampled. A block
// of 64 KiB is the same noise turned by an amount that depends on body and
// place, and begins with both: foreign, shifted and swapped bytes all show,
// and no two blocks can be deduplicated.
type pattern struct{ noise []byte }

func newPattern() *pattern {
	noise := make([]byte, patternBlock, 2*patternBlock)
	src := rand.NewChaCha8([32]byte{'p', 'r', 'e', 'a', 'u'})
	_, _ = src.Read(noise) // never fails
	return &pattern{noise: append(noise, noise...)}
}

// body is one deterministic body.
type body struct {
	p    *pattern
	seed uint64
	size int64
}

// each hands f the body's bytes of [off, off+n) in order, piece by piece.
func (b body) each(off, n int64, f func(piece []byte) bool) bool {
	for n > 0 {
		block, at := off/patternBlock, off%patternBlock
		var piece []byte
		var head [16]byte
		if at < int64(len(head)) {
			binary.LittleEndian.PutUint64(head[:8], b.seed)
			binary.LittleEndian.PutUint64(head[8:], uint64(block))
			piece = head[at:]
		} else {
			turn := int64((b.seed*0x9e3779b97f4a7c15 + uint64(block)*0xbf58476d1ce4e5b9) % patternBlock)
			piece = b.p.noise[turn+at : turn+patternBlock]
		}
		piece = piece[:min(n, int64(len(piece)))]
		if !f(piece) {
			return false
		}
		off, n = off+int64(len(piece)), n-int64(len(piece))
	}
	return true
}

// equal says whether got is the body's bytes at off.
func (b body) equal(got []byte, off int64) bool {
	if off < 0 || off+int64(len(got)) > b.size {
		return false
	}
	return b.each(off, int64(len(got)), func(want []byte) bool {
		same := bytes.Equal(got[:len(want)], want)
		got = got[len(want):]
		return same
	})
}

// ReadAt is io.ReaderAt over the body.
func (b body) ReadAt(dst []byte, off int64) (int, error) {
	n := max(min(int64(len(dst)), b.size-off), 0)
	at := 0
	b.each(off, n, func(piece []byte) bool {
		at += copy(dst[at:], piece)
		return true
	})
	if int64(len(dst)) > n {
		return int(n), io.EOF
	}
	return int(n), nil
}

// checker compares what is written to it with a body from an offset on.
type checker struct {
	b   body
	off int64
	n   int64
}

func (c *checker) Write(got []byte) (int, error) {
	if !c.b.equal(got, c.off+c.n) {
		return 0, fmt.Errorf("wrong bytes after %d of body %d from %d", c.n, c.b.seed, c.off)
	}
	c.n += int64(len(got))
	return len(got), nil
}

package fill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"preau/cache/block"
)

// names reports whether m has the true names of all blocks of data, and of the
// whole if it has one.
func names(m block.Manifest, data []byte) bool {
	if m.Length != int64(len(data)) || len(m.Blocks) != block.NumBlocks(m.Length) {
		return false
	}
	for i, d := range m.Blocks {
		if d != block.Sum(data[i*block.Size:min(len(data), (i+1)*block.Size)]) {
			return false
		}
	}
	return m.SHA256.IsZero() || m.SHA256 == block.Sum(data)
}

func digestsOf(data []byte) (out []block.Digest) {
	for p := range slices.Chunk(data, block.Size) {
		out = append(out, block.Sum(p))
	}
	return out
}

// comparing is a source whose streams know what they give.
type comparing struct {
	*origin
	told    atomic.Int64 // digests that were asked for and known
	digests []block.Digest
}

func (c *comparing) Open(ctx context.Context, from, to int64) (*Stream, error) {
	st, err := c.origin.Open(ctx, from, to)
	if err == nil {
		st.Body = &comparedBody{ReadCloser: st.Body, c: c, at: st.From}
	}
	return st, err
}

type comparedBody struct {
	io.ReadCloser
	c  *comparing
	at int64
}

func (b *comparedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.at += int64(n)
	return n, err
}

func (b *comparedBody) Digest(i int) (block.Digest, bool) {
	if b.at != min(int64(len(b.c.start)), int64(i+1)*block.Size) {
		return block.Digest{}, false
	}
	b.c.told.Add(1)
	return b.c.digests[i], true
}

// TestABlockThatWasComparedIsNotHashedAgain: it is stored under the name that its
// stream says, and under its own where the stream gave but a part of it.
func TestABlockThatWasComparedIsNotHashedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(3*mb+mb/2))
		c := &comparing{origin: o, digests: digestsOf(o.data)}
		read := func(from, to int64) {
			spec := bd.spec(o)
			spec.Source = c
			b, err := bd.m.Open(ID{1}, func() (Spec, error) { return spec, nil })
			if err != nil {
				t.Fatal(err)
			}
			r := b.NewReader(from, to)
			var got bytes.Buffer
			if _, err := r.CopyTo(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), o.data[from:max(to, from)]) {
				t.Errorf("%d bytes, %v", got.Len(), err)
			}
			r.Close()
			b.Release()
			synctest.Wait()
		}
		read(mb+mb/2, 2*mb) // half of the second block
		if c.told.Load() > 1 {
			t.Errorf("%d digests told", c.told.Load())
		}
		read(0, int64(len(o.data)))
		if m := bd.saved(); !m.Complete() || !names(m, o.data) {
			t.Errorf("complete %v, named right %v", m.Complete(), names(m, o.data))
		}
		if c.told.Load() < 3 {
			t.Errorf("%d digests were told: the seam is not used", c.told.Load())
		}
		bd.m.Close()
	})
}

// TestTheWholeBodysDigestIsMadeForWhoAsks: once, and kept.
func TestTheWholeBodysDigestIsMadeForWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(2*mb+5))
		bd.mustGet(o, 0, mb)
		b := bd.body(o)
		if d, err := b.Whole(t.Context()); !d.IsZero() || err != nil {
			t.Errorf("of what is not whole: %v, %v", d, err)
		}
		b.Release()
		bd.mustGet(o, 0, -1)
		synctest.Wait()
		if m := bd.saved(); !m.Complete() || !m.SHA256.IsZero() {
			t.Errorf("complete %v, digest %v that nobody asked for", m.Complete(), m.SHA256)
		}
		b = bd.body(o)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Whole(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("for somebody who has left: %v", err)
		}
		for range 2 {
			if d, err := b.Whole(t.Context()); d != block.Sum(o.data) || err != nil {
				t.Errorf("%v, %v", d, err)
			}
		}
		b.Release()
		synctest.Wait()
		if m := bd.saved(); m.SHA256 != block.Sum(o.data) {
			t.Error("it was not kept")
		}
		bd.m.Close()
	})
}

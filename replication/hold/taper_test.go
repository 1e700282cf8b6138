package hold_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/hold"
)

// cutOf cuts b, whose length is told or not.
func cutOf(t *testing.T, b []byte, size int64) []hold.Entry {
	t.Helper()
	cut, err := hold.SplitContent(t.Context(), bytes.NewReader(b), size, func(context.Context, block.Digest, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return cut.Entries
}

// TestAFileEndsInSmallBlocks however it is read, and a small one does not.
func TestAFileEndsInSmallBlocks(t *testing.T) {
	const zone = 4 << 20
	for _, n := range []int{1, 300 << 10, 1 << 20, 3 << 20, zone - 1, zone, zone + 1, zone + 1<<20, 9<<20 + 12345} {
		b := noise(7, n)
		told := cutOf(t, b, int64(n))
		if d := cmp.Diff(cutOf(t, b, -1), told); d != "" {
			t.Errorf("%d bytes are cut otherwise if nobody knows how many: %s", n, d)
		}
		small := 0
		for _, e := range told[:len(told)-1] {
			if e.Length < 256<<10 {
				small++
			}
		}
		if n < zone {
			if small > 0 {
				t.Errorf("%d bytes: %d blocks of %d are smaller than need be", n, small, len(told))
			}
			continue
		}
		left := 0
		for i := len(told) - 1; i >= 0 && left < 2<<20; i-- {
			left += told[i].Length
			// A chunk that begins before all of what is left may have parts as long as
			// half of a block.
			if most := max(64<<10, (left+block.Size)/4); told[i].Length > most {
				t.Errorf("%d bytes: a block of %d ends %d before the end", n, told[i].Length, left-told[i].Length)
			}
		}
		if last := told[len(told)-1].Length; last > 256<<10 {
			t.Errorf("%d bytes: the last block has %d", n, last)
		}
		if len(told) > n>>18+24 {
			t.Errorf("%d bytes: %d blocks", n, len(told))
		}
	}
}

// TestAnEndThatCannotBeReadIsTold wherever in the small blocks it is.
func TestAnEndThatCannotBeReadIsTold(t *testing.T) {
	b, broken := noise(8, 9<<20), errors.New("the disk is gone")
	for _, at := range []int{0, 1, 5 << 20, 6<<20 + 1, 9<<20 - 1, 9 << 20} {
		for _, size := range []int64{int64(len(b)), -1} {
			r := io.MultiReader(bytes.NewReader(b[:at]), iotest.ErrReader(broken))
			_, err := hold.SplitContent(t.Context(), r, size, func(context.Context, block.Digest, []byte) error { return nil })
			if !errors.Is(err, broken) {
				t.Errorf("after %d bytes of %d: %v", at, size, err)
			}
		}
	}
}

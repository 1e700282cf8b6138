package hold_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/restic/chunker"

	"preau/cache/block"
	"preau/replication/hold"
)

// noise is n bytes that are the same in every run.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// cutUp cuts b and returns its blocks by digest.
func cutUp(t *testing.T, b []byte) (hold.Cut, map[block.Digest][]byte) {
	t.Helper()
	var mu sync.Mutex
	got := make(map[block.Digest][]byte)
	cut, err := hold.SplitContent(t.Context(), bytes.NewReader(b), int64(len(b)), func(_ context.Context, d block.Digest, p []byte) error {
		mu.Lock()
		defer mu.Unlock()
		got[d] = bytes.Clone(p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var whole []byte
	for _, e := range cut.Entries {
		if len(got[e.Digest]) != e.Length {
			t.Fatalf("a block of %d bytes, announced as %d", len(got[e.Digest]), e.Length)
		}
		whole = append(whole, got[e.Digest]...)
	}
	if !bytes.Equal(whole, b) || cut.Length != int64(len(b)) || cut.SHA256 != block.Sum(b) {
		t.Fatal("the blocks are not the file")
	}
	return cut, got
}

func TestAChangeCostsLittleMoreThanItself(t *testing.T) {
	size := 16 << 20
	if testing.Short() {
		size = 5 << 20
	}
	old := noise(1, size)
	_, held := cutUp(t, old)
	tests := map[string]struct {
		now  []byte
		most int // bytes that may be new
	}{
		"nothing":                {old, 0},
		"a word put in at start": {slices.Insert(bytes.Clone(old), 1000, []byte("a word")...), 2 << 20},
		"a page taken out":       {slices.Delete(bytes.Clone(old), 5000, 9096), 2 << 20},
		"a part in the middle":   {slices.Replace(bytes.Clone(old), size/2, size/2+1<<20, noise(2, 1<<20)...), 3 << 20},
		// What was the end is cut as the rest is now.
		"something put at the end": {append(bytes.Clone(old), noise(3, 1<<20)...), 5<<20 + 1<<20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, now := cutUp(t, tt.now)
			crossing := 0
			for d, p := range now {
				if _, ok := held[d]; !ok {
					crossing += len(p)
				}
			}
			if crossing > tt.most {
				t.Errorf("%d bytes are new, want at most %d", crossing, tt.most)
			}
		})
	}
}

// What blocks are called is for ever: were the cuts to move, every region and
// box would fetch everything again.
func TestTheCutsStayWhereTheyAre(t *testing.T) {
	if !chunker.Pol(hold.Polynomial).Irreducible() {
		t.Error("the polynomial can be divided")
	}
	cut, _ := cutUp(t, noise(1, 4<<20))
	var lengths []int
	for _, e := range cut.Entries {
		lengths = append(lengths, e.Length)
	}
	want := []int{
		276685, 524288, 524288, 265285, 389110, 458401, 262144, 129218, 262144, 169726,
		131072, 131072, 131072, 131072, 131072, 131072, 131072, 15511,
	}
	if d := cmp.Diff(want, lengths); d != "" {
		t.Error(d)
	}
}

func TestSplitContentWantsTheWholeFile(t *testing.T) {
	put := func(context.Context, block.Digest, []byte) error { return nil }
	for _, size := range []int64{999, 1001, hold.MaxContent + 1} {
		_, err := hold.SplitContent(t.Context(), bytes.NewReader(make([]byte, 1000)), size, put)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("1000 bytes announced as %d: %v", size, err)
		}
	}
	broken := func() io.Reader {
		return io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	for _, size := range []int64{-1, 4 << 20, hold.MaxContent + 1} {
		if _, err := hold.SplitContent(t.Context(), broken(), size, put); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a body that breaks off, announced as %d: %v", size, err)
		}
	}
	if m, err := hold.Split(t.Context(), broken(), put); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that breaks off: %d bytes, %v", m.Length, err)
	}
	cut, err := hold.SplitContent(t.Context(), strings.NewReader(""), 0, put)
	if err != nil || len(cut.Entries) != 0 {
		t.Errorf("an empty file: %v, %v", cut, err)
	}
}

func TestListsComeBack(t *testing.T) {
	sizes := []int{1, 1<<20 + 1, 3<<20 + 77, 1 << 20, 5 << 20, 5<<20 + 77}
	if testing.Short() {
		sizes = sizes[:3]
	}
	for _, n := range sizes {
		cut, _ := cutUp(t, noise(byte(n), n))
		list, err := hold.EncodeList(cut.Entries)
		if err != nil {
			t.Fatal(err)
		}
		got, err := hold.DecodeList(list, int64(n))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(cut.Entries, got); d != "" {
			t.Error(d)
		}
		for _, wrong := range []int64{0, -1, int64(n) + 1<<20, int64(n) + block.Size, int64(n) - 1<<20} {
			if _, err := hold.DecodeList(list, wrong); err == nil {
				t.Errorf("a list of %d bytes was taken for one of %d", n, wrong)
			}
		}
	}
}

func FuzzDecodeList(f *testing.F) {
	list, err := hold.EncodeList([]hold.Entry{{Digest: block.Sum(nil), Length: 300}, {Digest: block.Sum([]byte{1}), Length: 70}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list, int64(370))
	f.Add(make([]byte, 64), int64(block.Size+1))
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		entries, err := hold.DecodeList(b, length)
		if err != nil {
			return
		}
		var sum int64
		for _, e := range entries {
			sum += int64(e.Length)
		}
		if sum != length {
			t.Fatalf("blocks of %d bytes for a file of %d", sum, length)
		}
		again, err := hold.EncodeList(entries)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("one list in two forms: %v", err)
		}
	})
}

package hold_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"preau/cache/block"
	"preau/replication/hold"
)

func TestSplitNamesEveryByte(t *testing.T) {
	random := make([]byte, 6*block.Size+123)
	rand.NewChaCha8([32]byte{1}).Read(random)
	for name, n := range map[string]int{
		"nothing": 0, "a byte": 1, "a block less one": block.Size - 1, "a block": block.Size,
		"a block and one": block.Size + 1, "many": len(random),
	} {
		t.Run(name, func(t *testing.T) {
			file := random[:n]
			var mu sync.Mutex
			kept := make(map[block.Digest][]byte)
			var under, most atomic.Int64
			m, err := hold.Split(t.Context(), iotest.OneByteReader(bytes.NewReader(file[:min(n, 1)])), keepIn(&mu, kept, &under, &most))
			if err != nil || m.Length != int64(min(n, 1)) {
				t.Fatalf("slow reader: %+v, %v", m, err)
			}
			m, err = hold.Split(t.Context(), iotest.HalfReader(bytes.NewReader(file)), keepIn(&mu, kept, &under, &most))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Validate(); err != nil || !m.Complete() || m.SHA256 != sha256.Sum256(file) {
				t.Errorf("manifest of %d bytes is not the file's: %v", m.Length, err)
			}
			var whole []byte
			for _, d := range m.Blocks {
				whole = append(whole, kept[d]...)
			}
			if !bytes.Equal(whole, file) {
				t.Error("the blocks together are not the file")
			}
			if most.Load() > 4 {
				t.Errorf("%d puts at once", most.Load())
			}
		})
	}
}

func keepIn(mu *sync.Mutex, kept map[block.Digest][]byte, under, most *atomic.Int64) func(context.Context, block.Digest, []byte) error {
	return func(_ context.Context, d block.Digest, p []byte) error {
		n := under.Add(1)
		defer under.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		most.Store(max(most.Load(), n))
		kept[d] = bytes.Clone(p)
		return nil
	}
}

// zeros reads as many zero bytes as anybody wants.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestSplitEndsWithItsFirstError(t *testing.T) {
	full := errors.New("disk full")
	cut := errors.New("line cut")
	fine := func(context.Context, block.Digest, []byte) error { return nil }
	var n atomic.Int64
	tests := map[string]struct {
		r    io.Reader
		put  func(context.Context, block.Digest, []byte) error
		want error
	}{
		"put":    {zeros{}, func(context.Context, block.Digest, []byte) error { return full }, full},
		"reader": {io.MultiReader(io.LimitReader(zeros{}, 2*block.Size+5), iotest.ErrReader(cut)), fine, cut},
		"last put": {io.LimitReader(zeros{}, 2*block.Size), func(context.Context, block.Digest, []byte) error {
			if n.Add(1) == 2 {
				return full
			}
			return nil
		}, full},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if m, err := hold.Split(t.Context(), tt.r, tt.put); !errors.Is(err, tt.want) || m.Blocks != nil {
				t.Errorf("Split = %d blocks, %v, want %v", len(m.Blocks), err, tt.want)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		_, err := hold.Split(ctx, zeros{}, func(context.Context, block.Digest, []byte) error {
			stop(cut)
			return nil
		})
		if !errors.Is(err, cut) {
			t.Errorf("error = %v, want the cause", err)
		}
	})
}

func TestAFileTooLargeIsRefused(t *testing.T) {
	fine := func(context.Context, block.Digest, []byte) error { return nil }
	if m, err := hold.SplitUpTo(t.Context(), io.LimitReader(zeros{}, 3*block.Size), 3, fine); err != nil || len(m.Blocks) != 3 {
		t.Errorf("a file of the limit: %d blocks, %v", len(m.Blocks), err)
	}
	if _, err := hold.SplitUpTo(t.Context(), io.LimitReader(zeros{}, 3*block.Size+1), 3, fine); !errors.Is(err, hold.ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
}

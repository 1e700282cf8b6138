package fill

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// putHook is a store that calls a function while it stores, and one after it.
type putHook struct {
	*blocktest.Memory
	while func(block.Digest)
}

func (h putHook) Put(ctx context.Context, r block.Ring, d block.Digest, p []byte) (block.Segment, error) {
	h.while(d)
	seg, err := h.Memory.Put(ctx, r, d, p)
	h.while(d)
	return seg, err
}

// TestUnsavedUntilSaved claims that from before a block is in the store until
// a manifest that names it is saved, and no longer, Unsaved lists it.
func TestUnsavedUntilSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var m *Manager
		listed := func(d block.Digest) bool {
			return slices.ContainsFunc(m.Unsaved(), func(u Unsaved) bool {
				return u.ID == ID{1} && u.Owner == [32]byte{2} && slices.Contains(u.Digests, d)
			})
		}
		puts, fails, saves := 0, 1, 0
		store := putHook{blocktest.NewMemory(1 << 30), func(d block.Digest) {
			mu.Lock()
			defer mu.Unlock()
			if puts++; !listed(d) {
				t.Error("a block on its way to the store is not listed")
			}
		}}
		cfg := DefaultConfig()
		cfg.SaveEvery = time.Hour
		var err error
		if m, err = New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		o := newOrigin(3*block.Size + 1000)
		var last block.Manifest
		save := func(_ context.Context, man block.Manifest, _ []block.Segment) error {
			mu.Lock()
			defer mu.Unlock()
			saves++
			for i, d := range man.Blocks {
				if i < len(last.Blocks) && last.Blocks[i] == d {
					continue
				}
				if !d.IsZero() && !listed(d) {
					t.Error("a block is not listed though no manifest with it was saved")
				}
			}
			for _, p := range man.Pieces {
				if !listed(p.Digest) {
					t.Error("a piece is not listed though no manifest with it was saved")
				}
			}
			if fails > 0 {
				fails--
				return errors.New("the disk is slow")
			}
			last = man
			return nil
		}
		open := func() *Body {
			b, err := m.Open(ID{1}, func() (Spec, error) {
				return Spec{Manifest: block.Manifest{Length: int64(len(o.data))}, Owner: [32]byte{2}, Source: o, Save: save}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := open()
		r := b.NewReader(0, 2*block.Size+500)
		var got bytes.Buffer
		if _, err := r.CopyTo(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), o.data[:got.Len()]) {
			t.Errorf("read %d bytes: %v", got.Len(), err)
		}
		r.Close()
		b.Release()
		synctest.Wait()
		if puts < 6 || saves < 2 || fails > 0 {
			t.Errorf("%d calls by the store, %d saves", puts, saves)
		}
		if len(last.Blocks) == 0 || last.Held() < 2*block.Size {
			t.Errorf("saved: %+v", last)
		}
		if left := m.Unsaved(); len(left) > 0 {
			t.Errorf("still listed after everything was saved: %d", len(left[0].Digests))
		}
	})
}

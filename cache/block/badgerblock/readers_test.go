package badgerblock

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// TestOpenBlocksOutliveTheirSegment reads from a segment that was removed.
func TestOpenBlocksOutliveTheirSegment(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, block.Size)
	d, _ := mustPut(t, s, 0, p)
	s.sealNow()
	b, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.retire(t.Context(), s.all()[0]); err != nil {
		t.Fatal(err)
	}
	if s.used() < block.Size {
		t.Error("the space of a removed segment that is being read does not count")
	}
	var buf bytes.Buffer
	if n, err := b.WriteRange(&buf, 0, len(p)); err != nil || n != int64(len(p)) || !bytes.Equal(buf.Bytes(), p) {
		t.Errorf("WriteRange = %d, %v", n, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if s.pending.Load() != 0 {
		t.Error("the space of a removed segment counts for ever")
	}
}

type stuck struct{ release chan struct{} }

func (w stuck) Write(p []byte) (int, error) {
	<-w.release
	return len(p), nil
}

// TestStalledClients has many clients that don't read, in every state a
// segment can be in, while the store goes round.
func TestStalledClients(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 48 * mib
	s := mustOpen(t, cfg, &shelf{})
	run(t, s)
	release := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 20 {
		p := blocktest.Bytes(uint64(i), block.Size-i)
		d, _ := mustPut(t, s, 0, p)
		b, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer b.Close()
			if n, err := b.WriteRange(stuck{release}, 0, b.Len()); err != nil || n != int64(b.Len()) {
				t.Errorf("WriteRange = %d, %v", n, err)
			}
		})
	}
	for i := range 40 {
		p := blocktest.Bytes(uint64(500+i), 100_000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // or it would hang
		_, err := s.Put(ctx, 1, block.Sum(p), p)
		cancel()
		if err != nil {
			t.Fatalf("Put beside stalled clients: %v", err)
		}
		blocktest.Check(t, s, block.Sum(p), p)
	}
	close(release)
	wg.Wait()
}

// TestStalledReadersCostLittle has readers hold a block of most segments.
func TestStalledReadersCostLittle(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	cfg := smallest(t.TempDir())
	cfg.BudgetBytes = 48 * mib
	s := mustOpen(t, cfg, &shelf{})
	var open []block.Block
	for i := range 17 {
		p := blocktest.Bytes(uint64(i), block.Size)
		d, _ := mustPut(t, s, 0, p)
		b, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, b)
	}
	more := 60
	if testing.Short() {
		more = 35
	}
	for i := range more {
		mustPut(t, s, 0, blocktest.Bytes(uint64(100+i), 900_000))
	}
	left := 0
	for i := range 17 {
		if _, ok := s.Has(block.Sum(blocktest.Bytes(uint64(i), block.Size))); ok {
			left++
		}
	}
	if left < 10 {
		t.Errorf("%d of 17 blocks that are read are left: removing them freed nothing", left)
	}
	if n, err := allocated(cfg.Dir); err != nil || n > cfg.BudgetBytes {
		t.Errorf("%d bytes on disk, %v", n, err)
	}
	for _, b := range open {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

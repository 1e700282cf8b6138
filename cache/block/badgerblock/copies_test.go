package badgerblock

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// rewrite changes record ord of the index of g in place.
func rewrite(t *testing.T, g *segment, ord int32, change func(rec []byte)) {
	t.Helper()
	f, err := openRW(filepath.Join(g.dir(), indexName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec := make([]byte, indexRecord)
	at := indexHeader + int64(ord)*indexRecord
	if _, err := f.ReadAt(rec, at); err != nil {
		t.Fatal(err)
	}
	change(rec)
	if _, err := f.WriteAt(rec, at); err != nil {
		t.Fatal(err)
	}
}

// TestIndexIsDamagedWhileOpen changes a record of an index that was good when
// it was opened, and then does all that is done by an index.
func TestIndexIsDamagedWhileOpen(t *testing.T) {
	resum := func(rec []byte) {
		binary.BigEndian.PutUint32(rec[40:], crc32.Checksum(rec[:40], castagnoli))
	}
	tests := map[string]func(rec []byte){
		"length":          func(rec []byte) { rec[36] ^= 0x80 },
		"length by 8 MiB": func(rec []byte) { rec[37] ^= 0x80 },
		"offset":          func(rec []byte) { rec[32] ^= 0x80 },
		"offset by one":   func(rec []byte) { rec[35] ^= 1 },
		"checksum":        func(rec []byte) { rec[43] ^= 1 },
		"length, checksum of that": func(rec []byte) {
			binary.BigEndian.PutUint32(rec[36:], block.Size+1)
			resum(rec)
		},
		"beyond the end, checksum of that": func(rec []byte) {
			binary.BigEndian.PutUint32(rec[32:], 1<<32-1)
			resum(rec)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			cfg.ScrubBytesPerSecond = 1 << 40
			k := &shelf{keep: func(block.Digest) (block.Ring, bool) { return 1, true }}
			s := mustOpen(t, cfg, k)
			want := make(map[block.Digest][]byte)
			var d block.Digest
			for i := range 5 {
				p := blocktest.Bytes(uint64(i), 40_000+i)
				d, _ = mustPut(t, s, 0, p)
				want[d] = p
			}
			s.sealNow()
			time.Sleep(2 * racy) //nolint:forbidigo // real file times: verified state now counts
			right(t, s, want)
			g, at, _ := s.find(d, false)
			defer g.release()
			rewrite(t, g, at.ord, change)

			if _, ok := s.Has(d); ok {
				t.Error("a block is there by a damaged record")
			}
			if !g.idx.Load().bad.Load() {
				t.Error("the damage was not noticed")
			}
			if err := s.scrubSegment(t.Context(), g); err != nil {
				t.Errorf("scrub: %v", err)
			}
			if n := right(t, s, want); n != len(want)-1 {
				t.Errorf("%d of the 4 other blocks are left", n)
			}
			// A start makes a new index, by which all are there again.
			copied := copyDir(t, cfg.Dir)
			again := mustOpen(t, testConfig(copied), &shelf{})
			if n := right(t, again, want); n != len(want) {
				t.Errorf("%d of %d blocks after a start", n, len(want))
			}
			// It is carried forward without the one.
			if _, err := s.retire(t.Context(), g); err != nil {
				t.Errorf("retire: %v", err)
			}
			if n := right(t, s, want); n != len(want)-1 {
				t.Errorf("%d of the 4 other blocks are left after retiring", n)
			}
			mustPut(t, s, 0, want[d])
			blocktest.Check(t, s, d, want[d])
		})
	}
}

// TestIndexIsCutWhileOpen has the end of an index go: what it cannot tell any
// more must not keep the segment from being retired.
func TestIndexIsCutWhileOpen(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{keep: func(block.Digest) (block.Ring, bool) { return 1, true }})
	want := stock(t, s)
	s.sealNow()
	for _, g := range s.all() {
		if err := os.Truncate(filepath.Join(g.dir(), indexName), indexHeader+indexRecord+3); err != nil {
			t.Fatal(err)
		}
		right(t, s, want)
		if _, err := s.retire(t.Context(), g); err != nil {
			t.Errorf("retire: %v", err)
		}
	}
	for d, p := range want {
		mustPut(t, s, 0, p)
		blocktest.Check(t, s, d, p)
	}
}

// copies puts p into two segments, as a fetch does that follows the loss of a
// drop. The newer is last.
func copies(t *testing.T, s *Store, p []byte) [2]*segment {
	t.Helper()
	_, _ = mustPut(t, s, 0, p)
	s.sealNow()
	old := s.all()[0]
	old.retiring.Store(true)
	_, _ = mustPut(t, s, 0, p)
	s.sealNow()
	old.retiring.Store(false)
	return [2]*segment{old, s.all()[0]}
}

func spoil(t *testing.T, d block.Digest, list ...*segment) {
	t.Helper()
	for _, g := range list {
		at, ok := g.find(d)
		if !ok {
			t.Fatal("no such block")
		}
		damage(t, g, at)
	}
}

// TestPutReplacesWhatIsDamaged puts blocks again whose stored copies are
// damaged, without anybody having read them.
func TestPutReplacesWhatIsDamaged(t *testing.T) {
	for _, n := range []int{1, 5000, block.Size} {
		for name, sealed := range map[string]bool{"sealed": true, "being written": false} {
			t.Run(name, func(t *testing.T) {
				cfg := testConfig(t.TempDir())
				dropped := 0
				cfg.OnDamage = func(block.Digest, block.Segment) { dropped++ }
				s := mustOpen(t, cfg, &shelf{})
				p := blocktest.Bytes(uint64(n), n)
				d, _ := mustPut(t, s, 0, p)
				if sealed {
					s.sealNow()
				}
				time.Sleep(2 * racy) //nolint:forbidigo // real file times
				blocktest.Check(t, s, d, p)
				mustPut(t, s, 0, p)
				if a := s.rings[0].active; dropped > 0 || len(s.all()) != 1 || a != nil && a.w.n != 1 {
					t.Error("a block that is there undamaged was written again")
				}
				spoil(t, d, s.all()[0])
				mustPut(t, s, 1, p)
				blocktest.Check(t, s, d, p)
				if dropped != 1 {
					t.Errorf("%d blocks dropped", dropped)
				}
				crashed := copyDir(t, s.cfg.Dir)
				s = mustOpen(t, testConfig(crashed), &shelf{})
				// Of what was being written the drop may be forgotten, and is
				// found anew.
				if right(t, s, map[block.Digest][]byte{d: p}) == 0 {
					blocktest.Check(t, s, d, p)
				}
			})
		}
	}
}

func TestPutReplacesAllCopies(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, 100_000)
	d := block.Sum(p)
	both := copies(t, s, p)
	spoil(t, d, both[:]...)
	_, seg := mustPut(t, s, 1, p)
	if seg == both[0].id() || seg == both[1].id() {
		t.Error("a damaged copy was taken for present")
	}
	for _, g := range both {
		if _, ok := g.find(d); ok {
			t.Errorf("the damaged copy in segment %d is still there", g.id())
		}
	}
	blocktest.Check(t, s, d, p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.cfg, &shelf{})
	blocktest.Check(t, s, d, p)
}

// TestDamageInOneCopy finds damage in one copy of a block: the other serves,
// and is what is carried forward.
func TestDamageInOneCopy(t *testing.T) {
	p := blocktest.Bytes(1, 100_000)
	d := block.Sum(p)
	for name, bad := range map[string]int{"the older": 0, "the newer": 1} {
		t.Run(name, func(t *testing.T) {
			k := &shelf{keep: func(block.Digest) (block.Ring, bool) { return 2, true }}
			s := mustOpen(t, testConfig(t.TempDir()), k)
			both := copies(t, s, p)
			spoil(t, d, both[bad])
			if _, seg := mustPut(t, s, 1, p); seg != both[1-bad].id() {
				t.Errorf("segment %d, the good copy is in %d", seg, both[1-bad].id())
			}
			blocktest.Check(t, s, d, p)
		})
		t.Run(name+", retiring the other", func(t *testing.T) {
			k := &shelf{keep: func(block.Digest) (block.Ring, bool) { return 2, true }}
			s := mustOpen(t, testConfig(t.TempDir()), k)
			both := copies(t, s, p)
			spoil(t, d, both[bad])
			if _, err := s.retire(t.Context(), both[1-bad]); err != nil {
				t.Fatal(err)
			}
			blocktest.Check(t, s, d, p)
		})
	}
	t.Run("both", func(t *testing.T) {
		s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
		both := copies(t, s, p)
		spoil(t, d, both[:]...)
		if n := right(t, s, map[block.Digest][]byte{d: p}); n != 0 {
			t.Error("damage was not noticed")
		}
		if _, ok := s.Has(d); ok {
			t.Error("a damaged copy is still there")
		}
	})
}

// TestPutOfOtherBytes puts bytes under a digest that is not theirs: a good copy
// must not go for it.
func TestPutOfOtherBytes(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, 5000)
	d, _ := mustPut(t, s, 0, p)
	if _, err := s.Put(t.Context(), 0, d, blocktest.Bytes(2, 5000)); !errors.Is(err, errOtherBytes) {
		t.Errorf("Put: %v", err)
	}
	blocktest.Check(t, s, d, p)
}

package badgerblock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// edit changes a block's whole entry where it lies in the value log: at is where
// its value begins within.
func edit(t *testing.T, g *segment, p place, change func(entry []byte, at int)) {
	t.Helper()
	f, err := os.OpenFile(g.vlog.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := headerLen(int(p.len)) + blockKeyLen + versionLen
	entry := make([]byte, head+int(p.len)+crc32.Size)
	if _, err := f.ReadAt(entry, int64(p.off)-int64(head)); err != nil {
		t.Fatal(err)
	}
	change(entry, head)
	if _, err := f.WriteAt(entry, int64(p.off)-int64(head)); err != nil {
		t.Fatal(err)
	}
}

// states are those in which a segment may be when a block is read from it.
var states = map[string]func(t *testing.T, s *Store) *Store{
	"being written": func(_ *testing.T, s *Store) *Store { return s },
	"sealed": func(_ *testing.T, s *Store) *Store {
		s.sealNow()
		return s
	},
	"sealed, after a start": func(t *testing.T, s *Store) *Store {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return mustOpen(t, s.cfg, &shelf{})
	},
	"after a crash": func(t *testing.T, s *Store) *Store {
		t.Helper()
		cfg := s.cfg
		cfg.Dir = copyDir(t, s.cfg.Dir)
		return mustOpen(t, cfg, &shelf{})
	},
}

// TestColdReadsFindDamage changes what lies on the disk, in every state of a
// segment and wherever a block may be hit, and reads it by each way there is:
// nothing wrong leaves, and what is right is not given up.
func TestColdReadsFindDamage(t *testing.T) {
	const small, large = 5000, 300_000
	tests := []struct {
		name   string
		lost   bool
		change func(entry []byte, at int)
	}{
		{"nothing", false, func([]byte, int) {}},
		{"first bit", true, func(e []byte, at int) { e[at] ^= 0x80 }},
		{"a bit in the middle", true, func(e []byte, at int) { e[(at+len(e))/2] ^= 4 }},
		{"last bit", true, func(e []byte, _ int) { e[len(e)-crc32.Size-1] ^= 1 }},
		{"a burst", true, func(e []byte, at int) { e[at+99], e[at+100], e[at+101] = ^e[at+99], ^e[at+100], ^e[at+101] }},
		{"torn: a sector of zeros", true, func(e []byte, at int) { clear(e[at+1024 : at+1536]) }},
		{"torn: no second half", true, func(e []byte, at int) { clear(e[(at+len(e))/2:]) }},
		{"torn: two sectors in each other's place", true, func(e []byte, at int) {
			a := bytes.Clone(e[at+512 : at+1024])
			copy(e[at+512:at+1024], e[at+2048:at+2560])
			copy(e[at+2048:], a)
		}},
		{"a bit of the checksum", false, func(e []byte, _ int) { e[len(e)-1] ^= 1 }},
		{"a bit of the digest beside it", false, func(e []byte, at int) { e[at-versionLen-1] ^= 1 }},
		{"a bit of the version", false, func(e []byte, at int) { e[at-1] ^= 1 }},
	}
	for state, become := range states {
		t.Run(state, func(t *testing.T) {
			t.Parallel() // it waits for the disk mostly
			cfg := testConfig(t.TempDir())
			told := map[block.Digest]int{}
			cfg.OnDamage = func(d block.Digest, _ block.Segment) { told[d]++ }
			s := mustOpen(t, cfg, &shelf{})
			var want [][]byte
			for i := range tests {
				for j, n := range []int{small, large} {
					p := blocktest.Bytes(uint64(2*i+j), n+i)
					mustPut(t, s, 0, p)
					want = append(want, p)
				}
			}
			s = become(t, s)
			for i, tt := range tests {
				for _, p := range want[2*i : 2*i+2] {
					d := block.Sum(p)
					g, at, ok := s.find(d, false)
					if !ok {
						t.Fatalf("%s: block of %d is not there", tt.name, len(p))
					}
					edit(t, g, at, tt.change)
					g.release()
					if tt.lost {
						readDamaged(t, s, tt.name, d, len(p))
						if told[d] != 1 {
							t.Errorf("%s: %d blocks of %d bytes reported as damaged", tt.name, told[d], len(p))
						}
						mustPut(t, s, 1, p) // as a fetch does that follows
					}
					blocktest.Check(t, s, d, p)
				}
			}
		})
	}
}

// readDamaged has somebody read the end of a damaged block by every way there is.
func readDamaged(t *testing.T, s *Store, name string, d block.Digest, n int) {
	t.Helper()
	var all []block.Block
	for range 3 {
		b, err := s.Open(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer b.Close()
		all = append(all, b)
	}
	var piecemeal, direct bytes.Buffer
	if m, err := all[0].WriteRange(struct{ *upTo }{&upTo{&piecemeal}}, n-10, 10); m != 0 || piecemeal.Len() > 0 || !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("%s: WriteRange of the end of a block of %d: %d, %v", name, n, m, err)
	}
	if m, err := all[1].WriteRange(&direct, 0, n); m != 0 || direct.Len() > 0 || !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("%s: WriteRange of a block of %d: %d, %v", name, n, m, err)
	}
	if m, err := all[2].ReadAt(make([]byte, 10), 0); m != 0 || !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("%s: ReadAt of a block of %d: %d, %v", name, n, m, err)
	}
	if _, err := s.Open(d); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("%s: Open after damage was found: %v", name, err)
	}
}

// upTo is a writer that has no ReadFrom.
type upTo struct{ to *bytes.Buffer }

func (w *upTo) Write(p []byte) (int, error) { return w.to.Write(p) }

// TestColdReadsOfAnotherBlock has the place of a block hold another one, whole and
// with the checksum that is its own.
func TestColdReadsOfAnotherBlock(t *testing.T) {
	for _, n := range []int{5000, 300_000} {
		for name, mix := range map[string]func(t *testing.T, g *segment, mine, other place){
			"written over": func(t *testing.T, g *segment, mine, other place) {
				t.Helper()
				var wrong []byte
				edit(t, g, other, func(e []byte, _ int) { wrong = bytes.Clone(e) })
				edit(t, g, mine, func(e []byte, _ int) { copy(e, wrong) })
			},
			"by a wrong index": func(t *testing.T, g *segment, mine, other place) {
				t.Helper()
				rewrite(t, g, mine.ord, func(rec []byte) {
					binary.BigEndian.PutUint32(rec[32:], other.off)
					binary.BigEndian.PutUint32(rec[40:], crc32.Checksum(rec[:40], castagnoli))
				})
			},
			"by an index that is one byte out": func(t *testing.T, g *segment, mine, _ place) {
				t.Helper()
				rewrite(t, g, mine.ord, func(rec []byte) {
					binary.BigEndian.PutUint32(rec[32:], mine.off+1)
					binary.BigEndian.PutUint32(rec[40:], crc32.Checksum(rec[:40], castagnoli))
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
				p, q := blocktest.Bytes(1, n), blocktest.Bytes(2, n)
				d, _ := mustPut(t, s, 0, p)
				other, _ := mustPut(t, s, 0, q)
				s.sealNow()
				g, mine, _ := s.find(d, false)
				defer g.release()
				theirs, _ := g.find(other)
				mix(t, g, mine, theirs)
				readDamaged(t, s, name, d, n)
				blocktest.Check(t, s, other, q)
			})
		}
	}
}

// TestDamageThatNoFileTimeTellsOf is that of a bad disk: the blocks were verified,
// the file is as it was to all appearances, and what is read anew differs. Who has
// a block open when another finds that out is given nothing of it either, nor who
// reads one that came into memory with another.
func TestDamageThatNoFileTimeTellsOf(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	var all [3][]byte
	for i := range all {
		all[i] = blocktest.Bytes(uint64(i), 400_000)
		mustPut(t, s, 0, all[i])
	}
	s.sealNow()
	g := s.all()[0]
	place := func(p []byte) place {
		at, ok := g.find(block.Sum(p))
		if !ok {
			t.Fatal("a block is not there")
		}
		return at
	}
	for _, p := range all[1:] {
		edit(t, g, place(p), func(e []byte, at int) { e[at+12345] ^= 16 })
	}
	if err := g.vlog.Sync(); err != nil {
		t.Fatal(err)
	}
	forget(g.fd, 0, 4*mib)
	for _, p := range all {
		if hot, known := resident(g.fd, int64(place(p).off), int64(place(p).len)); hot || !known {
			t.Skip("this file system keeps its pages in memory, or does not tell")
		}
	}
	st, err := statOf(g.fd)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		set(g.checksFor(st, time.Now()).bits, place(p).ord)
	}
	blocktest.Check(t, s, block.Sum(all[0]), all[0])
	if _, err := g.vlog.ReadAt(make([]byte, 400_000), int64(place(all[1]).off)); err != nil { // as the kernel does
		t.Fatal(err)
	}
	for _, p := range all[1:] {
		readDamaged(t, s, "a bad disk", block.Sum(p), len(p))
	}
}

// TestWhatAChecksumMisses writes bytes that are not the digest's with a checksum
// that is theirs. Whatever goes by the digest finds them.
func TestWhatAChecksumMisses(t *testing.T) {
	p := blocktest.Bytes(1, 300_000)
	d := block.Sum(p)
	for name, find := range map[string]func(t *testing.T, s *Store, g *segment){
		"the scrub": func(t *testing.T, s *Store, g *segment) {
			t.Helper()
			if err := s.scrubSegment(t.Context(), g); err != nil {
				t.Error(err)
			}
		},
		"carrying forward": func(t *testing.T, s *Store, g *segment) {
			t.Helper()
			if _, err := s.retire(t.Context(), g); err != nil {
				t.Error(err)
			}
		},
		"who puts it again": func(t *testing.T, s *Store, g *segment) {
			t.Helper()
			if _, seg := mustPut(t, s, 1, p); seg == g.id() {
				t.Error("other bytes were taken for the block")
			}
			if _, ok := g.find(d); ok {
				t.Error("the damaged copy is still there")
			}
			blocktest.Check(t, s, d, p)
			s.Drop(d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := &shelf{keep: func(this block.Digest) (block.Ring, bool) { return 1, this == d }}
			s := mustOpen(t, testConfig(t.TempDir()), k)
			mustPut(t, s, 0, p)
			// Were nearly all of it kept, the segment would only get a new name.
			mustPut(t, s, 0, blocktest.Bytes(2, 900_000))
			s.sealNow()
			g, at, _ := s.find(d, false)
			defer g.release()
			edit(t, g, at, func(e []byte, at int) {
				e[at+1000] ^= 1
				binary.BigEndian.PutUint32(e[len(e)-crc32.Size:], crc32.Checksum(e[:len(e)-crc32.Size], castagnoli))
			})
			st, err := statOf(g.fd)
			if err != nil {
				t.Fatal(err)
			}
			set(g.checksFor(st, time.Now()).bits, at.ord) // as one who read it cold does
			find(t, s, g)
			if _, ok := s.Has(d); ok {
				t.Error("a block with other bytes is still there")
			}
		})
	}
}

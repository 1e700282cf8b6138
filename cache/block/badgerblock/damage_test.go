package badgerblock

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// stock puts blocks of many lengths into all rings and seals ring 0.
func stock(t *testing.T, s *Store) map[block.Digest][]byte {
	t.Helper()
	want := make(map[block.Digest][]byte)
	n, more := 30, 1100
	if testing.Short() {
		n, more = 15, 2000
	}
	for i := range n {
		p := blocktest.Bytes(uint64(i), 10+i*i*more)
		d, _ := mustPut(t, s, block.Ring(i%3), p)
		want[d] = p
	}
	r := s.rings[0]
	r.mu.Lock()
	r.fillUp()
	r.mu.Unlock()
	s.sealFull()
	return want
}

// right reads every block: it may be gone, it must not be wrong.
func right(t *testing.T, s *Store, want map[block.Digest][]byte) (found int) {
	t.Helper()
	for d, p := range want {
		b, err := s.Open(d)
		if err != nil {
			if !errors.Is(err, block.ErrNotFound) {
				t.Errorf("Open: %v", err)
			}
			continue
		}
		var buf bytes.Buffer
		n, err := b.WriteRange(&buf, 0, b.Len())
		switch {
		case err == nil:
			found++
			if !bytes.Equal(buf.Bytes(), p) {
				t.Errorf("wrong bytes of a block of %d", len(p))
			}
		case errors.Is(err, block.ErrCorrupt):
			if n != 0 || buf.Len() != 0 {
				t.Errorf("%d bytes were written of a damaged block", n)
			}
			if _, err := s.Open(d); !errors.Is(err, block.ErrNotFound) {
				t.Errorf("Open after damage was found: %v", err)
			}
		default:
			t.Errorf("WriteRange: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	return found
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// flip flips a bit of path, in what is not a hole.
func flip(t *testing.T, rng *rand.Rand, path string, size int64) {
	t.Helper()
	if size == 0 {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	off := rng.Int64N(size)
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << rng.IntN(8)
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

func used(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// Beyond that, files of a running Badger are empty.
	return min(fi.Size(), 8*mib)
}

func TestFlipsWhileRunning(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	want := stock(t, s)
	if n := right(t, s, want); n != len(want) {
		t.Fatalf("%d of %d blocks before any damage", n, len(want))
	}
	time.Sleep(2 * racy) //nolint:forbidigo // real file times: verified state now counts
	right(t, s, want)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		for _, path := range files(t, s.cfg.Dir) {
			if filepath.Base(path) == vlogName || filepath.Base(path) == indexName {
				flip(t, rng, path, min(used(t, path), 4*mib))
			}
		}
		right(t, s, want)
	}
	// It mends itself.
	for d, p := range want {
		if _, err := s.Put(t.Context(), 2, d, p); err != nil {
			t.Fatal(err)
		}
		blocktest.Check(t, s, d, p)
	}
}

func TestFlipsOfVerifiedBlocks(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, block.Size)
	d, _ := mustPut(t, s, 0, p)
	s.sealNow()
	time.Sleep(2 * racy) //nolint:forbidigo // a real disk, so no bubble
	blocktest.Check(t, s, d, p)
	g, pl, _ := s.find(d, false)
	defer g.release()
	st, err := statOf(g.fd)
	if err != nil {
		t.Fatal(err)
	}
	if !isSet(g.checksFor(st, time.Now()).bits, pl.ord) {
		t.Fatal("a block that was read is not remembered as verified")
	}
	f, err := os.OpenFile(g.vlog.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{p[77] ^ 1}, int64(pl.off)+77); err != nil {
		t.Fatal(err)
	}
	if n := right(t, s, map[block.Digest][]byte{d: p}); n != 0 {
		t.Error("a damaged block was not noticed")
	}
	if s.all()[0].drops[0].Load() != 1 {
		t.Error("a damaged block was not dropped")
	}
}

// copyDir copies what is under from, holes included.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "store"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, "store")
}

// TestStoppedDamage starts again on what a crash left, after damage to each
// kind of file.
func TestStoppedDamage(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	want := stock(t, s)
	crashed := copyDir(t, s.cfg.Dir) // two rings are still being written
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clean := copyDir(t, s.cfg.Dir)
	rng := rand.New(rand.NewPCG(2, 2))
	spoil := map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"one bit": func(t *testing.T, path string) {
			t.Helper()
			flip(t, rng, path, used(t, path))
		},
		"head": func(t *testing.T, path string) {
			t.Helper()
			flip(t, rng, path, min(used(t, path), 64))
		},
		"truncated": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, rng.Int64N(used(t, path)+1)); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"removed": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"zeroed page": func(t *testing.T, path string) {
			t.Helper()
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			n := used(t, path)
			if _, err := f.WriteAt(make([]byte, min(n, 4096)), rng.Int64N(n/4096+1)*4096); err != nil {
				t.Fatal(err)
			}
		},
		"a folder instead": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	}
	for state, from := range map[string]string{"crashed": crashed, "clean": clean} {
		for name, fn := range spoil {
			if testing.Short() && (state == "clean" && name != "truncated" || name == "head" || name == "empty") {
				continue // much as after a crash, as one bit, as truncated
			}
			t.Run(state+"/"+name, func(t *testing.T) {
				dir := copyDir(t, from)
				for _, path := range files(t, dir) {
					if filepath.Base(path) != lockName {
						fn(t, path)
					}
				}
				s := mustOpen(t, testConfig(dir), &shelf{})
				n := right(t, s, want)
				if name == "nothing" && n != len(want) {
					t.Errorf("%d of %d blocks are left without any damage", n, len(want))
				}
				for d, p := range want {
					if _, err := s.Put(t.Context(), 1, d, p); err != nil {
						t.Fatal(err)
					}
					blocktest.Check(t, s, d, p)
				}
			})
		}
	}
}

func TestIndexIsRebuilt(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	want := stock(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, s.cfg.Dir) {
		if filepath.Base(path) == indexName {
			if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s = mustOpen(t, s.cfg, &shelf{})
	if n := right(t, s, want); n != len(want) {
		t.Errorf("%d of %d blocks after the indexes were lost", n, len(want))
	}
}

func TestStrangersAreLeftAlone(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := mustOpen(t, cfg, &shelf{})
	d, _ := mustPut(t, s, 1, []byte("kept"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cfg.Dir, segments)
	for _, name := range []string{"README", "main-1", "main-00000000", "Main-00000009", "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "main-00000077"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Rings = []RingConfig{{Name: "other"}} // the ring that had it is gone
	s = mustOpen(t, cfg, &shelf{})
	blocktest.Check(t, s, d, []byte("kept"))
	if _, err := os.Stat(filepath.Join(dir, "README")); err != nil {
		t.Error(err)
	}
	if len(s.Segments()) != 1 {
		t.Errorf("segments %v", s.Segments())
	}
}

func TestScrubFindsDamage(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.ScrubBytesPerSecond = 1 << 40
	found := make(chan block.Digest, 10)
	cfg.OnDamage = func(d block.Digest, _ block.Segment) { found <- d }
	s := mustOpen(t, cfg, &shelf{})
	p := blocktest.Bytes(1, 700_000)
	d, _ := mustPut(t, s, 0, p)
	good, _ := mustPut(t, s, 0, []byte("good"))
	s.sealNow()
	g, pl, _ := s.find(d, false)
	path := g.vlog.Name()
	g.release()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{^p[5]}, int64(pl.off)+5); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if got := <-found; got != d {
		t.Errorf("scrub found %s, want %s", got, d)
	}
	if _, ok := s.Has(d); ok {
		t.Error("still there")
	}
	blocktest.Check(t, s, good, []byte("good"))
}

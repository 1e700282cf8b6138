package boltkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

// filled makes a store file of three levels and returns its content.
func filled(tb testing.TB, path string, records int) map[string]string {
	tb.Helper()
	s := mustOpen(tb, path)
	want := map[string]string{}
	rng := rand.New(rand.NewPCG(21, 22))
	for i := 0; i < records; {
		if err := s.Update(func(tx kv.Tx) error {
			for range 500 {
				k := fmt.Sprintf("a rather long key, so that branches have several pages/%06d", rng.IntN(4*records))
				want[k] = string(bytes.Repeat([]byte{byte(i)}, rng.IntN(500)))
				if i++; i%100 == 0 {
					want[k] = string(bytes.Repeat([]byte{byte(i)}, 9000))
				}
				if err := tx.Put([]byte(k), []byte(want[k])); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			tb.Fatal(err)
		}
	}
	mustClose(tb, s)
	return want
}

// Bits that flip while the store is closed: Open says so, or they lay where
// nothing is.
func TestDamageAtRest(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 30
	}
	path := filepath.Join(t.TempDir(), "kv")
	want := filled(t, path, 2000)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(23, 24))
	refused := 0
	// The file ends in space that was never written.
	used := int64(len(bytes.TrimRight(whole, "\x00")))
	for round := range rounds {
		off := rng.Int64N(used)
		if round%3 == 0 { // where the structure is: heads of pages
			off = off/4096*4096 + rng.Int64N(64)
		}
		was := whole[off : off+1]
		if _, err := f.WriteAt([]byte{was[0] ^ 1<<rng.IntN(8)}, off); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, testConfig())
		switch {
		case errors.Is(err, kv.ErrDamaged):
			refused++
		case err != nil:
			t.Errorf("byte %d: %v", off, err)
		default:
			kvtest.Check(t, s, want)
			mustClose(t, s)
		}
		if t.Failed() {
			t.Fatalf("seed round %d, byte %d", round, off)
		}
		if _, err := f.WriteAt(was, off); err != nil {
			t.Fatal(err)
		}
		if round%100 == 0 { // opening may have written to it
			if whole, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused < rounds/5 {
		t.Errorf("only %d of %d flips were found", refused, rounds)
	}
}

// Bits that flip in the values under an open store: the reads that meet them
// say so, and no read gives a wrong value.
func TestDamageInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv")
	s := mustOpen(t, path)
	marker := bytes.Repeat([]byte("MARK"), 40)
	for i := range 50 {
		kvtest.Put(t, s, fmt.Sprintf("k%02d", i), fmt.Sprintf("%02d%s", i, marker))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Every copy of the 7th value, also those in pages that are free by now.
	target := append([]byte("07"), marker...)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; ; {
		i := bytes.Index(whole[from:], target)
		if i < 0 {
			break
		}
		if _, err := f.WriteAt([]byte{'X'}, int64(from+i+50)); err != nil {
			t.Fatal(err)
		}
		from += i + 1
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		got, err := v.Get(fmt.Appendf(nil, "k%02d", i))
		if i == 7 {
			if !errors.Is(err, kv.ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte("k07")) {
				t.Errorf("Get of the damaged key: %q, %v", got, err)
			}
		} else if err != nil || string(got) != fmt.Sprintf("%02d%s", i, marker) {
			t.Errorf("Get(%d) = %q, %v", i, got, err)
		}
	}
	n := 0
	if err := v.Scan(nil, nil, func(_, _ []byte) bool { n++; return true }); !errors.Is(err, kv.ErrDamaged) || n != 7 {
		t.Errorf("Scan gave %d keys, %v; want 7 and ErrDamaged", n, err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("Check: %v", err)
	}
	mustClose(t, s)
	if _, err := Open(path, testConfig()); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("Open: %v", err)
	}
}

// A file that is cut or wiped under an open store, which is mapped: reads past
// its end are faults, and must not end the process.
func TestCutInUse(t *testing.T) {
	for _, how := range []string{"cut", "wiped"} {
		path := filepath.Join(t.TempDir(), "kv")
		filled(t, path, 2000)
		s := mustOpen(t, path)
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		if how == "cut" {
			err = os.Truncate(path, 8192)
		} else {
			fi, serr := os.Stat(path)
			if serr != nil {
				t.Fatal(serr)
			}
			err = os.WriteFile(path, bytes.Repeat([]byte{0xa5}, int(fi.Size())), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Scan(nil, nil, func(_, _ []byte) bool { return true }); !errors.Is(err, kv.ErrDamaged) {
			t.Errorf("%s: Scan: %v", how, err)
		}
		if _, err := v.Get([]byte("k")); !errors.Is(err, kv.ErrDamaged) {
			t.Errorf("%s: Get: %v", how, err)
		}
		if err := s.Update(func(tx kv.Tx) error { return tx.Put([]byte("k"), nil) }); !errors.Is(err, kv.ErrDamaged) {
			t.Errorf("%s: Update: %v", how, err)
		}
		_ = v.Close()
		_ = s.Close()
	}
}

func TestCheckStopsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv")
	s := mustOpen(t, path)
	defer mustClose(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Check: %v", err)
	}
}

// FuzzOpen feeds whole files: never a panic, and what passes can be read whole.
func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "kv")
	s := mustOpen(f, path)
	for i := range 40 {
		kvtest.Put(f, s, fmt.Sprintf("k%d", i), fmt.Sprintf("%0300d", i))
	}
	mustClose(f, s)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, len(whole))
	for _, at := range []uint32{16, 4096, 12288} {
		f.Add(at, bytes.Repeat([]byte{0xff}, 8), len(whole))
	}
	f.Add(uint32(0), []byte{1}, 1<<19)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, size int) {
		b := bytes.Clone(whole[:min(max(size, 0), len(whole))])
		if int(at) < len(b) {
			copy(b[at:], patch)
		}
		if err := verify(t.Context(), bytes.NewReader(b), int64(len(b)), "file"); err != nil {
			if !errors.Is(err, kv.ErrDamaged) {
				t.Errorf("verify: %v", err)
			}
			return
		}
		path := filepath.Join(t.TempDir(), "kv")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := v.Scan(nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != 40 {
			t.Errorf("Scan of a file that passed: %d records, %v", n, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		mustClose(t, s)
	})
}

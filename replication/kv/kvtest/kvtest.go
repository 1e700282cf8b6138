// Package kvtest holds the suite that every kv.Store must pass, and Memory, a
// store in memory that passes it and serves the tests of others.
//
// It knows nothing of files: what is peculiar to one store (kill -9, damage, a
// full disk) is tested beside that store.
package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"preau/replication/kv"
)

// Run checks that the stores which open returns keep kv.Store's promises. open
// must return an empty store. reopen, if there is one, closes a store and opens
// the same content again. The suite closes what it gets.
func Run(t *testing.T, open func(*testing.T) kv.Store, reopen ...func(*testing.T, kv.Store) kv.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, kv.Store)
	}{
		{"what was put comes back", putAndGet},
		{"bad keys and values are refused", refused},
		{"results may be kept", results},
		{"scan keeps order and bounds", scanning},
		{"scan stops when told", scanStops},
		{"an update sees its own writes", ownWrites},
		{"a failed update leaves nothing", failedUpdate},
		{"a panic leaves nothing", panicking},
		{"a view stays still", viewStays},
		{"a view has many readers", viewShared},
		{"replace swaps everything", replaces},
		{"a failed replace leaves the old content", failedReplace},
		{"a view outlives replace", viewOutlivesReplace},
		{"updates do not overlap", counter},
		{"a closed store refuses", closing},
		{"like a map", likeMap},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			tt.run(t, s)
			if tt.name == "a closed store refuses" {
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	for _, again := range reopen {
		t.Run("content outlives the process", func(t *testing.T) {
			s := open(t)
			want := map[string]string{}
			rng := rand.New(rand.NewPCG(3, 4))
			for range 5 {
				step(t, s, rng, want)
				s = again(t, s)
				Check(t, s, want)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// Check compares the whole content of s with want, by Scan and by Get.
func Check(tb testing.TB, s kv.Store, want map[string]string) {
	tb.Helper()
	v := view(tb, s)
	defer closeView(tb, v)
	checkReader(tb, v, want)
}

func checkReader(tb testing.TB, r kv.Reader, want map[string]string) {
	tb.Helper()
	keys := slices.Sorted(maps.Keys(want))
	i := 0
	if err := r.Scan(nil, nil, func(k, v []byte) bool {
		if i >= len(keys) || keys[i] != string(k) || want[keys[i]] != string(v) {
			tb.Errorf("Scan: entry %d is %.80q = %.80q", i, k, v)
			return false
		}
		i++
		return true
	}); err != nil {
		tb.Errorf("Scan: %v", err)
	}
	if i != len(keys) {
		tb.Errorf("Scan gave %d entries, want %d", i, len(keys))
	}
	for _, k := range keys[:min(len(keys), 200)] {
		if got, err := r.Get([]byte(k)); err != nil || string(got) != want[k] {
			tb.Errorf("Get(%.80q) = %.80q, %v; want %.80q", k, got, err, want[k])
		}
	}
}

func view(tb testing.TB, s kv.Store) kv.View {
	tb.Helper()
	v, err := s.View()
	if err != nil {
		tb.Fatalf("View: %v", err)
	}
	return v
}

func closeView(tb testing.TB, v kv.View) {
	tb.Helper()
	if err := v.Close(); err != nil {
		tb.Errorf("View.Close: %v", err)
	}
}

// Put writes keys and values, given in turn, in one update.
func Put(tb testing.TB, s kv.Store, pairs ...string) {
	tb.Helper()
	if err := s.Update(func(tx kv.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		tb.Fatalf("Update: %v", err)
	}
}

func putAndGet(t *testing.T, s kv.Store) {
	want := map[string]string{}
	for i, n := range []int{0, 1, 100, 4000, 4096, 5000, 70_000, 3 << 20} {
		k := fmt.Sprintf("size/%d", i)
		want[k] = strings.Repeat(string(rune('a'+i)), n)
		Put(t, s, k, want[k])
	}
	long := strings.Repeat("k", kv.MaxKey)
	Put(t, s, long, "long", "\x00", "zero", "\xff\xff", "last")
	want[long], want["\x00"], want["\xff\xff"] = "long", "zero", "last"
	Check(t, s, want)
	Put(t, s, "size/2", "other")
	want["size/2"] = "other"
	Check(t, s, want)
	if s.Size() <= 0 {
		t.Errorf("Size = %d", s.Size())
	}
}

func refused(t *testing.T, s kv.Store) {
	long := bytes.Repeat([]byte("k"), kv.MaxKey+1)
	if err := s.Update(func(tx kv.Tx) error {
		for _, k := range [][]byte{nil, {}, long} {
			if err := tx.Put(k, []byte("v")); err == nil {
				t.Errorf("Put with a key of %d bytes: no error", len(k))
			}
		}
		if err := tx.Put([]byte("k"), make([]byte, kv.MaxValue+1)); err == nil {
			t.Error("Put with too long a value: no error")
		}
		for _, k := range [][]byte{nil, long, []byte("absent")} {
			if err := tx.Delete(k); err != nil {
				t.Errorf("Delete of an absent key of %d bytes: %v", len(k), err)
			}
			if _, err := tx.Get(k); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("Get of an absent key of %d bytes: %v", len(k), err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	Check(t, s, nil)
}

func results(t *testing.T, s kv.Store) {
	k, val := []byte("key"), []byte("value")
	if err := s.Update(func(tx kv.Tx) error {
		err := tx.Put(k, val)
		clear(k) // both were copied
		clear(val)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	v := view(t, s)
	got, err := v.Get([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	closeView(t, v)
	Put(t, s, "key", "other")
	if string(got) != "value" {
		t.Errorf("kept result changed to %q", got)
	}
	clear(got)
	Check(t, s, map[string]string{"key": "other"})
}

func scanning(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1", "b", "2", "b/1", "3", "b/2", "4", "b/2/x", "5", "b0", "6", "c", "7", "\xff", "8", "\xff\xffz", "9")
	tests := []struct {
		prefix, after string // after "-": nil
		want          string
	}{
		{"", "-", "1 2 3 4 5 6 7 8 9"},
		{"", "", "1 2 3 4 5 6 7 8 9"},
		{"b", "-", "2 3 4 5 6"},
		{"b/", "-", "3 4 5"},
		{"b/", "b/1", "4 5"},
		{"b/", "b/11", "4 5"},
		{"b/", "b/2/x", ""},
		{"b/", "a", "3 4 5"},
		{"b/", "zzz", ""},
		{"", "b/2", "5 6 7 8 9"},
		{"\xff", "-", "8 9"},
		{"\xff", "\xff", "9"},
		{"nope", "-", ""},
	}
	check := func(name string, r kv.Reader) {
		for _, tt := range tests {
			after := []byte(tt.after)
			if tt.after == "-" {
				after = nil
			}
			var got []string
			if err := r.Scan([]byte(tt.prefix), after, func(_, v []byte) bool {
				got = append(got, string(v))
				return true
			}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("%s: Scan(%q, %q) = %q, want %q", name, tt.prefix, tt.after, g, tt.want)
			}
		}
	}
	v := view(t, s)
	defer closeView(t, v)
	check("view", v)
	if err := s.Update(func(tx kv.Tx) error { check("update", tx); return nil }); err != nil {
		t.Error(err)
	}
}

func scanStops(t *testing.T, s kv.Store) {
	for i := range 100 {
		Put(t, s, fmt.Sprintf("k%02d", i), "v")
	}
	v := view(t, s)
	defer closeView(t, v)
	n := 0
	if err := v.Scan(nil, nil, func(_, _ []byte) bool { n++; return n < 7 }); err != nil || n != 7 {
		t.Errorf("Scan called fn %d times, %v; want 7", n, err)
	}
}

func ownWrites(t *testing.T, s kv.Store) {
	Put(t, s, "a", "old", "b", "old", "c", "old")
	if err := s.Update(func(tx kv.Tx) error {
		err := errors.Join(tx.Put([]byte("b"), []byte("new")), tx.Delete([]byte("c")), tx.Put([]byte("d"), nil))
		checkReader(t, tx, map[string]string{"a": "old", "b": "new", "d": ""})
		return err
	}); err != nil {
		t.Error(err)
	}
	Check(t, s, map[string]string{"a": "old", "b": "new", "d": ""})
}

func failedUpdate(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	mine := errors.New("mine")
	err := s.Update(func(tx kv.Tx) error {
		return errors.Join(tx.Put([]byte("a"), []byte("2")), tx.Put([]byte("b"), bytes.Repeat([]byte("x"), 100_000)), mine)
	})
	if !errors.Is(err, mine) {
		t.Errorf("Update: %v, want fn's own error", err)
	}
	Check(t, s, map[string]string{"a": "1"})
	Put(t, s, "c", "3")
	Check(t, s, map[string]string{"a": "1", "c": "3"})
}

// panicking: somebody else's mistake in fn must neither be hidden nor keep the
// store locked.
func panicking(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	survive := func(name string, fn func()) {
		t.Helper()
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("%s: recovered %v, want fn's own panic", name, r)
			}
		}()
		fn()
	}
	survive("Update", func() {
		_ = s.Update(func(tx kv.Tx) error { //nolint:errcheck // does not return
			if err := tx.Put([]byte("a"), []byte("2")); err != nil {
				t.Error(err)
			}
			panic("mine") //nolint:forbidigo // what is tested
		})
	})
	survive("Replace", func() {
		_ = s.Replace(func(put func(k, v []byte) error) error { //nolint:errcheck // does not return
			if err := put([]byte("z"), nil); err != nil {
				t.Error(err)
			}
			panic("mine") //nolint:forbidigo // what is tested
		})
	})
	v := view(t, s)
	survive("Scan", func() {
		_ = v.Scan(nil, nil, func(_, _ []byte) bool { //nolint:errcheck // does not return
			panic("mine") //nolint:forbidigo // what is tested
		})
	})
	closeView(t, v)
	Put(t, s, "b", "2")
	Check(t, s, map[string]string{"a": "1", "b": "2"})
}

func viewStays(t *testing.T, s kv.Store) {
	want := map[string]string{}
	rng := rand.New(rand.NewPCG(5, 6))
	type frozen struct {
		v    kv.View
		want map[string]string
	}
	var open []frozen
	for range 8 {
		step(t, s, rng, want)
		open = append(open, frozen{view(t, s), maps.Clone(want)})
	}
	for _, f := range open {
		checkReader(t, f.v, f.want)
		closeView(t, f.v)
		if _, err := f.v.Get([]byte("k")); err == nil || errors.Is(err, kv.ErrNotFound) {
			t.Errorf("Get from a closed view: %v", err)
		}
		if err := f.v.Scan(nil, nil, func(_, _ []byte) bool { return true }); err == nil {
			t.Error("Scan of a closed view: no error")
		}
		step(t, s, rng, want)
	}
	Check(t, s, want)
}

func viewShared(t *testing.T, s kv.Store) {
	want := map[string]string{}
	rng := rand.New(rand.NewPCG(7, 8))
	step(t, s, rng, want)
	v, frozen := view(t, s), maps.Clone(want)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				checkReader(t, v, frozen)
			}
		})
	}
	for range 10 {
		step(t, s, rng, want)
	}
	wg.Wait()
	closeView(t, v)
}

func replaces(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1", "b", "2")
	want := map[string]string{}
	if err := s.Replace(func(put func(k, v []byte) error) error {
		if err := put(nil, nil); err == nil {
			t.Error("Replace took an empty key")
		}
		for i := range 3000 {
			i = i * 7 % 3000 // not in order
			k, v := fmt.Sprintf("r/%d", i), strings.Repeat("v", i%500)
			want[k] = v
			if err := put([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		want["r/1"] = "twice"
		return put([]byte("r/1"), []byte("twice"))
	}); err != nil {
		t.Fatalf("Replace: %v", err)
	}
	Check(t, s, want)
	Put(t, s, "after", "x")
	want["after"] = "x"
	Check(t, s, want)
	if err := s.Replace(func(func(k, v []byte) error) error { return nil }); err != nil {
		t.Errorf("Replace with nothing: %v", err)
	}
	Check(t, s, nil)
}

func failedReplace(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	mine := errors.New("mine")
	if err := s.Replace(func(put func(k, v []byte) error) error {
		return errors.Join(put([]byte("b"), []byte("2")), mine)
	}); !errors.Is(err, mine) {
		t.Errorf("Replace: %v, want fn's own error", err)
	}
	Check(t, s, map[string]string{"a": "1"})
	Put(t, s, "c", "3")
	Check(t, s, map[string]string{"a": "1", "c": "3"})
}

func viewOutlivesReplace(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	v := view(t, s)
	for i := range 3 {
		if err := s.Replace(func(put func(k, v []byte) error) error { return put([]byte("b"), []byte{byte('0' + i)}) }); err != nil {
			t.Fatal(err)
		}
	}
	Put(t, s, "c", "3")
	checkReader(t, v, map[string]string{"a": "1"})
	closeView(t, v)
	Check(t, s, map[string]string{"b": "2", "c": "3"})
}

func counter(t *testing.T, s kv.Store) {
	const workers, each = 4, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := s.Update(func(tx kv.Tx) error {
					old, err := tx.Get([]byte("n"))
					if err != nil && !errors.Is(err, kv.ErrNotFound) {
						return err
					}
					return tx.Put([]byte("n"), append(old, 'x'))
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	Check(t, s, map[string]string{"n": strings.Repeat("x", workers*each)})
}

func closing(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	v := view(t, s)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if got, err := v.Get([]byte("a")); err != nil || string(got) != "1" {
		t.Errorf("a view open while the store closes: %q, %v", got, err)
	}
	closeView(t, v)
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.View(); err == nil {
		t.Error("View of a closed store: no error")
	}
	if err := s.Update(func(kv.Tx) error { return nil }); err == nil {
		t.Error("Update of a closed store: no error")
	}
	if err := s.Replace(func(func(k, v []byte) error) error { return nil }); err == nil {
		t.Error("Replace of a closed store: no error")
	}
}

// step makes one random update of s and of its model.
func step(tb testing.TB, s kv.Store, rng *rand.Rand, want map[string]string) {
	tb.Helper()
	if err := s.Update(func(tx kv.Tx) error {
		for range 1 + rng.IntN(60) {
			k := fmt.Sprintf("k/%d", rng.IntN(300))
			if rng.IntN(4) == 0 {
				delete(want, k)
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
				continue
			}
			v := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(700))
			if rng.IntN(100) == 0 {
				v = strings.Repeat(v, 20)
			}
			want[k] = v
			if err := tx.Put([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		tb.Fatalf("Update: %v", err)
	}
}

func likeMap(t *testing.T, s kv.Store) {
	want := map[string]string{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		step(t, s, rng, want)
		Check(t, s, want)
	}
}

package storetest

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"preau/replication/central/store"
)

func (s shop) putIf(t *testing.T, key string, p []byte, c store.Condition) error {
	t.Helper()
	_, err := s.Put(t.Context(), s.bucket, key, bytes.NewReader(p), int64(len(p)), store.Options{}, c)
	return err
}

func conditionAbsent(t *testing.T, s shop) {
	if err := s.putIf(t, "k", []byte("1"), store.Condition{Absent: true}); err != nil {
		t.Fatalf("Put of a new object: %v", err)
	}
	wants(t, "Put of an object that is there", s.putIf(t, "k", []byte("2"), store.Condition{Absent: true}), store.ErrChanged)
	// The same bytes are no excuse.
	wants(t, "Put of the same bytes", s.putIf(t, "k", []byte("1"), store.Condition{Absent: true}), store.ErrChanged)
	s.has(t, "k", []byte("1"))
	if err := s.Delete(t.Context(), s.bucket, "k"); err != nil {
		t.Fatal(err)
	}
	if err := s.putIf(t, "k", []byte("3"), store.Condition{Absent: true}); err != nil {
		t.Errorf("Put after Delete: %v", err)
	}
	s.has(t, "k", []byte("3"))
}

func conditionETag(t *testing.T, s shop) {
	one, two := []byte("one"), []byte("two")
	wants(t, "Put over nothing", s.putIf(t, "k", two, store.Condition{ETag: ETag(one)}), store.ErrChanged)
	s.gone(t, "k")
	s.put(t, "k", one, store.Options{})
	wants(t, "Put over another version", s.putIf(t, "k", two, store.Condition{ETag: ETag(two)}), store.ErrChanged)
	s.has(t, "k", one)
	if err := s.putIf(t, "k", two, store.Condition{ETag: ETag(one)}); err != nil {
		t.Fatalf("Put over the right version: %v", err)
	}
	s.has(t, "k", two)
	wants(t, "Put over a version that was", s.putIf(t, "k", one, store.Condition{ETag: ETag(one)}), store.ErrChanged)

	id, err := s.Begin(t.Context(), s.bucket, "parts", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := s.part(t, "parts", id, 1, one)
	info, err := s.Complete(t.Context(), s.bucket, "parts", id, []store.Part{p})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.putIf(t, "parts", two, store.Condition{ETag: info.ETag}); err != nil {
		t.Errorf("Put over an object of parts: %v", err)
	}
}

// race has 8 writers put under the same condition. All but one must be told
// ErrChanged or, as a server may, ErrUnavailable.
func (s shop) race(t *testing.T, round int, c store.Condition) []byte {
	t.Helper()
	var (
		writers sync.WaitGroup
		mu      sync.Mutex
		winner  []byte
		wins    int
	)
	for w := range 8 {
		writers.Go(func() {
			p := Bytes(uint64(round*8+w), 1000)
			err := s.putIf(t, "k", p, c)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
				winner = p
			case !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrUnavailable):
				t.Errorf("round %d: a loser is told %v", round, err)
			}
		})
	}
	writers.Wait()
	if wins != 1 {
		t.Fatalf("round %d: %d of 8 writers won, want 1", round, wins)
	}
	s.has(t, "k", winner)
	return winner
}

func manyAbsent(t *testing.T, s shop) {
	for round := range 5 {
		s.race(t, round, store.Condition{Absent: true})
		if err := s.Delete(t.Context(), s.bucket, "k"); err != nil {
			t.Fatal(err)
		}
	}
}

func manyETag(t *testing.T, s shop) {
	now := []byte("first")
	s.put(t, "k", now, store.Options{})
	for round := range 5 {
		now = s.race(t, round, store.Condition{ETag: ETag(now)})
	}
}

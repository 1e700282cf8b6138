package object_test

import (
	"context"
	"errors"
	"testing"

	"preau/cache/object"
	"preau/cache/object/objecttest"
)

func TestPurgeRemovesWhatIsMeantAndNothingElse(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	for n := range byte(200) {
		for v := range byte(2) {
			o := thing(key(n), v)
			o.ID = object.ID{n, v, 7}
			if err := s.Put(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	hit := func(o *object.Object) bool { return o.Key[0]%2 == 0 && (o.ID[1] == 0 || o.Key[0] == 4) }
	n, err := s.Purge(t.Context(), hit)
	if err != nil || n != 101 || s.Count() != 299 {
		t.Errorf("%d removed, %d left, %v", n, s.Count(), err)
	}
	for _, s := range []*object.Store{s, func() *object.Store { s, _ := newStore(t, kv); return s }()} { // and after a restart
		for n := range byte(200) {
			want := 2
			switch {
			case n == 4:
				want = 0
			case n%2 == 0:
				want = 1
			}
			if set, err := s.Lookup(key(n)); err != nil || len(set) != want {
				t.Fatalf("key %d has %d objects, want %d; %v", n, len(set), want, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Purge(ctx, hit); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPins(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	for n := range byte(3) {
		if err := s.SavePin(key(n), int64(n)*1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemovePin(key(0)); err != nil {
		t.Fatal(err)
	}
	s, _ = newStore(t, kv)
	if got, err := s.Pins(); err != nil || len(got) != 2 || got[key(2)] != 2000 {
		t.Errorf("pins %v, %v", got, err)
	}
	kv.Damage("p")
	if got, err := s.Pins(); err != nil || len(got) != 0 {
		t.Errorf("damaged pins are %v, %v", got, err)
	}
}

package object_test

import (
	"errors"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/object/objecttest"
)

func TestAProofStaysWithItsObject(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	count := func() (n int) {
		if err := kv.Scan([]byte{'v'}, true, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	stored := func(k object.Key) *object.Object {
		set, err := s.Lookup(k)
		if err != nil || len(set) != 1 {
			t.Fatalf("%d objects, %v", len(set), err)
		}
		return set[0]
	}
	o := thing(key(1), 1)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Proof(o); b != nil || err != nil {
		t.Errorf("before: %q, %v", b, err)
	}
	if err := s.SetProof(t.Context(), o, []byte("it is so")); err != nil {
		t.Fatal(err)
	}
	if got := stored(o.Key); got.Proven != o.ResponseTime.Unix() {
		t.Errorf("proven at %d", got.Proven)
	}
	// Neither what is held nor a validation makes another object of it.
	d := block.Sum([]byte("x"))
	if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, block.Manifest{Length: 1, Blocks: []block.Digest{d}, SHA256: d}, nil); err != nil {
		t.Fatal(err)
	}
	later := *o
	later.ResponseTime = o.ResponseTime.Add(time.Hour)
	if err := s.Update(t.Context(), &later); err != nil {
		t.Fatal(err)
	}
	again, _ := newStore(t, kv) // after a restart
	for _, s := range []*object.Store{s, again} {
		if b, err := s.Proof(stored(o.Key)); string(b) != "it is so" || err != nil {
			t.Errorf("after: %q, %v", b, err)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, object.MaxProof+1)} {
		if err := s.SetProof(t.Context(), o, b); err == nil {
			t.Errorf("a proof of %d bytes is kept", len(b))
		}
	}
	if err := s.Remove(t.Context(), o.Key, o.ID, "purged"); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d proofs are left of what is gone", n)
	}
	if err := s.SetProof(t.Context(), o, []byte("it was so")); !errors.Is(err, object.ErrNotFound) || count() != 0 {
		t.Errorf("a proof of what is gone: %v", err)
	}
}

func TestADamagedProofIsNone(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	o := thing(key(1), 1)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := s.SetProof(t.Context(), o, []byte("it is so")); err != nil {
		t.Fatal(err)
	}
	place := append([]byte{'v'}, o.ID[:]...)
	b, err := kv.Get(place)
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte(nil), b...)
	b[0] ^= 1
	if err := kv.Write([]object.Change{{Key: place, Value: b}}); err != nil {
		t.Fatal(err)
	}
	set, err := s.Lookup(o.Key)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Proof(set[0]); b != nil || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestANameTellsURLsApart(t *testing.T) {
	m, err := object.NewMarker(make([]byte, object.MarkKeySize))
	if err != nil {
		t.Fatal(err)
	}
	other, err := object.NewMarker(append(make([]byte, object.MarkKeySize-1), 1))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]bool{
		m.Name("site", "/a b"): true, m.Name("site", "/a%20b"): true, m.Name("site", "/x/../a%20b"): true, m.Name("site", "/a%20b?"): true,
		m.Name("sit", "e/a%20b"): true, m.Name("", "site/a%20b"): true, other.Name("site", "/a%20b"): true,
	}
	if len(seen) != 7 {
		t.Errorf("%d names of 7", len(seen))
	}
	if again := m.Name("site", "/a b"); !seen[again] {
		t.Error("one name is two")
	}
}

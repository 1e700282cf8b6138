package object_test

import (
	"testing"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/object/objecttest"
)

// TestUnsavedBlocksOutliveTheirSegment retires a segment, and has another put
// together, with blocks that only a fill knows of.
func TestUnsavedBlocksOutliveTheirSegment(t *testing.T) {
	var unsaved map[block.Segment][]object.Unsaved
	pinned := key(2)
	s, _ := newStore(t, objecttest.NewMemory(), func(c *object.Config) {
		c.InUse = func(object.ID) bool { return true }
		c.Unsaved = func(seg block.Segment) []object.Unsaved { return unsaved[seg] }
		c.Pinned = func(o *object.Object) bool { return o.Key == pinned }
		c.PinRing = 2
	})
	filled, pin, gone := thing(key(1), 1), thing(pinned, 2), thing(key(3), 3)
	for _, o := range []*object.Object{filled, pin} {
		if err := s.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	list := func(o *object.Object) object.Unsaved {
		return object.Unsaved{ID: o.ID, Key: o.Key, Digests: blocks(2, o.ID[0])}
	}
	unsaved = map[block.Segment][]object.Unsaved{7: {list(filled), list(pin), list(gone)}}
	kept, err := s.Retire(t.Context(), 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := map[block.Digest]block.Ring{}
	var moves []object.Move
	for _, d := range blocks(2, filled.ID[0]) {
		want[d] = 1
		moves = append(moves, object.Move{Digest: d, To: 12})
	}
	for _, d := range blocks(2, pin.ID[0]) {
		want[d] = 2
		moves = append(moves, object.Move{Digest: d, To: 12})
	}
	for _, k := range kept {
		if r, ok := want[k.Digest]; !ok || r != k.Ring {
			t.Errorf("kept for ring %d: %v, wanted in %d", k.Ring, ok, r)
		}
		delete(want, k.Digest)
	}
	if len(want) > 0 {
		t.Errorf("%d blocks are given up that were put just now", len(want))
	}
	// The fill's body may have gone meanwhile, so that nobody else can tell
	// where its blocks are.
	unsaved = nil
	if _, err := s.Moved(t.Context(), 7, moves); err != nil {
		t.Fatal(err)
	}
	s.Retired(t.Context(), 7)
	m := block.Manifest{Length: 2 * block.Size, Blocks: blocks(2, filled.ID[0])}
	if _, err := s.SaveManifest(t.Context(), filled.Key, filled.ID, m, nil); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Retire(t.Context(), 1, 12); err != nil || len(kept) != 2 {
		t.Errorf("%d blocks are kept where they went, want 2: %v", len(kept), err)
	}
	s.Retired(t.Context(), 12)

	// Small segments are put together without Retire.
	unsaved = map[block.Segment][]object.Unsaved{21: {list(pin)}}
	move := []object.Move{{Digest: blocks(2, pin.ID[0])[0], To: 21}}
	if objects, err := s.Moved(t.Context(), 20, move); err != nil || len(objects) != 1 || objects[0].ID != pin.ID {
		t.Errorf("%d objects moved: %v", len(objects), err)
	}
}

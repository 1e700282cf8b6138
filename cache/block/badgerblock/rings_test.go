package badgerblock

import (
	"errors"
	"testing"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// TestARingInUseIsPassedOver has a keeper that names one ring again and again,
// all of which is in use. Room must come from the others as long as they have
// any.
func TestARingInUseIsPassedOver(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	k := &shelf{ring: 0}
	used := map[block.Digest]bool{}
	k.keep = func(d block.Digest) (block.Ring, bool) { return 0, used[d] }
	s := mustOpen(t, smallest(t.TempDir()), k)
	var others []block.Digest
	for i := 0; s.roomFor(1, false); i++ { // the store is full
		d, _ := mustPut(t, s, 1, blocktest.Bytes(uint64(i), block.Size))
		others = append(others, d)
	}
	kept := map[block.Digest][]byte{}
	var err error
	for i := range others {
		p := blocktest.Bytes(uint64(1000+i), block.Size)
		d := block.Sum(p)
		k.mu.Lock()
		used[d] = true
		k.mu.Unlock()
		if _, err = s.Put(t.Context(), 0, d, p); err != nil {
			break
		}
		kept[d] = p
		if testing.Short() && len(kept) == 8 {
			break
		}
	}
	left := 0
	for _, d := range others {
		if _, ok := s.Has(d); ok {
			left++
		}
	}
	if err != nil && (!errors.Is(err, block.ErrNoSpace) || left > 0) {
		t.Errorf("after %d blocks, with %d of %d that nobody wants still there: %v", len(kept), left, len(others), err)
	}
	if len(kept) < 8 || left == len(others) {
		t.Errorf("%d blocks were taken, %d of %d others are left", len(kept), left, len(others))
	}
	for d, p := range kept {
		blocktest.Check(t, s, d, p)
	}
}

package badgerblock

import (
	"context"
	"sync"

	"preau/cache/block"
)

// shelf is a Keeper that keeps what its function says and remembers what it
// was told. Its zero value keeps nothing.
type shelf struct {
	mu      sync.Mutex
	store   *Store
	keep    func(d block.Digest) (block.Ring, bool)
	ring    block.Ring
	err     error
	asked   int // how often what to keep of a segment
	moved   map[block.Digest]block.Segment
	retired []block.Segment

	relabelled [][2]block.Segment
}

func (k *shelf) NextRing([]int64) block.Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

func (k *shelf) Retire(ctx context.Context, _ block.Ring, s block.Segment) ([]Keep, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return nil, k.err
	}
	if k.keep == nil {
		return nil, nil
	}
	var list []Keep
	err := k.store.Each(ctx, s, func(d block.Digest, _ int) error {
		if r, ok := k.keep(d); ok {
			list = append(list, Keep{d, r})
		}
		return nil
	})
	return list, err
}

func (k *shelf) Moved(_ context.Context, _ block.Segment, moves []Move) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moved == nil {
		k.moved = make(map[block.Digest]block.Segment)
	}
	for _, m := range moves {
		k.moved[m.Digest] = m.To
	}
	return nil
}

func (k *shelf) Relabelled(_ context.Context, from, to block.Segment, kept []block.Digest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moved == nil {
		k.moved = make(map[block.Digest]block.Segment)
	}
	for _, d := range kept {
		k.moved[d] = to
	}
	k.relabelled = append(k.relabelled, [2]block.Segment{from, to})
	return nil
}

func (k *shelf) Retired(_ context.Context, s block.Segment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = append(k.retired, s)
}

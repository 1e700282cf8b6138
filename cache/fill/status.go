package fill

import "preau/cache/block"

// Length is the body's length, or block.UnknownLength while it isn't known.
func (b *Body) Length() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.length
}

// SHA256 is the digest of the whole body; zero until it is known (see Whole).
func (b *Body) SHA256() block.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sha256
}

// Err is why no more bytes will come; nil while they may.
func (b *Body) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Status is a look at a body for people.
type Status struct {
	ID      ID
	Held    int64
	Length  int64 // block.UnknownLength if not known
	Readers int
	Fetches int
	Waiting bool // the source can't be reached
}

// Status describes the body as it is now.
func (b *Body) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{ID: b.id, Held: b.have.size(), Length: b.length, Readers: len(b.readers), Fetches: len(b.segs), Waiting: !b.trouble.IsZero()}
}

// Holds reports whether every byte of from..to (-1: to the end) is held.
func (b *Body) Holds(from, to int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to < 0 {
		to = b.end()
	}
	return from >= to || b.have.covers(from, to)
}

// Fetching reports whether the body is being fetched, or waits for its source
// to come back.
func (b *Body) Fetching() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.segs) > 0 || b.retrying
}

// Digest returns the digest and the length of block i, if the block is whole
// and stored.
func (b *Body) Digest(i int) (d block.Digest, length int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i < 0 || i >= len(b.blocks) || b.blocks[i].IsZero() {
		return block.Digest{}, 0, false
	}
	from, to := b.extent(i)
	return b.blocks[i], int(to - from), true
}

// Passing reports whether nothing of the body is kept, so far.
func (b *Body) Passing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.passing()
}

// Source is what the body is fetched from.
func (b *Body) Source() Source { return b.spec.Source }

// Coming reports whether every byte of from..to (-1: to the end) is held, or is
// on its way by a fetch that is under way.
func (b *Body) Coming(from, to int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to < 0 {
		to = b.end()
	}
	for from < to {
		if from = max(from, b.have.end(from)); from >= to {
			break
		}
		next := from
		for _, f := range b.flying(nil) {
			if f.pos <= from {
				next = max(next, f.to)
			}
		}
		if next == from {
			return false
		}
		from = next
	}
	return true
}

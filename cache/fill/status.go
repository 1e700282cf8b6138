package fill

import "preau/cache/block"

// Length is the body's length, or block.UnknownLength while it isn't known.
func (b *Body) Length() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.length
}

// SHA256 is the digest of the whole body; zero until it is known.
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

package shelf_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
)

// region gives blocks, and can be told to give others or none.
type region struct {
	mu     sync.Mutex
	blocks map[block.Digest][]byte
	given  map[block.Digest]int
	bytes  int    // given
	of     string // what was asked for last
	lies   bool   // the first attempt gives something else
	down   bool
	slow   chan struct{} // if not nil, each block waits for it
	held   block.Digest  // if not zero, only this one waits
	// busy is how many are being fetched, and busiest how many were at most.
	busy, busiest int
}

func (r *region) Block(ctx context.Context, req shelf.Request) (shelf.Given, error) {
	p, err := r.give(ctx, req)
	return shelf.Given{ReadCloser: io.NopCloser(bytes.NewReader(p)), From: shelf.FromRegion}, err
}

func (r *region) give(ctx context.Context, req shelf.Request) ([]byte, error) {
	r.mu.Lock()
	slow := r.slow
	if r.held != (block.Digest{}) && r.held != req.Digest {
		slow = nil
	}
	r.busy++
	r.busiest = max(r.busiest, r.busy)
	r.mu.Unlock()
	defer r.set(func() { r.busy-- })
	if req.Slow != nil {
		if err := req.Slow(ctx, req.Length); err != nil {
			return nil, err
		}
	}
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return r.at(req)
}

// at is what it has of what is asked for.
func (r *region) at(req shelf.Request) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, attempt := req.Digest, req.Attempt
	p, ok := r.blocks[d]
	if r.down || !ok {
		return nil, errors.New("no server has it")
	}
	if r.lies && attempt == 0 {
		p = slices.Clone(p)
		p[len(p)/2] ^= 1
		return p, nil
	}
	if r.lies && attempt == 1 {
		return p[:len(p)/2], nil
	}
	r.given[d]++
	r.bytes += len(p)
	r.of = req.Of
	return p, nil
}

// publish makes an item of data.
func (r *region) publish(id string, data []byte) shelf.Item {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := shelf.Item{
		ID: id, Collection: "Sciences", Title: "Le " + id, Filename: id + " été.pdf", ContentType: "application/pdf",
		Length: int64(len(data)), SHA256: block.Sum(data), Language: "fr", Licence: "CC BY", ModTime: time.Unix(1_700_000_000, 0),
	}
	for p := range slices.Chunk(data, block.Size) {
		d := block.Sum(p)
		it.Blocks = append(it.Blocks, d)
		r.blocks[d] = slices.Clone(p)
	}
	return it
}

func (r *region) most() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.given {
		n = max(n, g)
	}
	return n
}

func (r *region) set(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

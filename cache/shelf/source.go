package shelf

import (
	"context"
	"io"

	"preau/cache/block"
)

// Source gives blocks. Its method may be called concurrently.
type Source interface {
	// Block opens the block that req names.
	Block(ctx context.Context, req Request) (Given, error)
}

// Request is one block that a shelf needs.
type Request struct {
	Of     string // the id of the item that it is of
	Digest block.Digest
	Length int // of the block
	// Attempt counts from 0: what an earlier one gave was wrong or broke, so a
	// later one should ask somebody else.
	Attempt int
	// Neighbour: another box of the school asked for it. It must not wait for what
	// this one asks of others, which may be waiting for this one.
	Neighbour bool
	// Slow, if not nil, says that nobody waits for the block. It is called before
	// so many bytes are asked for over the line, and returns when they may be.
	Slow func(ctx context.Context, n int) error
}

type pace = func(ctx context.Context, n int) error

// Origin is where a block came from.
type Origin string

// Where blocks come from.
const (
	FromRegion    Origin = "region"
	FromNeighbour Origin = "neighbour"
)

// Given is a block as a source gives it.
type Given struct {
	io.ReadCloser
	From Origin
	// Shared: it came for somebody else's request, and is counted there.
	Shared bool
}

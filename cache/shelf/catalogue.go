package shelf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"preau/cache/block"
)

var (
	// ErrUnknown reports an item that is not published.
	ErrUnknown = errors.New("no such item is published")
	// ErrGone reports an item that was published. It matches ErrUnknown too.
	ErrGone = fmt.Errorf("%w any more", ErrUnknown)
)

// Catalogue is what is published. A shelf asks it each time, and remembers
// nothing of items that it holds nothing of: there may be a million of them.
// Its methods may be called concurrently.
type Catalogue interface {
	// Item returns what is published under id now. It asks nobody outside and
	// leaves Blocks empty where the list of them is not at hand. Errors:
	// ErrUnknown, ErrGone, the disk's.
	Item(id string) (Item, error)
	// Pieces returns the blocks of an item that Item gave without, in their order.
	// They may have to be fetched; what comes is compared with the digest that
	// it.List names.
	Pieces(ctx context.Context, it Item) ([]Piece, error)
	// Keeps reports whether bytes of an earlier version of an item, stored here at
	// a time of the box's clock, may be sent while the version of now can't be had.
	// They may not if the item may have been taken back since.
	Keeps(it Item, stored time.Time) (bool, error)
	// Page returns up to most items without their blocks, those of a collection
	// together and under its title, that come after a position, "" for the first,
	// and the position to go on from, "" if there are no more. Any string may be
	// given for a position.
	Page(ctx context.Context, after string, most int) (items []Item, next string, err error)
	// Len is how many items are published, or nearly.
	Len() int
}

// find returns a published item without its blocks, if they are not at hand.
func (s *Shelf) find(id string) (Item, error) {
	if !ValidID(id) {
		return Item{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	it, err := s.cat.Item(id)
	if err != nil {
		return Item{}, fmt.Errorf("%w: %q", err, id)
	}
	if err := it.validateWords(); err != nil {
		return Item{}, fmt.Errorf("%w: %q: %w", ErrUnknown, id, err)
	}
	return it, nil
}

// whole returns the item with its blocks.
func (s *Shelf) whole(ctx context.Context, it Item) (Item, error) {
	if it.Length > 0 && len(it.Blocks) == 0 && len(it.Pieces) == 0 {
		pieces, err := s.cat.Pieces(ctx, it)
		if err != nil {
			return it, fmt.Errorf("blocks of %q: %w", it.ID, err)
		}
		if it.Listed {
			it.Pieces = pieces
		} else if it.Blocks, err = even(pieces, it.Length); err != nil {
			return it, fmt.Errorf("blocks of %q: %w", it.ID, err)
		}
	}
	return it, it.validateBlocks()
}

// even are the names of blocks that are as long as a body's of that length.
func even(pieces []Piece, length int64) ([]block.Digest, error) {
	if len(pieces) != block.NumBlocks(length) {
		return nil, fmt.Errorf("there are %d for %d bytes", len(pieces), length)
	}
	out := make([]block.Digest, len(pieces))
	for i, p := range pieces {
		if p.Length != block.BlockLen(length, i) {
			return nil, fmt.Errorf("block %d has %d bytes", i, p.Length)
		}
		out[i] = p.Digest
	}
	return out, nil
}

// current reports whether it is still what is published under its ID.
func (s *Shelf) current(it Item) bool {
	now, err := s.cat.Item(it.ID)
	return err == nil && now.SHA256 == it.SHA256 && now.list() == it.list()
}

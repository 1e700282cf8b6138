// Package feed brings the catalogue's changes to thousands of boxes.
//
// Every server of a region serves the feed from its own applied state; a box
// follows one of them over the connection it opened itself, and goes on at
// another from where it was. Where it was is a Cursor: region, epoch and raft
// index. The catalogue keeps each record once, at the index of its last change,
// so following from a cursor is a scan of what has a greater index, and a
// snapshot is a scan from 0 without the marks of what was deleted; both can be
// cut anywhere and resumed. DESIGN.md has the protocol and the reasons.
//
// Server is the region's side: an http.Handler and a Run. Follower is the box's:
// it keeps a Copy, the durable set of records that the box's school may see.
// Follow is the bare client under it.
//
// The package opens no connection and no listener (see replication/wire), decides
// nothing about what a school may see (see replication/catalogue), and does
// nothing with a record but deliver it: purging, pinning and fetching are the
// node's, which learns of changes from the Copy.
//
// Metrics of a server: preau_feed_streams, preau_feed_waiting,
// preau_feed_head_index, preau_feed_published_records_total,
// preau_feed_frames_total{kind="live|changes|snapshot|heartbeat"},
// preau_feed_sent_bytes_total, preau_feed_blocks_total{result="hit|built|failed"},
// preau_feed_ends_total{reason="gone|slow|failed|revoked|moved|draining|behind|again"},
// preau_feed_acks_total, preau_feed_refused_total. Of a box:
// preau_feed_box_connected, preau_feed_box_index, preau_feed_box_records_total,
// preau_feed_box_snapshots_total, preau_feed_box_ack_failures_total,
// preau_feed_box_streams_total{result="ended|failed|refused|full|goodbye"}.
package feed

import (
	"errors"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

var (
	// ErrRefused reports something from the other side that breaks the protocol
	// or that its sender may not say. None of it was applied.
	ErrRefused = errors.New("refused what the feed brought")
	// ErrBehind reports a state that is older than what was asked of it.
	ErrBehind = errors.New("the server is behind")
	// ErrPruned reports a cursor from before the oldest mark of a deleted record.
	ErrPruned = errors.New("the cursor is older than what is kept")
	// ErrOrder reports a batch that does not begin where the copy is.
	ErrOrder = errors.New("the batch does not follow on what is held")
)

// Cursor is how far a box has followed: everything its school may see up to
// Index. The zero Cursor is that of a box that holds nothing.
type Cursor struct {
	Region identity.Region
	Epoch  uint64
	Index  uint64
}

// Source gives out views of the catalogue. It may be called concurrently.
type Source interface {
	View() (View, error)
}

// SourceFunc is a function as a Source.
type SourceFunc func() (View, error)

// View implements Source.
func (f SourceFunc) View() (View, error) { return f() }

// View is the catalogue as it was at one moment. A view is used by one
// goroutine and closed within milliseconds.
type View interface {
	// Epoch is the region's epoch, and the index at which it began: up to it,
	// what was agreed on in the epoch before still holds. 0 where that is not
	// known.
	Epoch() (epoch, began uint64, err error)
	// Applied is the entry of the log up to which the view has everything.
	Applied() (index, term uint64)
	// Floor is the index up to which marks of deleted records, and purges, were
	// forgotten, and FloorTime the time before which.
	Floor() uint64
	FloorTime() time.Time
	// Changes calls fn for the records whose index is above after and at most
	// upto, in the order of their index, until fn returns false.
	Changes(after, upto uint64, fn func(r catalogue.Record) (more bool)) error
	// Close ends the view.
	Close() error
}

// FromCatalogue gives out views of state. began says at which index the region's
// epoch began, 0 if it is not known.
func FromCatalogue(state *catalogue.State, began func() uint64) Source {
	return SourceFunc(func() (View, error) {
		v, err := state.View()
		if err != nil {
			return nil, err
		}
		return catalogueView{v, began}, nil
	})
}

type catalogueView struct {
	*catalogue.View
	began func() uint64
}

func (v catalogueView) Epoch() (epoch, began uint64, err error) {
	r, _, err := v.Region()
	return r.Epoch, v.began(), err
}

// start is where a stream begins.
type start struct {
	mode  Mode
	after uint64
	until uint64 // of a snapshot
	again bool   // the snapshot begins anew
}

// state is what a server knows when a box comes.
type state struct {
	region                identity.Region
	epoch, began          uint64
	applied, floor, fresh uint64 // fresh is the index at which a new snapshot would be taken
	floorTime             time.Time
}

// plan decides where a box's stream begins. c is its cursor; until is the index
// of the snapshot that it is in the middle of, 0 for none. ErrBehind: the box
// has seen an epoch that the server has not.
func plan(c Cursor, until uint64, s state) (start, error) {
	anew := start{mode: ModeSnapshot, until: s.fresh, again: true}
	if c.Region != s.region {
		return anew, nil
	}
	if c.Epoch > s.epoch {
		return start{}, ErrBehind
	}
	same := c.Epoch == s.epoch || c.Epoch+1 == s.epoch && max(c.Index, until) <= s.began
	switch {
	case !same, c.Index == 0 && until == 0:
		return anew, nil
	case until > 0 && s.floor > until:
		// What was deleted after the snapshot began is no longer told.
		return anew, nil
	case until > 0:
		return start{mode: ModeSnapshot, after: c.Index, until: until}, nil
	case c.Index < s.floor:
		return anew, nil
	}
	return start{mode: ModeChanges, after: c.Index}, nil
}

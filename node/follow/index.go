package follow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/kv"
)

// The index's keys, beside the copy's own.
//
//	node/by/COLLECTION 0 ID  a resource of a collection
//	node/of/ID               its collection, 0, the digest of its list of blocks
//	node/indexed             the number of the latest change in it (8), how many
//	                         resources there are (8), latest time of one (8, ms)
const (
	prefixBy = "node/by/"
	prefixOf = "node/of/"
)

var keyIndexed = []byte("node/indexed")

// Steps of what is written to the index at once, well within what the store
// does wholly or not at all.
const (
	indexChanges = 8000
	indexBytes   = 512 << 10
	indexRecords = 1000
)

// keptKeys is where the index lies.
type keptKeys interface {
	kv.Reader
	write(changes []feed.Change) error // wholly or not at all, if not at once on the disk
}

// index tells which resources a collection has, since a copy knows them by
// their ids only. It follows the copy's changes, and goes on from where it was.
type index struct {
	store keptKeys

	mu       sync.Mutex
	seq      feed.Seq
	n        int
	recorded time.Time // the latest time of a resource's record
}

func openIndex(store keptKeys) (*index, error) {
	x := &index{store: store}
	b, err := store.Get(keyIndexed)
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("read how far the index of resources is: %w", err)
	case len(b) == 24:
		x.seq, x.n = feed.Seq(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:]))
		x.recorded = time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:])))
	}
	return x, nil
}

// state is how far the index is, and what it knows of all resources.
func (x *index) state() (seq feed.Seq, n int, recorded time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seq, x.n, x.recorded
}

// note takes up changes that end with number upto, if they follow on what is
// there. If they don't, catchUp will do it.
func (x *index) note(changes []catalogue.Record, upto feed.Seq) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seq+feed.Seq(len(changes)) != upto { // each change has a number of its own
		return nil
	}
	return x.take(changes, upto)
}

// catchUp takes up what the copy has that the index does not.
func (x *index) catchUp(ctx context.Context, from mirror) error {
	for {
		var changes []catalogue.Record
		after, _, _ := x.state()
		upto := after
		err := from.Changes(after, func(r catalogue.Record, seq feed.Seq) bool {
			r.Body = append([]byte(nil), r.Body...)
			changes, upto = append(changes, r), seq
			return len(changes) < indexRecords
		})
		if err != nil || len(changes) == 0 {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.mu.Lock()
		if x.seq == after { // else note was here meanwhile
			err = x.take(changes, upto)
		}
		x.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// row is what the index says of one resource.
type row struct {
	there      bool
	collection string
	list       block.Digest
}

func (x *index) row(id string) (row, error) {
	b, err := x.store.Get([]byte(prefixOf + id))
	if errors.Is(err, kv.ErrNotFound) {
		return row{}, nil
	}
	if err != nil {
		return row{}, err
	}
	collection, list, _ := strings.Cut(string(b), "\x00")
	out := row{there: true, collection: collection}
	copy(out.list[:], list)
	return out, nil
}

// take writes changes in steps; the number moves with the last. x.mu is held.
// What was written is right whether the rest follows or not, and does no harm
// if it is written again.
func (x *index) take(changes []catalogue.Record, upto feed.Seq) error {
	var step []feed.Change
	bytes, n, recorded := 0, x.n, x.recorded
	rows := map[string]row{} // in step: the store does not have them yet
	put := func(key string, value []byte, gone bool) {
		step = append(step, feed.Change{Key: []byte(key), Value: value, Delete: gone})
		bytes += len(key) + len(value)
	}
	flush := func(seq feed.Seq) error {
		b := binary.BigEndian.AppendUint64(nil, uint64(seq))
		b = binary.BigEndian.AppendUint64(b, uint64(n))
		b = binary.BigEndian.AppendUint64(b, uint64(recorded.UnixMilli()))
		if err := x.store.write(append(step, feed.Change{Key: keyIndexed, Value: b})); err != nil {
			return fmt.Errorf("write the index of resources: %w", err)
		}
		x.seq, x.n, x.recorded = seq, n, recorded
		step, bytes = step[:0], 0
		clear(rows)
		return nil
	}
	for _, r := range changes {
		if r.Kind != catalogue.KindResource {
			continue
		}
		var next row
		if !r.Deleted {
			res, err := catalogue.Body[catalogue.Resource](r)
			if err != nil {
				continue // of a later version of the program: nobody here could use it
			}
			next = row{there: true, collection: res.Collection, list: res.Manifest}
			if r.At.After(recorded) {
				recorded = r.At
			}
		}
		old, ok := rows[r.ID]
		if !ok {
			var err error
			if old, err = x.row(r.ID); err != nil {
				return fmt.Errorf("read the index of resources: %w", err)
			}
		}
		rows[r.ID] = next
		if old == next {
			continue
		}
		if old.there && (!next.there || old.collection != next.collection) {
			put(prefixBy+old.collection+"\x00"+r.ID, nil, true)
		}
		if old.list != next.list && !old.list.IsZero() {
			for part := range byte(manifestParts) {
				put(string(append(keyManifest(old.list), part)), nil, true)
			}
		}
		switch {
		case next.there:
			value := append([]byte(next.collection), 0)
			if !next.list.IsZero() {
				value = append(value, next.list[:]...)
			}
			put(prefixOf+r.ID, value, false)
			if !old.there || old.collection != next.collection {
				put(prefixBy+next.collection+"\x00"+r.ID, []byte{1}, false)
			}
		default:
			put(prefixOf+r.ID, nil, true)
		}
		if next.there != old.there {
			n++
			if old.there {
				n -= 2
			}
		}
		if len(step) >= indexChanges || bytes >= indexBytes {
			if err := flush(x.seq); err != nil {
				return err
			}
		}
	}
	return flush(upto)
}

// entry is one resource in the index.
type entry struct{ collection, id string }

// page lists up to most resources after one, in order of their collections and
// their ids. With only set, it lists those of that collection alone.
func (x *index) page(only string, after entry, most int) (out []entry, err error) {
	prefix := []byte(prefixBy)
	if only != "" {
		prefix = []byte(prefixBy + only + "\x00")
	}
	var from []byte
	if after != (entry{}) {
		from = []byte(prefixBy + after.collection + "\x00" + after.id)
	}
	err = x.store.Scan(prefix, from, func(key, _ []byte) bool {
		collection, id, ok := strings.Cut(string(key[len(prefixBy):]), "\x00")
		if ok {
			out = append(out, entry{collection, id})
		}
		return len(out) < most
	})
	if err != nil {
		return nil, fmt.Errorf("read the index of resources: %w", err)
	}
	return out, nil
}

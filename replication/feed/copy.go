package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"preau/replication/catalogue"
	"preau/replication/kv"
)

// Store is where a Copy lies.
type Store interface {
	kv.Reader
	// Write carries out the changes in order, durably, all of them or none, if
	// they are up to 10,000 and 1 MiB; a larger batch may stop between such
	// steps. Errors: kv.ErrFull, the disk's.
	Write(changes []Change) error
}

// Change sets a key, or deletes it.
type Change struct {
	Key, Value []byte
	Delete     bool
}

// Seq numbers the changes of one Copy, from 1, for ever: also when its region
// changes, or an epoch ends and raft indices are given again.
type Seq uint64

// A Copy's keys.
//
//	m          where it is (place)
//	r KIND ID  a record: generation (8), seq (8), record as it came
//	s SEQ      the key of the record that this was the latest change of
//	t SEQ      the same, of records that are gone
const (
	keyPlace  = 'm'
	keyRecord = 'r'
	keySeq    = 's'
	keyGone   = 't'
	entryHead = 16
)

// Steps of what is written at once, well within what a Store promises. A record
// takes up to four changes.
const (
	stepChanges = 4000
	stepBytes   = 512 << 10
)

// place is where a copy is. It is written last.
type place struct {
	Format     uint64 `cbor:"1,keyasint"`
	Region     string `cbor:"2,keyasint"`
	Epoch      uint64 `cbor:"3,keyasint"`
	Index      uint64 `cbor:"4,keyasint"`
	Generation uint64 `cbor:"5,keyasint"`
	// Until is the index of the snapshot under way, and Settle the latest state
	// that a part of it was of. What is of an older generation goes when Index
	// gets to both: what changed while the snapshot came has come too by then.
	Until  uint64 `cbor:"6,keyasint,omitempty"`
	Settle uint64 `cbor:"11,keyasint,omitempty"`
	Under  bool   `cbor:"7,keyasint,omitempty"`
	Seq    Seq    `cbor:"8,keyasint,omitempty"` // at least this was given
	Floor  uint64 `cbor:"9,keyasint,omitempty"` // purges up to here are dropped
	Doubt  int64  `cbor:"10,keyasint,omitempty"`
}

const format = 1

// Copy is a box's durable copy of what its school may see of the catalogue. Its
// methods may be called concurrently.
type Copy struct {
	store Store

	mu     sync.Mutex // of writers
	part   uint16     // of the batch under way, the next
	partOf uint64     // its Upto
	fns    []func(changes []catalogue.Record, upto Seq)

	at    sync.Mutex // of place
	place place
}

// OpenCopy reads where the copy in store is. What a crash left undone is done
// again by the feed. kv.ErrDamaged: the copy can be removed, the region has it
// all.
func OpenCopy(store Store) (*Copy, error) {
	c := &Copy{store: store}
	b, err := store.Get([]byte{keyPlace})
	switch {
	case errors.Is(err, kv.ErrNotFound):
		c.place.Format = format
	case err != nil:
		return nil, fmt.Errorf("read where the copy of the catalogue is: %w", err)
	default:
		if err := unmarshal(b, &c.place); err != nil {
			return nil, fmt.Errorf("%w: where the copy of the catalogue is: %w", kv.ErrDamaged, err)
		}
	}
	if c.place.Format != format {
		return nil, fmt.Errorf("the copy of the catalogue has format %d, this program knows %d: upgrade the program, or remove the copy", c.place.Format, format)
	}
	// A batch that was cut has given numbers that place does not know of.
	err = store.Scan([]byte{keySeq}, seqKey(keySeq, c.place.Seq), func(key, _ []byte) bool {
		if len(key) == 9 {
			c.place.Seq = Seq(binary.BigEndian.Uint64(key[1:]))
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the latest changes of the copy of the catalogue: %w", err)
	}
	return c, nil
}

// Cursor is how far the copy has followed, and until is the index of the
// snapshot it is in the middle of, 0 for none.
func (c *Copy) Cursor() (cur Cursor, until uint64) {
	p := c.where()
	return p.cursor(), p.receiving()
}

// receiving is Until as long as the snapshot has not come whole.
func (p *place) receiving() uint64 {
	if p.Under && p.Index < p.Until {
		return p.Until
	}
	return 0
}

// Seq is the number of the latest change.
func (c *Copy) Seq() Seq { return c.where().Seq }

// Whole says that the copy is exactly what the school could see at its cursor:
// it is not in the middle of a snapshot.
func (c *Copy) Whole() bool {
	p := c.where()
	return !p.Under && p.Generation > 0
}

// Doubt is a time before which there may have been purges that the box never
// heard of: it was away for longer than the region remembers. What it stored
// before must not be trusted. The zero time: there was no such gap.
func (c *Copy) Doubt() time.Time {
	p := c.where()
	if p.Doubt == 0 {
		return time.Time{}
	}
	return time.UnixMilli(p.Doubt).UTC()
}

func (c *Copy) where() place {
	c.at.Lock()
	defer c.at.Unlock()
	return c.place
}

// Get returns a record. kv.ErrNotFound if the school has none such, or none any
// more.
func (c *Copy) Get(kind catalogue.Kind, id string) (catalogue.Record, error) {
	e, err := c.entry(recordName(kind, id))
	if err != nil {
		return catalogue.Record{}, fmt.Errorf("record %d %q: %w", kind, id, err)
	}
	if e.Deleted {
		return catalogue.Record{}, fmt.Errorf("record %d %q: %w", kind, id, kv.ErrNotFound)
	}
	return e.record(), nil
}

// List calls fn for the records of a kind in order of their ids, until it
// returns false. What changes meanwhile may or may not be seen. fn must not
// call the Copy.
func (c *Copy) List(kind catalogue.Kind, fn func(r catalogue.Record) (more bool)) error {
	return c.scan([]byte{keyRecord, byte(kind)}, nil, func(_ []byte, e *entry) (bool, error) {
		return e.Deleted || fn(e.record()), nil
	})
}

// Changes calls fn for the records whose latest change has a number above after,
// in the order of the changes, those that are gone as marks (Deleted), until it
// returns false. It is how a node that was stopped finds out what it has not
// acted upon. A mark is there until Forget.
func (c *Copy) Changes(after Seq, fn func(r catalogue.Record, seq Seq) (more bool)) error {
	for {
		var names [][]byte
		last := after
		err := c.store.Scan([]byte{keySeq}, seqKey(keySeq, after), func(key, name []byte) bool {
			if len(key) == 9 {
				last = Seq(binary.BigEndian.Uint64(key[1:]))
				names = append(names, clone(name))
			}
			return len(names) < stepChanges/4
		})
		if err != nil {
			return fmt.Errorf("changes of the copy of the catalogue: %w", err)
		}
		for _, name := range names {
			e, err := c.entry(name)
			switch {
			case errors.Is(err, kv.ErrNotFound):
			case err != nil:
				return fmt.Errorf("changes of the copy of the catalogue: %w", err)
			case e.seq > after && e.seq <= last: // else it changed meanwhile, and comes later
				if !fn(e.record(), e.seq) {
					return nil
				}
			}
		}
		if after = last; len(names) == 0 {
			return nil
		}
	}
}

// OnChange has fn called after each batch that changed something, once it is
// durable, with what changed and the number of its last change. The next batch
// waits for it, and so does the acknowledgement to the region: when fn returns,
// the region takes it that the box has acted. When Doubt moves, fn is called
// too, with no changes.
func (c *Copy) OnChange(fn func(changes []catalogue.Record, upto Seq)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fns = append(c.fns, fn)
}

// Forget drops the marks of records that are gone with numbers up to upto: the
// node has acted upon them.
func (c *Copy) Forget(upto Seq) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var names, marks [][]byte
		err := c.store.Scan([]byte{keyGone}, nil, func(key, name []byte) bool {
			if len(key) != 9 || Seq(binary.BigEndian.Uint64(key[1:])) > upto || len(names) == stepChanges/4 {
				return false
			}
			marks, names = append(marks, clone(key)), append(names, clone(name))
			return true
		})
		if err != nil {
			return fmt.Errorf("marks in the copy of the catalogue: %w", err)
		}
		if len(names) == 0 {
			return nil
		}
		var step []Change
		for i, name := range names {
			seq := Seq(binary.BigEndian.Uint64(marks[i][1:]))
			step = append(step, Change{Key: marks[i], Delete: true})
			e, err := c.entry(name)
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if err == nil && e.Deleted && e.seq == seq {
				step = append(step, Change{Key: name, Delete: true}, Change{Key: seqKey(keySeq, seq), Delete: true})
			}
		}
		// Numbers are never given twice, also if the latest was a mark's.
		p := c.where()
		b, err := marshal(p)
		if err != nil {
			return err
		}
		if err := c.store.Write(append(step, Change{Key: []byte{keyPlace}, Value: b})); err != nil {
			return fmt.Errorf("forget what is gone: %w", err)
		}
	}
}

func (p *place) cursor() Cursor {
	return Cursor{Region: regionOf(p.Region), Epoch: p.Epoch, Index: p.Index}
}

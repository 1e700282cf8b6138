// Package catalogue is what a region agrees on: resources and who may see
// them, pins, purges, boxes, revocations, policies, popularity.
//
// It is a pure state machine. Commands come as entries of a log; State.Apply
// carries them out, in order, in one atomic update of a kv.Store, and what
// comes of them depends on nothing but the entries before: no clock is read
// (a command brings its own time), nothing is random, all arithmetic is on
// integers. So every server that has applied the same entries, in whatever
// batches, holds the same bytes, and a server that crashed goes on from where
// its store is.
//
// # Order and sight
//
// Every record has exactly one place in the change index, that of the entry
// that changed it last. Whoever has followed up to an index reads on from
// there (View.Changes) and sees each record once, in its latest version, with
// marks of what is gone. Popularity and Contact change all the time and leave
// the servers never: they are kept apart, out of the change index. A record
// carries the schools that may see it, and those that could once.
//
// # Encoding
//
// An entry is one byte of version and then deterministic CBOR (RFC 8949
// §4.2.1) in its one possible form. It is read for ever, so a version is
// closed: its fields, its limits and its rules never change, and what it
// refuses it refuses for ever. Whatever is new, be it one field, takes a new
// version. Two versions live side by side like this:
//
//   - A server says in its Server record which version it reads (Reads).
//   - The region writes in one version at a time, its level (State.Level), which
//     is that of the highest entry so far. The leader raises it, by writing one
//     entry above it (EncodeAs), once every server reads that (View.ReadByAll).
//   - A server that meets an entry of a version above its own can't know what
//     it does. It neither skips nor refuses it, for then it would hold another
//     state than the servers that can read it: Apply stops with ErrNewer,
//     nothing is applied, and it goes on from there once it is upgraded.
//   - A state remembers the highest version that went into it. An older
//     program refuses to Open or Restore it.
//
// # Commands twice
//
// A command is known by its id. The latest 200,000 are remembered with what
// came of them, and get the same answer when they come again.
//
// The package will not check certificates, elect anybody, send anything or
// decide when to prune: that is for replication/consensus, feed and enrol. It
// keeps no bodies, only their digests.
package catalogue

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"preau/replication/kv"
)

// Limits of the whole.
const (
	// MaxRemembered is how many commands are known when they come again.
	MaxRemembered = 200_000
	// MaxPopularity is how many things popularity is kept of; while it is
	// full, new ones are passed over until Prune has made room.
	MaxPopularity = 500_000
	// MaxTogether bounds the records that one command may change on the way:
	// the resources of a collection whose audience changes or that is purged.
	MaxTogether = 100_000
)

var (
	// ErrNotFound reports that there is no such record, or not any more.
	ErrNotFound = errors.New("no such record")
	// ErrNewer reports an entry, a state or a snapshot that a newer version of
	// this program wrote. Nothing was changed: upgrade, and go on from there.
	ErrNewer = errors.New("written by a newer version of preau")
	// ErrDamaged reports a snapshot or a state that is not what was written.
	ErrDamaged = errors.New("catalogue is damaged")
)

// Entry is one entry of the log. One without Data changes nothing.
type Entry struct {
	Index, Term uint64
	Data        []byte // what Encode made
}

// State is the catalogue as of one entry of the log, in a kv.Store. All
// methods may be called concurrently; Apply and Restore wait for one another.
type State struct {
	store    kv.Store
	grammars map[byte]func([]byte) (Command, error)
	reads    byte   // the highest version in grammars
	remember uint64 // commands
	walk     int    // rows that one Prune looks at

	mu   sync.Mutex // held by Apply and Restore throughout
	seen map[CommandID]uint64

	at   sync.RWMutex // held for moments
	meta meta
}

// Open takes up the state in store, which may be empty. It keeps the ids of
// remembered commands in memory, about 10 MB of them. Errors: ErrNewer,
// ErrDamaged, the store's.
func Open(store kv.Store) (*State, error) {
	return open(store, grammars(), MaxVersion, MaxRemembered)
}

func open(store kv.Store, grammars map[byte]func([]byte) (Command, error), reads byte, remember uint64) (*State, error) {
	s := &State{store: store, grammars: grammars, reads: reads, remember: remember, walk: maxWalk}
	view, err := store.View()
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	if err := errors.Join(s.load(view), view.Close()); err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	return s, nil
}

// load takes into memory what is held there.
func (s *State) load(view kv.View) (err error) {
	if s.meta, err = readMeta(view, s.reads); err != nil {
		return err
	}
	s.seen = make(map[CommandID]uint64, min(s.meta.Commands, s.remember))
	var bad error
	err = view.Scan([]byte{rowCommand}, nil, func(key, value []byte) bool {
		bad = remembered(key, value, s.seen)
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return fmt.Errorf("read remembered commands: %w", err)
	}
	return nil
}

// Applied is the latest entry that was applied, 0 for none.
func (s *State) Applied() (index, term uint64) {
	s.at.RLock()
	defer s.at.RUnlock()
	return s.meta.Index, s.meta.Term
}

// Level is the version of the encoding that the region writes in: the highest
// that has gone into the state.
func (s *State) Level() uint8 {
	s.at.RLock()
	defer s.at.RUnlock()
	return max(s.meta.Version, 1)
}

// Apply carries out entries, which must come in the order of the log, in one
// update of the store that is durable when Apply returns. It returns what came
// of each, and the records that the batch changed (without Popularity and
// Contact), in the order of the change index. An error is the store's, or
// ErrNewer: nothing was applied then, and the same entries may be tried again.
// Entries that were applied before are passed over; their result is what is
// remembered of them.
func (s *State) Apply(entries []Entry) ([]Result, []Record, error) {
	if len(entries) == 0 {
		return nil, nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b *batch
	results := make([]Result, len(entries))
	err := s.store.Update(func(tx kv.Tx) error {
		b = s.batch(tx)
		for i, e := range entries {
			if i > 0 && e.Index <= entries[i-1].Index {
				return fmt.Errorf("entry %d comes after entry %d: they are out of order", e.Index, entries[i-1].Index)
			}
			var err error
			if results[i], err = b.apply(e); err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, err)
			}
		}
		return b.close()
	})
	if err != nil {
		return nil, nil, fmt.Errorf("apply entries %d to %d: %w", entries[0].Index, entries[len(entries)-1].Index, err)
	}
	maps.Copy(s.seen, b.seen)
	for _, f := range b.forgotten {
		if s.seen[f.id] == f.number {
			delete(s.seen, f.id)
		}
	}
	s.at.Lock()
	s.meta = b.meta
	s.at.Unlock()
	return results, b.changed(), nil
}

// Package kv says what the replicated state needs of the disk under it: keys in
// order, updates that happen whole or not at all, and views that stay still
// while writers go on.
//
// The package holds nothing itself. boltkv keeps a Store in one bbolt file;
// kvtest has the suite that every Store must pass, and a Store in memory.
//
// What it will not do: expire keys, count references, watch for changes,
// compress, or repair. A store of replicated state can always be rebuilt from a
// snapshot, a log or another server, so a Store that finds damage says so
// (ErrDamaged) and leaves the decision to its owner.
package kv

import "errors"

var (
	// ErrNotFound reports that a key is not there.
	ErrNotFound = errors.New("key not found")
	// ErrFull reports that the disk has no room for an update. The update did
	// not happen; the same one succeeds once there is room, and everything
	// already kept stays readable.
	ErrFull = errors.New("disk full")
	// ErrDamaged reports that the bytes on disk are not those that were put.
	// The message names the key or the file and what to do about it.
	ErrDamaged = errors.New("stored state is damaged")
)

// Bounds on what a Store accepts. A larger key or value is a mistake of the
// caller and is refused before anything is written.
const (
	MaxKey   = 4 << 10
	MaxValue = 64 << 20
)

// Reader reads keys.
type Reader interface {
	// Get returns the value of key, which the caller may keep and change.
	// Errors: ErrNotFound, ErrDamaged.
	Get(key []byte) ([]byte, error)
	// Scan calls fn in key order for the keys that begin with prefix and come
	// strictly after after (nil: from the first), until fn returns false. Both
	// slices are valid only during the call, and must not be changed. A nil
	// prefix means every key. A value found damaged ends the scan with
	// ErrDamaged before fn sees it.
	Scan(prefix, after []byte, fn func(key, value []byte) (more bool)) error
}

// Tx is one update under way. It sees its own writes. It is for one goroutine
// and ends when the function it was given to returns; a Tx must not be written
// to while its own Scan runs.
type Tx interface {
	Reader
	// Put sets the value of key, and copies both. The empty key is refused.
	Put(key, value []byte) error
	// Delete removes key. A key that is not there is not an error.
	Delete(key []byte) error
}

// View is the content as it was at one moment. It may be held for minutes while
// writers go on; how much disk that costs is said by each Store. It may be read
// by several goroutines, and must be closed before its Store can be.
type View interface {
	Reader
	Close() error
}

// Store is an ordered set of keys with their values. All methods may be called
// concurrently.
type Store interface {
	// View opens a view of what the last finished Update left.
	View() (View, error)
	// Update runs fn in an update of its own; updates never overlap. When it
	// returns nil everything fn wrote is durable. When fn returns an error
	// nothing is written and that error is returned. Errors: fn's, ErrFull,
	// ErrDamaged, the disk's; none of them leaves half an update behind.
	Update(fn func(Tx) error) error
	// Replace swaps the whole content for what fn puts, in any order, though
	// ascending is fastest; a key put twice has the last value. Until fn has
	// returned and all of it is durable, readers see the old content, which
	// stays if anything fails. Views opened earlier keep what they had.
	// Updates wait meanwhile.
	Replace(fn func(put func(key, value []byte) error) error) error
	// Size is the number of bytes that the store takes up on disk (in memory,
	// for a store without one).
	Size() int64
	// Close waits for open views and updates, then lets the files go.
	// Methods called afterwards return an error.
	Close() error
}

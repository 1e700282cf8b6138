// Package storage is where a server of a region keeps its raft log, its vote
// and its snapshots. It hides which library writes the log, and works around
// what those libraries do not do: come back after a failed write, cut the end
// off a log safely, be opened twice in one process.
//
// It does not check what it reads: the package above puts a checksum on every
// entry and decides what damage means.
package storage

import (
	"errors"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// ErrLocked reports that another process has the folder open.
var ErrLocked = errors.New("folder is in use by another process")

// ErrDamaged reports that a file is there and can be read, and makes no sense.
var ErrDamaged = errors.New("file is damaged")

// Disk is a place where a server's state lies.
type Disk interface {
	// Open takes the place for this process, until Stores.Close.
	Open(log hclog.Logger) (*Stores, error)
}

// Stores is an open Disk.
type Stores struct {
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	// DropSnapshot removes one snapshot.
	DropSnapshot func(id string) error
	// ReadNote returns the small text kept beside the log, nil if there is none.
	ReadNote func() ([]byte, error)
	// WriteNote replaces it; it is durable when WriteNote returns.
	WriteNote func([]byte) error
	// Close gives everything back.
	Close func() error
}

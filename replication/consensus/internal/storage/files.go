package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"preau/cache/block/lockfile"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The kinds of log that Files can keep.
const (
	WAL  = "wal"
	Bolt = "bolt"
)

const (
	snapshotsKept = 2
	notePath      = "server.json"
	lockPath      = "lock"
	boltLogPath   = "log.db"
	walLogPath    = "log"
	stablePath    = "vote.db"
)

// Files is a Disk in one folder.
type Files struct {
	Dir  string
	Kind string // WAL or Bolt
}

// Open implements Disk.
func (f Files) Open(log hclog.Logger) (s *Stores, err error) {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, err
	}
	var undo closers
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.close())
		}
	}()
	unlock, err := lock(filepath.Join(f.Dir, lockPath))
	if err != nil {
		return nil, err
	}
	undo = append(undo, unlock)
	if err := f.refuseOtherKind(); err != nil {
		return nil, err
	}

	stable, err := openBolt(filepath.Join(f.Dir, stablePath))
	if err != nil {
		return nil, fmt.Errorf("open the vote: %w", hurt(err))
	}
	undo = append(undo, stable.Close)
	var logs raft.LogStore
	if f.Kind == Bolt {
		db, err := openBolt(filepath.Join(f.Dir, boltLogPath))
		if err != nil {
			return nil, fmt.Errorf("open the log: %w", hurt(err))
		}
		logs = db
		undo = append(undo, db.Close)
	} else {
		w, err := openWAL(filepath.Join(f.Dir, walLogPath), log)
		if err != nil {
			return nil, fmt.Errorf("open the log: %w", hurt(err))
		}
		logs = w
		undo = append(undo, w.Close)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(f.Dir, snapshotsKept, log)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	dir := filepath.Join(f.Dir, "snapshots")
	if err := dropUnfinished(dir); err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	return &Stores{
		Logs:         logs,
		Stable:       stable,
		Snapshots:    snapshots,
		DropSnapshot: func(id string) error { return removeDir(dir, id) },
		ReadNote:     f.readNote,
		WriteNote:    f.writeNote,
		Close:        undo.close,
	}, nil
}

// refuseOtherKind keeps a changed setting from starting with an empty log
// beside the real one.
func (f Files) refuseOtherKind() error {
	other, mine := walLogPath, Bolt
	if f.Kind != Bolt {
		other, mine = boltLogPath, WAL
	}
	if _, err := os.Stat(filepath.Join(f.Dir, other)); err == nil {
		return fmt.Errorf("%s has a log of another kind than %q: set the store back to what it was", f.Dir, mine)
	}
	return nil
}

func (f Files) readNote() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(f.Dir, notePath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (f Files) writeNote(b []byte) error {
	path := filepath.Join(f.Dir, notePath)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	tmp, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(f.Dir)
	}
	return err
}

// hurt says that an error is damage, unless it is the system's, which could not
// give us the file, or not yet.
func hurt(err error) error {
	if _, system := errors.AsType[syscall.Errno](err); system || errors.Is(err, berrors.ErrTimeout) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// openBolt opens a bbolt file; bbolt panics on some kinds of damage.
func openBolt(path string) (s *raftboltdb.BoltStore, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", path, p)
		}
	}()
	return raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		BoltOptions:             &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
		MsgpackUseNewTimeFormat: true,
	})
}

// dropUnfinished removes what a crash left in the middle of a snapshot: raft
// only warns about it, for ever, and it takes room.
func dropUnfinished(dir string) error {
	all, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return err
	}
	for _, path := range all {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// removeDir removes parent/name in such a way that a crash leaves it either
// whole or recognisably unfinished.
func removeDir(parent, name string) error {
	gone := filepath.Join(parent, name+".tmp")
	if err := os.Rename(filepath.Join(parent, name), gone); err != nil {
		return err
	}
	return errors.Join(syncDir(parent), os.RemoveAll(gone))
}

func lock(path string) (func() error, error) {
	l, err := lockfile.Take(path)
	if errors.Is(err, lockfile.ErrHeld) {
		return nil, fmt.Errorf("%s: %w", filepath.Dir(path), ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return l.Close, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// closers are closed in reverse order, once.
type closers []func() error

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}

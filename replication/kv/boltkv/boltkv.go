// Package boltkv keeps a kv.Store in one bbolt file.
//
// An update is one bbolt transaction: its pages are written and synced before
// the page that makes them count, so that a kill or a power cut leaves all of
// it or nothing. What bbolt does not do is done here:
//
//   - Every value carries a CRC-32C over its key and itself, and the file the
//     number of its records and the sum of those checksums. Open reads the
//     whole file with its own careful parser before bbolt sees a byte of it, so
//     that damage on disk is an error and neither a crash nor a missing key.
//     Check does the same on a store in use. Damage that appears between the
//     two is found when a value is read, and by the next Check.
//   - A panic or a memory fault under bbolt becomes kv.ErrDamaged.
//   - A full disk is kv.ErrFull and nothing worse. After any other failure to
//     write, what the disk holds is in doubt: the store refuses all use until
//     it is opened again.
//   - The memory map has its full size from the start (address space, not
//     memory), because bbolt cannot enlarge it while a view is open.
//
// What a view costs: bbolt reuses a page only when no view needs it, and pages
// added to the end of the file while a view is open stay taken until it is
// closed. The store keeps an eighth of the file (1 to 64 MiB) free for updates
// to circulate in, so that a view over a set of keys that is rewritten again
// and again costs nothing more, and one over random updates at most about
// what is written meanwhile. Config.MaxBytes is the hard limit. Space is
// reused, and given back to the disk only by Replace.
//
// It will not repair a file, nor open one in two processes.
package boltkv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"preau/cache/block/lockfile"
	"preau/replication/kv"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// advice ends every message about damage: this state has other copies.
const advice = "stop, remove this file and start again: it is rebuilt from the snapshot and the log, or from another server"

var (
	errClosed = errors.New("kv store is closed")
	// ErrLocked reports that another process has the file.
	ErrLocked = lockfile.ErrHeld
)

// Config holds what may be tuned. Start from DefaultConfig.
type Config struct {
	// LockTimeout is how long Open waits for another process to let go.
	LockTimeout time.Duration
	// MaxBytes is the length the file may reach; updates get kv.ErrFull then.
	// So much address space (and 1 GiB more) is taken at once.
	MaxBytes int64
}

// DefaultConfig returns what a region server uses.
func DefaultConfig() Config {
	return Config{LockTimeout: 5 * time.Second, MaxBytes: 16 * gib}
}

// Validate reports every mistake in c.
func (c Config) Validate() error {
	var errs []error
	if c.LockTimeout < 0 {
		errs = append(errs, fmt.Errorf("lock timeout %s: must not be negative", c.LockTimeout))
	}
	if c.MaxBytes < 16*mib || c.MaxBytes > 1<<40 {
		errs = append(errs, fmt.Errorf("max bytes %d: want 16 MiB to 1 TiB", c.MaxBytes))
	}
	return errors.Join(errs...)
}

// Store is a kv.Store in a file.
type Store struct {
	path string
	cfg  Config
	lock *lockfile.Lock

	writer sync.Mutex // held by Update, Replace and Close

	mu     sync.Mutex
	cur    *file
	views  int       // open, over all files
	idle   sync.Cond // views is 0; on mu
	closed bool
	broken error // why the store can't be used any more
}

var _ kv.Store = (*Store)(nil)

// Open opens the store in the file at path, and makes both the file and its
// folder if they are not there. Errors: ErrLocked, kv.ErrDamaged, kv.ErrFull, the disk's.
func Open(path string, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("boltkv config: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	lock, err := lockFile(path+".lock", cfg.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{path: path, cfg: cfg, lock: lock}
	s.idle.L = &s.mu
	if s.cur, err = s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), lock.Close())
	}
	return s, nil
}

// start opens the file, or makes an empty one. The lock is held.
func (s *Store) start() (*file, error) {
	// A Replace that was killed leaves this behind.
	if err := os.Remove(s.path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	switch _, err := os.Stat(s.path); {
	case errors.Is(err, fs.ErrNotExist):
		f, err := s.build(func(func(k, v []byte) error) error { return nil })
		if err != nil {
			return nil, err
		}
		if err := s.install(); err != nil {
			return nil, errors.Join(err, f.close())
		}
		return f, nil
	case err != nil:
		return nil, err
	}
	if err := verifyFile(s.path); err != nil {
		return nil, err
	}
	f, err := openFile(s.path, s.cfg.MaxBytes, false)
	if err != nil {
		return nil, err
	}
	if err := f.keepSpare(s.path); err != nil && !errors.Is(err, kv.ErrFull) {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// lockFile takes the lock that keeps other processes out. The lock is on a file
// of its own because Replace puts another inode at the store's path.
func lockFile(path string, wait time.Duration) (*lockfile.Lock, error) {
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		l, err := lockfile.Take(path)
		if !errors.Is(err, ErrLocked) || time.Since(start) >= wait {
			return l, err
		}
	}
}

// usable returns why the store can't be used, if so. mu is held.
func (s *Store) usable() error {
	if s.closed {
		return errClosed
	}
	return s.broken
}

// fail makes the store refuse all use from now on.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("%s: a write failed earlier, open the store again: %w", s.path, err)
	}
	return err
}

// Size implements kv.Store.
func (s *Store) Size() int64 { return s.Stats().FileBytes }

// Stats says how the file's bytes are used.
type Stats struct {
	FileBytes    int64 // on disk
	FreeBytes    int64 // for updates to use
	PendingBytes int64 // no longer part of the content; free once views close
	Views        int   // open
}

// Stats returns zeros for a closed store.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Stats{}
	}
	st := Stats{Views: s.views}
	if fi, err := s.cur.f.Stat(); err == nil {
		st.FileBytes = fi.Size()
		if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
			st.FileBytes = int64(sys.Blocks) * 512
		}
	}
	db := s.cur.db.Stats()
	st.FreeBytes = int64(db.FreePageN) * s.cur.pageSize
	st.PendingBytes = int64(db.PendingPageN) * s.cur.pageSize
	return st
}

// Close implements kv.Store.
func (s *Store) Close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	for s.views > 0 {
		s.idle.Wait()
	}
	if err := errors.Join(s.cur.close(), s.lock.Close()); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// file is one open bbolt file. Replace makes another one.
type file struct {
	db       *bbolt.DB
	f        *os.File // bbolt's own; ours to close if bbolt no longer can
	pageSize int64
	maxBytes int64
	views    int  // open; under Store.mu
	retired  bool // replaced: closed with the last view
	stuck    bool // bbolt holds a lock that nobody will release
}

// openFile opens path in bbolt. bulk leaves out all syncing.
func openFile(path string, maxBytes int64, bulk bool) (*file, error) {
	f := &file{maxBytes: maxBytes}
	opts := &bbolt.Options{
		Timeout: time.Second,
		// The free list is rebuilt from the tree that Open has checked, which
		// costs less than writing it at every update, and a damaged one would
		// have bbolt overwrite pages in use.
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: int(maxBytes + gib),
		NoSync:          bulk,
		NoGrowSync:      bulk,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			f.f, err = os.OpenFile(name, flag, mode)
			return f.f, err
		},
	}
	if err := guard(path, func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, opts)
		return err
	}); err != nil {
		if f.f != nil {
			_ = f.f.Close() //nolint:errcheck // bbolt has closed it, unless it panicked
		}
		return nil, full(err)
	}
	f.pageSize = int64(f.db.Info().PageSize)
	return f, nil
}

func (f *file) close() error {
	if f.stuck {
		return f.f.Close()
	}
	return guard(f.f.Name(), f.db.Close)
}

// Package lockfile keeps other processes out of a folder: whoever has the lock on a
// file in it may write there. The lock is the kernel's, so it is gone when the process
// is, however that ended.
//
// It waits for nobody, and keeps apart those only who use it.
package lockfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrHeld reports that somebody else has the lock.
var ErrHeld = errors.New("in use by another process: stop that one first")

// Lock is a lock that is held.
type Lock struct{ f *os.File }

// Take takes the lock on the file at path, which is made if it is not there. The
// error is ErrHeld if somebody else has it.
func Take(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &Lock{f}, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrHeld
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
}

// Close gives the lock up. To close the file would not be enough: a program that this
// process is just starting has all its files for a moment, this one too, and the lock
// would be held until it is under way.
func (l *Lock) Close() error {
	err := unix.Flock(int(l.f.Fd()), unix.LOCK_UN)
	return errors.Join(err, l.f.Close())
}

package boltkv

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"

	"preau/replication/kv"
)

// guard runs fn, which must be a call into bbolt and run nobody else's code.
// bbolt panics when a page makes no sense, and follows lengths and page numbers
// that it has not checked into memory that is not there; both are turned into
// kv.ErrDamaged here.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, fmt.Sprint(r))
		}
	}()
	return fn()
}

func damaged(path, what string) error {
	return fmt.Errorf("%w: %s: %s; %s", kv.ErrDamaged, path, what, advice)
}

// full marks errors that only more room on the disk can mend.
func full(err error) error {
	if err == nil {
		return nil
	}
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt keeps only the text of some errors.
		if errors.Is(err, no) || strings.Contains(err.Error(), no.Error()) {
			return fmt.Errorf("%w: %w", kv.ErrFull, err)
		}
	}
	return err
}

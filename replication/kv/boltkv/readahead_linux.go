package boltkv

import (
	"os"

	"golang.org/x/sys/unix"
)

// readAhead has the kernel fetch all of f from disk in order, where random
// reads would follow.
func readAhead(f *os.File, size int64) {
	_ = unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_WILLNEED) //nolint:errcheck // advice
}

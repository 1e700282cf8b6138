package badgerblock

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// allocate makes sure that the first n bytes of a file can be written whatever
// happens to the disk, without changing its length. A file system that cannot
// do that is no error: the reserve is then all there is.
func allocate(fd uintptr, n int64) error {
	for {
		err := unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, 0, n)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		}
		return err
	}
}

// noCachestat remembers that the kernel lacks the call.
var noCachestat atomic.Bool

// resident reports whether n bytes from off on are all in the page cache.
// known is false where the kernel cannot tell (Linux before 6.5).
func resident(fd uintptr, off, n int64) (yes, known bool) {
	if noCachestat.Load() {
		return false, false
	}
	var out unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &out, 0); err != nil {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
			noCachestat.Store(true)
		}
		return false, false
	}
	page := int64(unix.Getpagesize())
	pages := (off+n+page-1)/page - off/page
	return out.Cache >= uint64(pages), true
}

// forget tells the kernel that n bytes from off on will not be read soon.
func forget(fd uintptr, off, n int64) {
	_ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED) //nolint:errcheck // advice: nothing depends on whether it is taken
}

func statTimes(st *unix.Stat_t) (mtime, ctime int64) { return st.Mtim.Nano(), st.Ctim.Nano() }

// noPageInfo reports whether resident never knows.
func noPageInfo() bool { return noCachestat.Load() }

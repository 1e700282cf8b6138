package fileblock

import (
	"os"

	"golang.org/x/sys/unix"
)

// resident reports whether the first n bytes of f are known to lie in memory,
// all of them. Kernels before 6.5 do not tell.
func resident(f *os.File, n int64) bool {
	var out unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(n)}, &out, 0); err != nil {
		return false
	}
	page := int64(unix.Getpagesize())
	return int64(out.Cache) >= (n+page-1)/page
}

// forget tells the kernel that f will not be read soon, so that the next read
// is from the disk.
func forget(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) //nolint:errcheck // advice
}

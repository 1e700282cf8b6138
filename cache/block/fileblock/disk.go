package fileblock

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// diskSpace returns the bytes that dir's file system has free for us and the
// bytes it has in all.
func diskSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	bs := int64(st.Bsize)
	return int64(st.Bavail) * bs, int64(st.Blocks) * bs, nil
}

// reserveFor is how much of a file system of total bytes is left to others.
func reserveFor(total int64) int64 {
	return min(max(total/50, 64*mib), 1024*mib, total/4)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// fileStat is what changes when somebody writes to a file.
type fileStat struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64
}

func statOf(f *os.File) (fileStat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileStat{}, fmt.Errorf("fstat: %w", err)
	}
	return fileStat{
		dev: uint64(st.Dev), ino: st.Ino, size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}, nil
}

// young reports that the file has changed so lately that the next change might
// bear the same time: clocks of file systems tick slowly.
func (s fileStat) young() bool {
	return time.Since(time.Unix(0, s.ctime)) < 50*time.Millisecond
}

package badgerblock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

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
	return min(max(total/50, 64*mib), 1<<30, total/4)
}

// allocated is the disk space of all files under dir. Files that vanish
// meanwhile count nothing.
func allocated(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			sum += int64(st.Blocks) * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return sum, nil
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

func statOf(fd uintptr) (fileStat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		return fileStat{}, fmt.Errorf("fstat: %w", err)
	}
	m, c := statTimes(&st)
	return fileStat{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: m, ctime: c}, nil
}

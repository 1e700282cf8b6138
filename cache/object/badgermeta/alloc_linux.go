package badgermeta

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives the first n bytes of a file their room on the disk without
// changing its length, and makes the file if there is none. done is false
// where the file system has no such thing: the reserve is then all there is.
func allocate(path string, n int64) (done bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return false, nil
		}
		return false, err
	}
}

package enrol

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// readFile reads a small file.
func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.Name(), maxFile)
	}
	return b, nil
}

// writeFile replaces a file that its owner alone may read. After a power cut
// either the old or the new content is there, whole.
func writeFile(dir, name string, b []byte) (err error) {
	f, err := os.CreateTemp(dir, "."+name+"-*") // with mode 0600
	if err != nil {
		return err
	}
	written := false
	defer func() {
		if !written {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	written = true
	return syncDir(dir)
}

func rename(dir, from, to string) error {
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package badgermeta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// sumsFile lists a checksum of every table of the tree. Badger's own checks
// come after it has followed lengths and offsets that may be wrong, in
// goroutines of its own, where a panic can't be caught: a damaged table must
// be found before Badger sees it. Tables never change once they are written.
const sumsFile = "sums"

// sums keeps the checksums of the tables in a folder.
type sums struct {
	dir   string
	known map[string]uint64
}

// verify reads every table that has a checksum and returns the first that does
// not match. A damaged list is no list: then nothing is known of the tables.
func verify(dir string) (*sums, error) {
	s := &sums{dir: dir, known: map[string]uint64{}}
	b, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return s, nil // none yet, or one that can't be read
	}
	body, last, ok := bytes.Cut(b, []byte("sum "))
	if !ok || fmt.Sprintf("%016x\n", xxhash.Sum64(body)) != string(last) {
		return s, nil
	}
	for line := range strings.Lines(string(body)) {
		var name string
		var want uint64
		if _, err := fmt.Sscanf(line, "%s %x\n", &name, &want); err != nil || name != filepath.Base(name) {
			continue
		}
		got, err := hashFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // merged into another since
		case err != nil:
			return s, fmt.Errorf("read table %s: %w", name, err)
		case got != want:
			return s, fmt.Errorf("table %s is damaged", name)
		default:
			s.known[name] = want
		}
	}
	return s, nil
}

func hashFile(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	h := xxhash.New()
	if _, err := io.Copy(h, f); err != nil {
		return 0, err
	}
	return h.Sum64(), nil
}

// update brings the list up to date with the tables that are there.
func (s *sums) update() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.sst"))
	if err != nil {
		return err
	}
	changed := false
	now := make(map[string]uint64, len(names))
	for _, path := range names {
		name := filepath.Base(path)
		sum, ok := s.known[name]
		if !ok {
			if sum, err = hashFile(path); err != nil {
				continue // merged away while we looked
			}
			changed = true
		}
		now[name] = sum
	}
	if !changed && len(now) == len(s.known) {
		return nil
	}
	s.known = now
	var b bytes.Buffer
	for name, sum := range now {
		fmt.Fprintf(&b, "%s %016x\n", name, sum)
	}
	fmt.Fprintf(&b, "sum %016x\n", xxhash.Sum64(b.Bytes()))
	tmp := filepath.Join(s.dir, sumsFile+".new")
	if err := os.WriteFile(tmp, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write checksums: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(s.dir, sumsFile)); err != nil {
		return fmt.Errorf("write checksums: %w", err)
	}
	return nil
}

package badgermeta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	badger "github.com/dgraph-io/badger/v4"
)

// sumsFile lists a checksum of every table of the tree. Badger's own checks
// come after it has followed lengths and offsets that may be wrong, in
// goroutines of its own, where a panic can't be caught: a damaged table must
// be found before Badger sees it. Tables never change once they are written.
//
// The list also tells how much of MANIFEST there was and its checksum: Badger
// takes one that was cut for the whole, and what it no longer names for
// rubbish. MANIFEST only grows, but for a rare rewrite; a kill within the
// second after one costs a restore. A folder without its list is not trusted.
const sumsFile = "sums"

// How a process left the folder, in the list's "state".
const (
	stateOpen    = "open"    // it died: the records since lie in a log
	stateClosing = "closing" // it died while it closed: maybe they do
	stateClosed  = "closed"  // it closed it: MANIFEST must be exactly what it was
)

// sums keeps the checksums of the tables in a folder.
type sums struct {
	dir      string
	state    string
	manifest int64 // bytes the list tells of
	prefix   uint64
	known    map[string]uint64
	written  []byte // the list as it is on the disk
}

// verify compares the folder with its list and returns the first thing that
// does not match. A damaged list is no list: then nothing is known.
func verify(dir string) (*sums, error) {
	s := &sums{dir: dir, known: map[string]uint64{}}
	b, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return s, fmt.Errorf("read checksums of the metadata: %w", err)
	}
	body, last, ok := bytes.Cut(b, []byte("sum "))
	if !ok || fmt.Sprintf("%016x\n", xxhash.Sum64(body)) != string(last) {
		return s, errors.New("the checksums of the metadata are damaged")
	}
	for line := range strings.Lines(string(body)) {
		if n, err := fmt.Sscanf(line, "manifest %d %x\n", &s.manifest, &s.prefix); err == nil && n == 2 {
			continue
		}
		var name string
		if _, err := fmt.Sscanf(line, "state %s\n", &name); err == nil {
			s.state = name
			continue
		}
		var want uint64
		if _, err := fmt.Sscanf(line, "%s %x\n", &name, &want); err != nil || name != filepath.Base(name) {
			continue
		}
		got, err := hashFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && s.state != stateClosed: // merged into another since
		case err != nil:
			return s, fmt.Errorf("read table %s: %w", name, err)
		case got != want:
			return s, fmt.Errorf("table %s is damaged", name)
		default:
			s.known[name] = want
		}
	}
	if err := s.verifyManifest(); err != nil {
		return s, err
	}
	if s.state == stateClosed {
		return s, nil
	}
	return s, checkLogs(dir, s.state == stateOpen)
}

func (s *sums) verifyManifest() error {
	b, err := os.ReadFile(filepath.Join(s.dir, badger.ManifestFilename))
	switch {
	case err != nil:
		return fmt.Errorf("read manifest of the metadata: %w", err)
	case int64(len(b)) < s.manifest, s.manifest == 0:
		return fmt.Errorf("the manifest of the metadata is cut: %d bytes of %d", len(b), s.manifest)
	case xxhash.Sum64(b[:s.manifest]) != s.prefix, s.state == stateClosed && int64(len(b)) > s.manifest:
		return errors.New("the manifest of the metadata is damaged")
	}
	return nil
}

func hashFile(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := xxhash.New()
	if _, err := io.Copy(h, f); err != nil {
		return 0, err
	}
	return h.Sum64(), nil
}

// tablesOf names the tables that are part of the tree: files that are still
// being written are not.
func tablesOf(db *badger.DB) []string {
	var names []string
	for _, t := range db.Tables() {
		names = append(names, tableName(t.ID))
	}
	return names
}

// update brings the list up to date with the tables that there are now.
func (s *sums) update(state string, tables []string) error {
	// MANIFEST first: what is added to it meanwhile is told of the next time.
	if info, err := os.Stat(filepath.Join(s.dir, badger.ManifestFilename)); err != nil {
		return fmt.Errorf("look at manifest: %w", err)
	} else if info.Size() != s.manifest {
		b, err := os.ReadFile(filepath.Join(s.dir, badger.ManifestFilename))
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		s.manifest, s.prefix = int64(len(b)), xxhash.Sum64(b)
	}
	now := make(map[string]uint64, len(tables))
	for _, name := range tables {
		sum, ok := s.known[name]
		if !ok {
			var err error
			if sum, err = hashFile(filepath.Join(s.dir, name)); err != nil {
				continue // merged away while we looked
			}
		}
		now[name] = sum
	}
	s.state, s.known = state, now
	var b bytes.Buffer
	fmt.Fprintf(&b, "state %s\nmanifest %d %016x\n", state, s.manifest, s.prefix)
	for _, name := range slices.Sorted(maps.Keys(now)) {
		fmt.Fprintf(&b, "%s %016x\n", name, now[name])
	}
	fmt.Fprintf(&b, "sum %016x\n", xxhash.Sum64(b.Bytes()))
	if bytes.Equal(b.Bytes(), s.written) {
		return nil
	}
	if err := s.write(b.Bytes()); err != nil {
		return fmt.Errorf("write checksums: %w", err)
	}
	s.written = b.Bytes()
	return nil
}

// write replaces the list; after a power cut it is the old or the new one. A
// disk without the room for a second list has it written over the first: cut
// off in the middle, that one is damaged, and the folder is not trusted.
func (s *sums) write(b []byte) error {
	name := filepath.Join(s.dir, sumsFile)
	tmp := name + ".new"
	err := writeSynced(tmp, b)
	if err == nil {
		return os.Rename(tmp, name)
	}
	if over := writeSynced(name, b); over != nil {
		return errors.Join(err, over)
	}
	return nil
}

// writeSynced makes b a file's content, within the room that the file has
// where it has enough.
func writeSynced(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

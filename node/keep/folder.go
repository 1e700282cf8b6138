package keep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	// MaxSize is how long a record of a folder may be on the disk.
	MaxSize = 256 << 10

	damaged = ".damaged"
	ending  = ".json"
)

// Errors of records.
var (
	ErrName   = errors.New("a record can't have that name")
	ErrTooBig = errors.New("the record is too large")
)

// Folder is where records lie. Its methods may be called concurrently, but for
// two that write or remove the same record.
type Folder struct {
	dir string
	log *slog.Logger
}

// Open makes the folder if it is not there, and removes what was half written.
func Open(dir string, log *slog.Logger) (*Folder, error) {
	if err := Dir(dir); err != nil {
		return nil, err
	}
	if err := SyncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("sync what is above %s: %w", dir, err)
	}
	half, err := filepath.Glob(filepath.Join(escape(dir), "*"+Half))
	if err != nil {
		return nil, fmt.Errorf("look for what was half written: %w", err)
	}
	for _, name := range half {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove what was half written: %w", err)
		}
	}
	return &Folder{dir, log}, nil
}

// escape keeps the letters of a folder from being read as a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// valid reports whether s may name a record: letters, digits, dashes.
func valid(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func (f *Folder) file(name string) string { return filepath.Join(f.dir, name+ending) }

// Write puts a record on the disk in place of the one before, synced.
func (f *Folder) Write(name string, v any) error {
	if !valid(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write record %s: %w", name, err)
	}
	if len(raw) > MaxSize-sumLength {
		return fmt.Errorf("%w: %d bytes", ErrTooBig, len(raw))
	}
	return writeJSON(f.file(name), raw)
}

// Remove removes a record, for good when it returns. That there is none is no
// error.
func (f *Folder) Remove(name string) error {
	if !valid(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	if err := Remove(f.file(name)); err != nil {
		return fmt.Errorf("remove record %s: %w", name, err)
	}
	return nil
}

// Load reads all records of a folder. What can't be read, or is refused by check,
// is put aside.
func Load[T any](f *Folder, check func(name string, v T) error) (map[string]T, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("read folder of records: %w", err)
	}
	out := map[string]T{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ending)
		if !ok || e.IsDir() {
			continue
		}
		var v T
		err := Read(f.file(name), MaxSize, &v)
		if err == nil {
			err = check(name, v)
		}
		if err == nil {
			out[name] = v
			continue
		}
		f.log.Error("a record can't be read and is put aside: copy its folder before anything else, and ask for help", "file", f.file(name), "err", err)
		if err := os.Rename(f.file(name), f.file(name)+damaged); err != nil {
			return nil, fmt.Errorf("put damaged record aside: %w", err)
		}
	}
	return out, nil
}

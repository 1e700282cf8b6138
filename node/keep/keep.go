// Package keep writes small records so that kill -9 or a power cut leaves each of
// them as it was before or as it is after, and reads them so that one that a disk
// has damaged is known for what it is.
//
// A record is JSON below a line with its SHA-256, in a file that only its owner
// can read. What a later version has put into one is passed over. A Folder has one
// for each of some thousands of things, and puts aside what it can't read. Bulk is
// not for the package, nor anything that more than one process writes; it keeps
// nothing in memory and decides nothing about what records mean.
package keep

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Half ends the name of a record that is being written. One that is found at a
// start is what a power cut left: it can be removed.
const Half = ".new"

// sumLength is what stands before the JSON: the sum in hexadecimal, and a line
// feed.
const sumLength = 2*sha256.Size + 1

// ErrDamaged is a record that can't be what was written.
var ErrDamaged = errors.New("the record is damaged")

// Dir makes a folder that only its owner can look into.
func Dir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder %s: %w", dir, err)
	}
	return nil
}

// Write puts v in the file name, synced, in one step.
func Write(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return writeJSON(name, raw)
}

func writeJSON(name string, raw []byte) error {
	sum := sha256.Sum256(raw)
	p := append(hex.AppendEncode(make([]byte, 0, len(raw)+65), sum[:]), '\n')
	if err := replace(name, append(p, raw...)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func replace(name string, p []byte) (err error) {
	half := name + Half
	f, err := os.OpenFile(half, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(half))
		}
	}()
	_, err = f.Write(p)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(half, name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir has the names in a folder on the disk.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Remove removes a file for good. That there is none is fine.
func Remove(name string) error {
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// Read reads into v what Write wrote, up to size bytes. Errors: ErrDamaged,
// fs.ErrNotExist, or the disk's.
func Read(name string, size int64, v any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	p, err := io.ReadAll(io.LimitReader(f, size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(p)) > size {
		return fmt.Errorf("read %s: %w: it has more than %d bytes", name, ErrDamaged, size)
	}
	if err := Decode(p, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// Decode reads into v what lies in a record.
func Decode(p []byte, v any) error {
	const digits = sumLength - 1
	if len(p) <= digits || p[digits] != '\n' {
		return fmt.Errorf("%w: it has no checksum", ErrDamaged)
	}
	raw := p[sumLength:]
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != string(p[:digits]) {
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

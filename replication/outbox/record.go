package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
	"preau/replication/hold"
)

const (
	maxRecord = 64 << 10
	halfDone  = ".new"
	damaged   = ".damaged"
)

// write puts what is known of a deposit on the disk, synced.
func (o *Outbox) write(d Deposit) error {
	if err := writeSummed(filepath.Join(o.records(), d.ID), d); err != nil {
		return fmt.Errorf("write deposit %s: %w", d.ID, err)
	}
	return nil
}

// writeSummed writes v with its checksum before it: a disk that lies must not
// rename a deposit.
func writeSummed(name string, v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	sum := block.Sum(raw)
	return writeSynced(name, append(sum[:], raw...))
}

// encode keeps times as they are: by themselves they would lose what is less than
// a second, and two boxes must agree on when a file was added.
func encode(v any) ([]byte, error) {
	mode, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(v)
}

func writeSynced(name string, p []byte) (err error) {
	half := name + halfDone
	f, err := os.OpenFile(half, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(half)))
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
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// load reads what is known of all deposits. One that can't be read is put aside,
// and its blocks stay: somebody may want to look.
func (o *Outbox) load() error {
	return o.loadFolder(o.records(), func(name, id string) error {
		d, err := readSummed(name, decodeDeposit)
		if err != nil {
			return err
		}
		if d.ID != id {
			return fmt.Errorf("it calls itself %q", d.ID)
		}
		if d.Here && !d.List.IsZero() {
			if err := o.index(d); err != nil {
				return err
			}
		}
		o.deposits[d.ID] = &d
		if d.As != "" {
			o.renamed[d.As] = d.ID
		}
		return nil
	})
}

// loadFolder has every record of a folder read, puts those aside that can't be,
// and removes what was half written.
func (o *Outbox) loadFolder(dir string, load func(name, id string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read folder of deposits: %w", err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), halfDone):
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("remove what was half written: %w", err)
			}
			continue
		case strings.HasSuffix(e.Name(), damaged):
			continue
		}
		if err := load(name, e.Name()); err != nil {
			o.log.Error("a deposit can't be read and is put aside: copy the folder of deposits before anything else, and ask for help", "file", name, "err", err)
			if err := os.Rename(name, name+damaged); err != nil {
				return fmt.Errorf("put damaged deposit aside: %w", err)
			}
		}
	}
	return nil
}

// readSummed reads what writeSummed wrote.
func readSummed[T any](name string, decode func([]byte) (T, error)) (v T, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return v, err
	}
	var sum block.Digest
	if info.Size() > maxRecord || info.Size() < int64(len(sum)) {
		return v, fmt.Errorf("it has %d bytes", info.Size())
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return v, err
	}
	copy(sum[:], raw)
	raw = raw[len(sum):]
	if block.Sum(raw) != sum {
		return v, errors.New("its checksum is wrong")
	}
	return decode(raw)
}

func decodeDeposit(raw []byte) (d Deposit, err error) {
	if err := cbor.Unmarshal(raw, &d); err != nil {
		return d, err
	}
	if rank(d.State) > 0 {
		d.Sent = d.Length
	}
	return d, nil
}

// index remembers which blocks a deposit has.
func (o *Outbox) index(d Deposit) error {
	p, err := o.block(d.List)
	if err != nil {
		return fmt.Errorf("list of its blocks: %w", err)
	}
	entries, err := hold.DecodeList(p, d.Length)
	if err != nil {
		return err
	}
	o.lists[d.List] = entries
	return nil
}

// unread reports whether there is a deposit or a guest whose blocks are not known.
func (o *Outbox) unread() (bool, error) {
	dirs := []string{o.records()}
	boxes, err := os.ReadDir(o.guestRecords())
	if err != nil {
		return false, fmt.Errorf("read folder of guests: %w", err)
	}
	for _, e := range boxes {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(o.guestRecords(), e.Name()))
		}
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return false, fmt.Errorf("read folder of deposits: %w", err)
		}
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), damaged) }) {
			return true, nil
		}
	}
	return false, nil
}

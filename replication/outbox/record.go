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
	raw, err := cbor.Marshal(d)
	if err != nil {
		return fmt.Errorf("write deposit %s: %w", d.ID, err)
	}
	sum := block.Sum(raw) // a disk that lies must not rename a deposit
	name := filepath.Join(o.records(), d.ID)
	if err := writeSynced(name, append(sum[:], raw...)); err != nil {
		return fmt.Errorf("write deposit %s: %w", d.ID, err)
	}
	return nil
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
	entries, err := os.ReadDir(o.records())
	if err != nil {
		return fmt.Errorf("read folder of deposits: %w", err)
	}
	for _, e := range entries {
		name := filepath.Join(o.records(), e.Name())
		switch {
		case strings.HasSuffix(e.Name(), halfDone):
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("remove what was half written: %w", err)
			}
			continue
		case strings.HasSuffix(e.Name(), damaged):
			continue
		}
		d, err := read(name, e.Name())
		if err == nil && d.Here && !d.List.IsZero() {
			err = o.index(d)
		}
		if err != nil {
			o.log.Error("a deposit can't be read and is put aside: copy the folder of deposits before anything else, and ask for help", "file", name, "err", err)
			if err := os.Rename(name, name+damaged); err != nil {
				return fmt.Errorf("put damaged deposit aside: %w", err)
			}
			continue
		}
		o.deposits[d.ID] = &d
	}
	return nil
}

func read(name, id string) (Deposit, error) {
	var d Deposit
	info, err := os.Stat(name)
	if err != nil {
		return d, err
	}
	var sum block.Digest
	if info.Size() > maxRecord || info.Size() < int64(len(sum)) {
		return d, fmt.Errorf("it has %d bytes", info.Size())
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return d, err
	}
	copy(sum[:], raw)
	raw = raw[len(sum):]
	if block.Sum(raw) != sum {
		return d, errors.New("its checksum is wrong")
	}
	if err := cbor.Unmarshal(raw, &d); err != nil {
		return d, err
	}
	if d.ID != id {
		return d, fmt.Errorf("it calls itself %q", d.ID)
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

// unread reports whether there is a deposit whose blocks are not known.
func (o *Outbox) unread() (bool, error) {
	entries, err := os.ReadDir(o.records())
	if err != nil {
		return false, fmt.Errorf("read folder of deposits: %w", err)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), damaged) }), nil
}

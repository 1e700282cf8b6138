package outbox

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"preau/replication/hold"
)

// File reads the bytes of a deposit. It is for one goroutine.
type File struct {
	o       *Outbox
	entries []hold.Entry
	ends    []int64 // of the blocks
	at      int64
	length  int64
	held    int // the block that is in buf
	buf     []byte
}

// Open opens a deposit's bytes, or those of a guest, checked block by
// block as they are read. ErrNotFound if the box does not know it or has
// given the bytes up.
func (o *Outbox) Open(id string) (*File, Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.deposits[id]
	if !ok || !d.Here {
		if d = o.guests.find(id); d == nil {
			return nil, Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
		}
	}
	f := &File{o: o, entries: o.lists[d.List], length: d.Length, held: -1}
	end := int64(0)
	for _, e := range f.entries {
		end += int64(e.Length)
		f.ends = append(f.ends, end)
	}
	return f, o.shown(d), nil
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.length
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a deposit")
	}
	f.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	if f.at >= f.length {
		return 0, io.EOF
	}
	i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > f.at })
	if i != f.held {
		b, err := f.o.block(f.entries[i].Digest)
		if err != nil {
			return 0, fmt.Errorf("read deposit: %w", err)
		}
		f.buf, f.held = b, i
	}
	n := copy(p, f.buf[int64(len(f.buf))-(f.ends[i]-f.at):])
	f.at += int64(n)
	return n, nil
}

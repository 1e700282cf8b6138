package catalogue

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// A snapshot is the rows of the store in the order of their keys, between a
// head and a sum:
//
//	"PREAUCAT" layout(1) version(1) index(8) term(8)
//	{ length of key (uvarint, not 0), length of value (uvarint), key, value }
//	0 number of rows(8) SHA-256 of all before it(32)
//
// Equal states make equal bytes.
const (
	magic      = "PREAUCAT"
	headLength = len(magic) + 18
	maxRowKey  = 2*MaxIDBytes + 4
	maxRow     = 256 << 10
	maxWhole   = 64 << 30 // bytes, of all rows
)

// Snapshot is a view that can be written out.
type Snapshot struct{ view *View }

// Snapshot opens a snapshot of what the latest Apply left. It must be closed.
func (s *State) Snapshot() (*Snapshot, error) {
	v, err := s.View()
	if err != nil {
		return nil, err
	}
	return &Snapshot{v}, nil
}

// Applied is the latest entry in the snapshot.
func (s *Snapshot) Applied() (index, term uint64) { return s.view.Applied() }

// Close lets the snapshot go.
func (s *Snapshot) Close() error { return s.view.Close() }

// WriteTo writes the snapshot. It may be called again.
func (s *Snapshot) WriteTo(to io.Writer) (int64, error) {
	sum := sha256.New()
	c := &counting{w: to}
	w := bufio.NewWriterSize(io.MultiWriter(c, sum), 64<<10)
	m := s.view.meta
	head := append([]byte(magic), layout, max(m.Version, 1))
	head = binary.BigEndian.AppendUint64(head, m.Index)
	head = binary.BigEndian.AppendUint64(head, m.Term)
	_, bad := w.Write(head)
	rows := uint64(0)
	var lengths []byte
	err := s.view.view.Scan(nil, nil, func(key, value []byte) bool {
		rows++
		lengths = binary.AppendUvarint(lengths[:0], uint64(len(key)))
		lengths = binary.AppendUvarint(lengths, uint64(len(value)))
		for _, p := range [][]byte{lengths, key, value} {
			if bad == nil {
				_, bad = w.Write(p)
			}
		}
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return c.n, fmt.Errorf("write snapshot: %w", err)
	}
	_, err = w.Write(binary.BigEndian.AppendUint64([]byte{0}, rows))
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = c.Write(sum.Sum(nil))
	}
	if err != nil {
		return c.n, fmt.Errorf("write snapshot: %w", err)
	}
	return c.n, nil
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Restore replaces the state by a snapshot's, all of it or nothing: until all
// was read, checked and made durable, the state is the old one. Errors:
// ErrDamaged, ErrNewer, r's, the store's.
func (s *State) Restore(r io.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &incoming{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), s: s}
	err := s.store.Replace(func(put func(key, value []byte) error) error {
		in.seen, in.meta = map[CommandID]uint64{}, meta{}.clone()
		return in.read(put)
	})
	if err != nil {
		return fmt.Errorf("restore snapshot: %w; the old state stays", err)
	}
	s.seen = in.seen
	s.at.Lock()
	s.meta = in.meta
	s.at.Unlock()
	return nil
}

// incoming is a snapshot that is being read.
type incoming struct {
	r    *bufio.Reader
	sum  hash.Hash
	s    *State
	seen map[CommandID]uint64
	meta meta
	has  bool // meta
	size int64
	one  [1]byte
}

// take reads len(p) bytes and counts them in the sum.
func (in *incoming) take(p []byte) error {
	if _, err := io.ReadFull(in.r, p); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: the snapshot is cut short; take it from another server", ErrDamaged)
		}
		return err
	}
	_, err := in.sum.Write(p)
	return err
}

// ReadByte is for binary.ReadUvarint.
func (in *incoming) ReadByte() (byte, error) {
	err := in.take(in.one[:])
	return in.one[0], err
}

func (in *incoming) read(put func(key, value []byte) error) error {
	head := make([]byte, headLength)
	if err := in.take(head); err != nil {
		return err
	}
	at := head[len(magic):]
	switch {
	case string(head[:len(magic)]) != magic:
		return fmt.Errorf("%w: this is no snapshot of a catalogue", ErrDamaged)
	case at[0] > layout || at[1] > in.s.reads:
		return fmt.Errorf("its layout is version %d and its entries %d, this program knows up to %d and %d; upgrade this server: %w", at[0], at[1], layout, in.s.reads, ErrNewer)
	case at[0] != layout:
		return fmt.Errorf("%w: it has layout %d, which there never was", ErrDamaged, at[0])
	}
	rows, err := in.rows(put)
	if err != nil {
		return err
	}
	if err := in.end(rows); err != nil {
		return err
	}
	fits := in.meta.Index == binary.BigEndian.Uint64(at[2:]) && in.meta.Term == binary.BigEndian.Uint64(at[10:]) &&
		at[1] == max(in.meta.Version, 1) && (rows == 0 || in.has)
	if !fits {
		return fmt.Errorf("%w: its head and its rows don't fit together", ErrDamaged)
	}
	return nil
}

func (in *incoming) rows(put func(key, value []byte) error) (uint64, error) {
	var last, key, value []byte
	for n := uint64(0); ; n++ {
		kl, err := in.length(maxRowKey)
		if err != nil || kl == 0 {
			return n, err
		}
		vl, err := in.length(maxRow)
		if err != nil {
			return n, err
		}
		if in.size += int64(kl + vl); in.size > maxWhole {
			return n, fmt.Errorf("%w: it never ends", ErrDamaged)
		}
		key, value = sized(key, kl), sized(value, vl)
		if err := errors.Join(in.take(key), in.take(value)); err != nil {
			return n, err
		}
		if bytes.Compare(key, last) <= 0 {
			return n, fmt.Errorf("%w: row %d is out of order", ErrDamaged, n)
		}
		last = append(last[:0], key...)
		if err := in.note(key, value); err != nil {
			return n, err
		}
		if err := put(key, value); err != nil {
			return n, err
		}
	}
}

func sized(p []byte, n int) []byte {
	if cap(p) < n {
		return make([]byte, n, 2*n)
	}
	return p[:n]
}

func (in *incoming) length(most uint64) (int, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return 0, err
	}
	if n > most {
		return 0, fmt.Errorf("%w: a row claims %d bytes, the most is %d", ErrDamaged, n, most)
	}
	return int(n), nil
}

// note keeps what is held in memory too.
func (in *incoming) note(key, value []byte) (err error) {
	switch key[0] {
	case rowMeta:
		if len(key) != 1 {
			return fmt.Errorf("%w: a row of no known sort", ErrDamaged)
		}
		in.has = true
		in.meta, err = parseMeta(value, in.s.reads)
	case rowCommand:
		if len(in.seen) > int(in.s.remember) {
			return fmt.Errorf("%w: it remembers too many commands", ErrDamaged)
		}
		err = remembered(key, value, in.seen)
	case rowRecord, rowPlace, rowRef, rowPopular, rowContact:
	default:
		err = fmt.Errorf("%w: a row of no known sort", ErrDamaged)
	}
	return err
}

func (in *incoming) end(rows uint64) error {
	var n [8]byte
	if err := in.take(n[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(n[:]) != rows {
		return fmt.Errorf("%w: it has %d rows and says otherwise", ErrDamaged, rows)
	}
	want := in.sum.Sum(nil)
	got := make([]byte, len(want))
	if err := in.take(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its bytes are not those that were written; take it from another server", ErrDamaged)
	}
	switch _, err := in.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: something comes after its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

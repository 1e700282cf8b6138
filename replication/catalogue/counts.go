package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"preau/replication/kv"
)

// Limits of what boxes tell.
const (
	MaxTallies  = 500
	MaxTally    = 100_000 // of one thing at once; more counts as that
	MaxContacts = 4000
)

const (
	step      = int64(6 * time.Hour / time.Millisecond) // in which sums fade
	halving   = 28                                      // steps
	thousand  = 1000
	fullSum   = 1 << 62
	fadedSum  = 100 // below it a sum is forgotten
	heardStep = 10 * time.Minute
)

// fade is 2^(32 - n/halving), rounded. It is written out so that every server
// has the same numbers, whatever its processor makes of fractions.
var fade = [halving]uint64{
	4294967296, 4189949513, 4087499558, 3987554643, 3890053517, 3794936426,
	3702145077, 3611622603, 3523313526, 3437163726, 3353120405, 3271132058,
	3191148437, 3113120524, 3037000500, 2962741714, 2890298656, 2819626929,
	2750683221, 2683425281, 2617811889, 2553802834, 2491358886, 2430441778,
	2371014177, 2313039660, 2256482700, 2201308633,
}

// faded is what is left of a sum after so many steps.
func faded(sum uint64, steps int64) uint64 {
	if steps <= 0 {
		return sum
	}
	weeks := steps / halving
	if weeks >= 64 {
		return 0
	}
	hi, lo := bits.Mul64(sum>>weeks, fade[steps%halving])
	return hi<<32 | lo>>32
}

// tally is a row of popularity.
type tally struct {
	index   uint64
	at      int64 // of the command, in milliseconds since 1970
	sum     uint64
	of      int64 // the time of sum, a whole number of steps
	present bool
}

func parseTally(row []byte) (tally, error) {
	if row == nil {
		return tally{}, nil
	}
	if len(row) != 32 {
		return tally{}, fmt.Errorf("%w: a sum has %d bytes", ErrDamaged, len(row))
	}
	return tally{
		index:   binary.BigEndian.Uint64(row),
		at:      int64(binary.BigEndian.Uint64(row[8:])),
		sum:     binary.BigEndian.Uint64(row[16:]),
		of:      int64(binary.BigEndian.Uint64(row[24:])),
		present: true,
	}, nil
}

func (t tally) row() []byte {
	p := make([]byte, 0, 32)
	p = binary.BigEndian.AppendUint64(p, t.index)
	p = binary.BigEndian.AppendUint64(p, uint64(t.at))
	p = binary.BigEndian.AppendUint64(p, t.sum)
	return binary.BigEndian.AppendUint64(p, uint64(t.of))
}

// sumAt is the sum as of a time. Before the time of the sum it is as it is: a
// server whose clock was ahead costs some fading and nothing else.
func (t tally) sumAt(at int64) uint64 { return faded(t.sum, floorDiv(at, step)-t.of/step) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// add counts n requests more at a time.
func (t tally) add(n uint32, at int64) tally {
	t.sum = min(t.sumAt(at)+min(uint64(n), MaxTally)*thousand, fullSum)
	t.of = max(t.of, floorDiv(at, step)*step)
	t.present = true
	return t
}

func (t tally) record(key string) (Record, error) {
	body, err := encode(Popularity{Key: key, Sum: t.sum, At: time.UnixMilli(t.of).UTC()})
	return Record{Kind: KindPopularity, ID: key, Index: t.index, At: time.UnixMilli(t.at).UTC(), Body: body}, err
}

// row is the row of key as the command leaves it.
func (w *work) row(key string) ([]byte, error) {
	if row, ok := w.rows[key]; ok {
		return row, nil
	}
	return w.b.row(key)
}

func (w *work) count(op Count) error {
	if fault := first(name(op.Box), unless(len(op.Counts) <= MaxTallies, fmt.Sprintf("it has %d counts, the most is %d", len(op.Counts), MaxTallies))); fault != "" {
		return refuse(CodeInvalid, "%s", fault)
	}
	for _, c := range op.Counts {
		if fault := popular(c.Key); fault != "" {
			return refuse(CodeInvalid, "%s", fault)
		}
	}
	if err := w.must(KindBox, op.Box); err != nil {
		return err
	}
	contact, known, err := w.contact(op.Box)
	if err != nil || op.Number <= contact.Counted { // the first is 1
		return err
	}
	if !known {
		contact = Contact{Box: op.Box, At: w.at}
	}
	contact.Counted = op.Number
	if err := w.note(contact, known); err != nil {
		return err
	}
	for _, c := range op.Counts {
		if err := w.tally(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) tally(c Tally) error {
	if c.N == 0 {
		return nil
	}
	key := string(rowPopular) + c.Key
	row, err := w.row(key)
	if err != nil {
		return err
	}
	t, err := parseTally(row)
	if err != nil {
		return err
	}
	if !t.present {
		if int64(w.b.meta.Counts[KindPopularity])+w.counts[KindPopularity] >= MaxPopularity {
			return nil
		}
		w.counts[KindPopularity]++
	}
	t = t.add(c.N, w.at.UnixMilli())
	t.index, t.at = w.index, w.at.UnixMilli()
	w.rows[key] = t.row()
	return nil
}

// heard notes when boxes were last heard of. Boxes that are gone meanwhile are
// passed over, and so is news that is none.
func (w *work) heard(op Seen) error {
	if len(op.Boxes) > MaxContacts {
		return refuse(CodeInvalid, "it names %d boxes, the most is %d", len(op.Boxes), MaxContacts)
	}
	for _, c := range op.Boxes {
		if fault := c.fault(); fault != "" {
			return refuse(CodeInvalid, "%s", fault)
		}
		c.At = milli(c.At)
		if c.At.After(w.at) {
			c.At = w.at
		}
		there, err := w.alive(KindBox, c.Box)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		old, known, err := w.contact(c.Box)
		if err != nil {
			return err
		}
		if known && (c.At.Before(old.At) || c.Index == old.Index && c.Version == old.Version && c.At.Sub(old.At) < heardStep) {
			continue
		}
		c.Counted = old.Counted
		if err := w.note(c, known); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) contact(box string) (Contact, bool, error) {
	row, err := w.row(string(rowContact) + box)
	if err != nil || row == nil {
		return Contact{}, false, err
	}
	r, err := parseRecord(row)
	if err != nil {
		return Contact{}, false, fmt.Errorf("contact %q: %w", box, err)
	}
	c, err := Body[Contact](r)
	return c, err == nil, err
}

func (w *work) note(c Contact, known bool) error {
	body, err := encode(c)
	if err != nil {
		return fmt.Errorf("encode contact: %w", err)
	}
	r := Record{Kind: KindContact, ID: c.Box, Index: w.index, At: w.at, Body: body}
	w.rows[string(rowContact)+c.Box] = r.row()
	w.counts[KindContact] += count(!known)
	return nil
}

// forget lets go of what is noted of a box.
func (w *work) forget(box string) error {
	key := string(rowContact) + box
	row, err := w.row(key)
	if err != nil || row == nil {
		return err
	}
	w.rows[key] = nil
	w.counts[KindContact]--
	return nil
}

// counted is a counter's record as a view has it.
func counted(r kv.Reader, k Kind, id string) (Record, error) {
	prefix := string(rowPopular)
	if k == KindContact {
		prefix = string(rowContact)
	}
	row, err := r.Get([]byte(prefix + id))
	if errors.Is(err, kv.ErrNotFound) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, err
	}
	return parseCounted(k, id, row)
}

func parseCounted(k Kind, id string, row []byte) (Record, error) {
	if k == KindContact {
		return parseRecord(row)
	}
	t, err := parseTally(row)
	if err != nil {
		return Record{}, err
	}
	return t.record(id)
}

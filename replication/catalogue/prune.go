package catalogue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// maxWalk bounds the rows that one Prune looks at, of each sort. It goes on
// where the one before stopped.
const maxWalk = 100_000

// prune forgets. It stands alone in its command and can't be refused once it
// has begun, so it works on the store itself.
func (w *work) prune(op Prune, r *Result) error {
	before := milli(op.Before)
	if before.IsZero() || before.After(w.at) || when(before) != "" {
		return refuse(CodeInvalid, "it must be of a time before now")
	}
	b := w.b
	if err := b.write(); err != nil {
		return err
	}
	m := marks{b: b, before: before.UnixMilli(), rows: map[string][]byte{}}
	if err := m.walk(); err != nil {
		return err
	}
	if m.floor > b.meta.Floor {
		b.meta.Floor, b.meta.FloorTime = m.floor, before
	}
	b.meta.Walked = max(b.meta.Walked, m.walked)
	more, err := m.unpopular(w.at.UnixMilli())
	if err != nil {
		return err
	}
	if m.more || more {
		r.Detail = "there is more to prune"
	}
	maps.Copy(b.rows, m.rows)
	clear(b.stands) // some stand there no longer
	return nil
}

// marks is one walk along the change index, from where the one before stopped
// to the first record that is not old enough.
type marks struct {
	b      *batch
	before int64
	rows   map[string][]byte
	floor  uint64 // of the latest that was forgotten
	walked uint64
	seen   int
	more   bool
}

func (m *marks) walk() error {
	var bad error
	after := []byte(place{m.b.meta.Walked, math.MaxUint32}.key())
	err := m.b.tx.Scan([]byte{rowRecord}, after, func(key, value []byte) bool {
		var goOn bool
		goOn, bad = m.look(key, value)
		return goOn && bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

func (m *marks) look(key, value []byte) (bool, error) {
	r, err := parseRecord(value)
	if err != nil || len(key) != 13 || r.Index != binary.BigEndian.Uint64(key[1:]) {
		return false, fmt.Errorf("%w: the record at % x", ErrDamaged, key)
	}
	if r.At.UnixMilli() >= m.before {
		return false, nil
	}
	if m.seen++; m.seen > m.b.s.walk && r.Index != m.walked {
		m.more = true
		return false, nil
	}
	m.walked = r.Index
	switch {
	case r.Deleted || r.Kind == KindPurge:
		m.rows[string(key)] = nil
		m.rows[placeKey(r.Kind, r.ID)] = nil
		if !r.Deleted {
			m.b.meta.count(r.Kind, -1)
		}
	case r.AllFormer || len(r.Former) > 0:
		r.Former, r.AllFormer = nil, false
		m.rows[string(key)] = r.row()
	default:
		return true, nil
	}
	m.floor = r.Index
	return true, nil
}

// unpopular forgets sums that have faded away.
func (m *marks) unpopular(now int64) (more bool, err error) {
	var bad error
	looked := 0
	after := m.b.meta.Faded
	m.b.meta.Faded = nil
	err = m.b.tx.Scan([]byte{rowPopular}, after, func(key, value []byte) bool {
		if looked++; looked > m.b.s.walk {
			more = true
			return false
		}
		var t tally
		if t, bad = parseTally(value); bad != nil {
			return false
		}
		if t.sumAt(now) < fadedSum {
			m.rows[string(key)] = nil
			m.b.meta.count(KindPopularity, -1)
		}
		if looked == m.b.s.walk {
			m.b.meta.Faded = slices.Clone(key)
		}
		return true
	})
	if !more {
		m.b.meta.Faded = nil
	}
	if err == nil {
		err = bad
	}
	return more, err
}

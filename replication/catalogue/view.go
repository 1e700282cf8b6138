package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"preau/replication/kv"
)

// View is the catalogue as it was after one entry. It may be held while
// entries are applied, read by several goroutines, and must be closed.
type View struct {
	view kv.View
	meta meta
}

// View opens a view of what the latest Apply left.
func (s *State) View() (*View, error) {
	view, err := s.store.View()
	if err != nil {
		return nil, fmt.Errorf("view catalogue: %w", err)
	}
	m, err := readMeta(view, s.reads)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("view catalogue: %w", err), view.Close())
	}
	return &View{view, m}, nil
}

// Close lets the view go.
func (v *View) Close() error { return v.view.Close() }

// Applied is the latest entry in the view, 0 for none.
func (v *View) Applied() (index, term uint64) { return v.meta.Index, v.meta.Term }

// Floor is the index up to which some marks of deletions are forgotten: who
// has followed less far, but not nothing, needs a snapshot.
func (v *View) Floor() uint64 { return v.meta.Floor }

// FloorTime is the time before which purges and marks are forgotten. Who needs
// a snapshot can't know of them, and must not trust what it stored earlier.
func (v *View) FloorTime() time.Time { return v.meta.FloorTime }

// Counts is how many living records there are of each kind.
func (v *View) Counts() map[Kind]uint64 { return maps.Clone(v.meta.Counts) }

// Get returns a living record. Errors: ErrNotFound, ErrDamaged, the store's.
func (v *View) Get(k Kind, id string) (Record, error) {
	if k.counter() {
		r, err := counted(v.view, k, id)
		if err != nil {
			return r, fmt.Errorf("get %s %q: %w", k, id, err)
		}
		return r, nil
	}
	row, err := v.view.Get([]byte(placeKey(k, id)))
	if errors.Is(err, kv.ErrNotFound) {
		return Record{}, fmt.Errorf("get %s %q: %w", k, id, ErrNotFound)
	}
	if err != nil {
		return Record{}, fmt.Errorf("get %s %q: %w", k, id, err)
	}
	return v.at(k, id, row)
}

func (v *View) at(k Kind, id string, row []byte) (Record, error) {
	at, dead, err := parsePlace(row)
	if err == nil && dead {
		err = ErrNotFound
	}
	if err != nil {
		return Record{}, fmt.Errorf("get %s %q: %w", k, id, err)
	}
	if row, err = v.view.Get([]byte(at.key())); err != nil {
		return Record{}, fmt.Errorf("get %s %q: %w: %w", k, id, ErrDamaged, err)
	}
	r, err := parseRecord(row)
	if err == nil && (r.Kind != k || r.ID != id) {
		err = fmt.Errorf("%w: another record is in its place", ErrDamaged)
	}
	if err != nil {
		return Record{}, fmt.Errorf("get %s %q: %w", k, id, err)
	}
	return r, nil
}

// List calls fn for the living records of a kind whose ids come after after
// ("": from the first), in the order of their ids, until it returns false.
func (v *View) List(k Kind, after string, fn func(Record) (more bool)) error {
	prefix := placeKey(k, "")
	switch k {
	case KindPopularity:
		prefix = string(rowPopular)
	case KindContact:
		prefix = string(rowContact)
	}
	var from []byte
	if after != "" {
		from = []byte(prefix + after)
	}
	var bad error
	err := v.view.Scan([]byte(prefix), from, func(key, row []byte) bool {
		var r Record
		if id := string(key[len(prefix):]); k.counter() {
			r, bad = parseCounted(k, id, row)
		} else {
			r, bad = v.at(k, id, row)
		}
		if errors.Is(bad, ErrNotFound) {
			bad = nil
			return true
		}
		return bad == nil && fn(r)
	})
	if err := errors.Join(err, bad); err != nil {
		return fmt.Errorf("list %s: %w", k, err)
	}
	return nil
}

// Changes calls fn for the records that changed after one entry and up to
// another, in the order of the change index, until it returns false: each once,
// in its latest version, with the marks of those that are deleted. Popularity
// and Contact are not among them.
func (v *View) Changes(after, upto uint64, fn func(Record) (more bool)) error {
	var bad error
	from := []byte(place{after, math.MaxUint32}.key())
	err := v.view.Scan([]byte{rowRecord}, from, func(key, row []byte) bool {
		if len(key) != 13 {
			bad = fmt.Errorf("%w: the record at % x", ErrDamaged, key)
			return false
		}
		if binary.BigEndian.Uint64(key[1:]) > upto {
			return false
		}
		var r Record
		if r, bad = parseRecord(row); bad != nil {
			return false
		}
		return fn(r)
	})
	if err := errors.Join(err, bad); err != nil {
		return fmt.Errorf("read changes after %d: %w", after, err)
	}
	return nil
}

// Fetch returns a living record's body.
func Fetch[T Fact](v *View, id string) (T, Record, error) {
	var f T
	r, err := v.Get(f.Kind(), id)
	if err != nil {
		return f, r, err
	}
	f, err = Body[T](r)
	return f, r, err
}

// Region returns what everybody knows of the region, false if it has not been
// founded.
func (v *View) Region() (Region, bool, error) {
	f, _, err := Fetch[Region](v, RegionID)
	if errors.Is(err, ErrNotFound) {
		return f, false, nil
	}
	return f, err == nil, err
}

// Referring lists the records of kind k that name another one, by id: the
// resources, subscriptions and pins of a collection, or the pins of a resource.
func (v *View) Referring(to Kind, id string, k Kind, fn func(id string) (more bool)) error {
	prefix := refOwner(to, id) + string([]byte{byte(k)})
	err := v.view.Scan([]byte(prefix), nil, func(key, _ []byte) bool { return fn(string(key[len(prefix):])) })
	if err != nil {
		return fmt.Errorf("list what names %s %q: %w", to, id, err)
	}
	return nil
}

// ReadByAll is the highest version of the encoding that every server of the
// region reads: nobody writes one above.
func (v *View) ReadByAll() (uint8, error) {
	lowest := uint8(MaxVersion)
	var bad error
	err := v.List(KindServer, "", func(r Record) bool {
		var s Server
		s, bad = Body[Server](r)
		lowest = min(lowest, max(s.Reads, 1))
		return bad == nil
	})
	return lowest, errors.Join(err, bad)
}

// TopPopular returns the n things most asked for as of a time, best first; of
// those that are even, the first by key.
func TopPopular(v *View, at time.Time, n int) ([]Hint, error) {
	less := func(x, y Hint) bool { return x.Sum < y.Sum || x.Sum == y.Sum && x.Key > y.Key }
	now := at.UnixMilli()
	var top []Hint // a heap, the least of them first
	var bad error
	err := v.view.Scan([]byte{rowPopular}, nil, func(key, row []byte) bool {
		var t tally
		if t, bad = parseTally(row); bad != nil {
			return false
		}
		h := Hint{Sum: t.sumAt(now)}
		if h.Sum < fadedSum || n <= 0 || len(top) == n && h.Sum < top[0].Sum {
			return true
		}
		h.Key = string(key[1:])
		switch {
		case len(top) < n:
			top = append(top, h)
			up(top, less)
		case less(top[0], h):
			top[0] = h
			down(top, less)
		}
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("list what is popular: %w", err)
	}
	slices.SortFunc(top, func(x, y Hint) int {
		if less(y, x) {
			return -1
		}
		return 1
	})
	return top, nil
}

func up(h []Hint, less func(x, y Hint) bool) {
	for i := len(h) - 1; i > 0 && less(h[i], h[(i-1)/2]); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func down(h []Hint, less func(x, y Hint) bool) {
	for i := 0; ; {
		c := 2*i + 1
		if c+1 < len(h) && less(h[c+1], h[c]) {
			c++
		}
		if c >= len(h) || !less(h[c], h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"preau/cache/object"
)

// ErrPurged reports a response that was asked for before what it answers was
// purged: it may be used by who asked, and is not kept.
var ErrPurged = errors.New("the response is older than a purge")

// PurgeSpec says what is to be purged: of one site, everything that has one of
// the marks. What has no marks, or marks of another key, may be meant and goes
// too; so does everything if Marks is empty.
type PurgeSpec struct {
	Site  string           `cbor:"1,keyasint"`
	Marks []object.Mark    `cbor:"2,keyasint,omitempty"`
	KeyID object.MarkKeyID `cbor:"3,keyasint,omitempty"` // the marks' key; 0: the one in use
	// Before spares what was asked for at this time of the box's clock or
	// later. Zero spares nothing, and is right unless the clocks agree and the
	// purge is an old one.
	Before time.Time `cbor:"4,keyasint,omitempty"`
}

// target is what a set of specs means for one site.
type target struct {
	all   reach // of the whole site
	any   reach // of whatever has no marks of a key that specs were made with
	marks map[object.MarkKeyID]map[object.Mark]reach
}

// reach is until when what is meant was stored; the zero reach means nothing.
type reach struct {
	set    bool
	before time.Time // zero: whenever
}

func (r reach) join(before time.Time) reach {
	switch {
	case !r.set:
		return reach{true, before}
	case r.before.IsZero() || before.IsZero():
		return reach{true, time.Time{}}
	case before.After(r.before):
		return reach{true, before}
	}
	return r
}

// covers reports whether something asked for at that time is meant. A time
// that has not come yet tells nothing.
func (r reach) covers(asked, now time.Time) bool {
	return r.set && (r.before.IsZero() || asked.Before(r.before) || asked.After(now))
}

// targets sorts specs by site. key is the one that marks without a key have.
func targets(specs []PurgeSpec, key object.MarkKeyID) map[string]*target {
	out := map[string]*target{}
	for _, sp := range specs {
		t := out[sp.Site]
		if t == nil {
			t = &target{marks: map[object.MarkKeyID]map[object.Mark]reach{}}
			out[sp.Site] = t
		}
		t.add(sp, key, sp.Before)
	}
	return out
}

func (t *target) add(sp PurgeSpec, key object.MarkKeyID, before time.Time) {
	if sp.KeyID != 0 {
		key = sp.KeyID
	}
	t.any = t.any.join(before)
	if len(sp.Marks) == 0 {
		t.all = t.all.join(before)
		return
	}
	marks := t.marks[key]
	if marks == nil {
		marks = map[object.Mark]reach{}
		t.marks[key] = marks
	}
	for _, m := range sp.Marks {
		marks[m] = marks[m].join(before)
	}
}

// hits reports whether o, asked for at that time, is meant.
func (t *target) hits(o *object.Object, asked, now time.Time) bool {
	if t == nil {
		return false
	}
	if t.all.covers(asked, now) {
		return true
	}
	if !t.any.covers(asked, now) {
		return false // nothing reaches so far
	}
	for key, marks := range t.marks {
		if o.HasMark(key, func(m object.Mark) bool { return marks[m].covers(asked, now) }) {
			// One with other marks is meant as far as any spec reaches.
			return true
		}
	}
	return false
}

// Purge removes every stored response that one of specs means, and reports how
// many there were. When it returns without an error they are gone for good,
// whatever happens to the machine. Who is being sent one may finish; nobody
// else gets it, and what was asked for before the purge is not stored after.
func (s *Storage) Purge(ctx context.Context, specs []PurgeSpec) (removed int, err error) {
	if len(specs) == 0 {
		return 0, nil
	}
	key := s.Marker().KeyID()
	if err := s.ledger.accept(specs, key); err != nil {
		// Only the loss of all metadata would bring back what is removed now.
		s.log.WarnContext(ctx, "a purge could not be written down", "err", err)
	}
	now := time.Now()
	wanted := targets(specs, key)
	removed, err = s.objects.Purge(ctx, func(o *object.Object) bool {
		return wanted[o.Site].hits(o, o.RequestTime, now)
	})
	if err != nil {
		return removed, fmt.Errorf("purge: %w", err)
	}
	if removed > 0 {
		s.log.InfoContext(ctx, "purged", "objects", removed, "purges", len(specs))
	}
	return removed, nil
}

// Purged reports whether a purge in force means o: what may not be stored for it.
func (s *Storage) Purged(o *object.Object) bool { return s.ledger.forbids(o) }

// PurgeEpoch counts the purges for a site: what was looked up or begun in an
// earlier epoch is not for those who ask in a later one.
func (s *Storage) PurgeEpoch(site string) uint64 { return s.ledger.epoch(site) }

// PurgedSince says how long ago path and query of a site were purged, if that
// was lately: what another cache has had for longer is not wanted.
func (s *Storage) PurgedSince(site, path, query string) (time.Duration, bool) {
	if !s.ledger.knows(site) {
		return 0, false // the usual case, without a hash
	}
	o := &object.Object{Site: site}
	o.SetMarks(s.Marker(), path, query)
	now := time.Now()
	at, ok := s.ledger.lately(o, now)
	return max(0, now.Sub(at)), ok
}

// SetMarkKey has responses marked with another key from now on. What is stored
// keeps its marks; every purge for its site takes it until it is stored anew.
func (s *Storage) SetMarkKey(key []byte) error {
	m, err := object.NewMarker(key)
	if err != nil {
		return err
	}
	s.marker.Store(&m)
	return nil
}

// Marker makes the marks of what is stored now.
func (s *Storage) Marker() object.Marker { return *s.marker.Load() }

// mostWaiting bounds the purges that wait for a storage; beyond it whole sites
// are purged.
const mostWaiting = 4096

// Waiting keeps the purges that can't be carried out because no storage is
// open: on a disk without room. It is memory only, so whoever fills it must not
// count a purge as carried out before Apply has returned. The zero value is
// ready.
type Waiting struct {
	mu    sync.Mutex
	specs []PurgeSpec
}

// Add takes note of purges.
func (w *Waiting) Add(specs ...PurgeSpec) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.specs = append(w.specs, specs...)
	if len(w.specs) > mostWaiting {
		sites := map[string]bool{}
		var whole []PurgeSpec
		for _, sp := range w.specs {
			if !sites[sp.Site] {
				sites[sp.Site] = true
				whole = append(whole, PurgeSpec{Site: sp.Site})
			}
		}
		w.specs = whole
	}
}

// Len is how many purges wait.
func (w *Waiting) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.specs)
}

// Apply carries out what waits. It is to be called with a storage that nobody
// is served from yet. After an error everything still waits.
func (w *Waiting) Apply(ctx context.Context, s *Storage) (removed int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if removed, err = s.Purge(ctx, w.specs); err == nil {
		w.specs = nil
	}
	return removed, err
}

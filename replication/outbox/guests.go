package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"preau/cache/block"
)

const (
	maxGuests   = 20_000 // of all boxes
	maxArriving = 16     // of all boxes, at once
	// maxGuestBlocks bounds what guests take in memory: a list may name a block
	// for each of its bytes.
	maxGuestBlocks = 200_000
	// arriveWithin is how long a guest of which nothing comes any more keeps its
	// room.
	arriveWithin = 10 * time.Minute
)

// Sentinels of guests.
var (
	// ErrIncomplete is a guest some of whose blocks have not come yet.
	ErrIncomplete = errors.New("blocks of the deposit are missing")
	// ErrOffer is a guest that can't be what it says.
	ErrOffer = errors.New("that is no deposit of another box")
)

// guests are copies of what other boxes hold. Guarded by Outbox.mu.
type guests struct {
	kept   map[string]map[string]*guest // by box and id
	coming map[guestKey]*arriving
	ours   map[guestKey]bool    // what boxes were told that is here anyway, as a deposit of this box
	seen   map[string]time.Time // boxes, and when they were there last
	start  time.Time
}

type guestKey struct{ box, id string }

// guest is one copy, as it is written.
type guest struct {
	Deposit Deposit   `cbor:"1,keyasint"` // From is the box it is kept for
	Barred  time.Time `cbor:"2,keyasint,omitzero"`
}

func newGuests() guests {
	return guests{
		kept: make(map[string]map[string]*guest), coming: make(map[guestKey]*arriving),
		ours: make(map[guestKey]bool), seen: make(map[string]time.Time), start: time.Now(),
	}
}

func (g *guests) all() []*Deposit {
	var out []*Deposit
	for _, of := range g.kept {
		for _, one := range of {
			out = append(out, &one.Deposit)
		}
	}
	return out
}

// find is a guest, or nil. Those of one id are all the same, but for whose they are.
func (g *guests) find(id string) (found *Deposit) {
	for _, of := range g.kept {
		if one := of[id]; one != nil && (found == nil || one.Deposit.From < found.From) {
			found = &one.Deposit
		}
	}
	return found
}

// bound reports whether an id is made of what it names. Those of deposits that
// were added by older versions are not: any box could put what it likes under
// them, and so no other keeps a copy of such.
func bound(d *Deposit) bool { return d.Nonce != 0 && d.ID == idOf(d) }

// room is what all guests may take in the end.
func (g *guests) room() (n int64) {
	for _, d := range g.all() {
		n += d.Length
	}
	for _, in := range g.coming {
		n += in.Length
	}
	return n
}

func (o *Outbox) guestRecords() string { return filepath.Join(o.cfg.Dir, "guests") }

// Guests returns the copies kept for other boxes, latest first.
func (o *Outbox) Guests() []Deposit {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Deposit
	for _, d := range o.guests.all() {
		if o.deposits[d.ID] == nil {
			out = append(out, o.shown(d))
		}
	}
	slices.SortFunc(out, latestFirst)
	return slices.CompactFunc(out, func(a, b Deposit) bool { return a.ID == b.ID })
}

// Look is Get for guests, too.
func (o *Outbox) Look(id string) (Deposit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := cmp.Or(o.deposits[id], o.guests.find(id))
	if d == nil {
		return Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	return o.shown(d), nil
}

// writeGuest puts what is known of a guest on the disk, synced.
func (o *Outbox) writeGuest(box string, g *guest) error {
	dir := filepath.Join(o.guestRecords(), box)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of guests: %w", err)
	}
	name := filepath.Join(dir, g.Deposit.ID)
	if err := errors.Join(syncDir(o.guestRecords()), writeSummed(name, *g)); err != nil {
		return fmt.Errorf("write guest %s: %w", g.Deposit.ID, err)
	}
	// What was put aside of it is of no use any more.
	return ignoreMissing(os.Remove(name + damaged))
}

// DropGuest gives a copy up. That there is none is no error.
func (o *Outbox) DropGuest(box, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropGuest(box, id)
}

// dropGuest is DropGuest with o.mu held.
func (o *Outbox) dropGuest(box, id string) error {
	key := guestKey{box, id}
	delete(o.guests.ours, key)
	if o.guests.coming[key] != nil {
		o.leaveGuest(key)
		o.litter.Store(true)
	}
	g := o.guests.kept[box][id]
	if g == nil {
		return nil
	}
	dir := filepath.Join(o.guestRecords(), box)
	if err := errors.Join(ignoreMissing(os.Remove(filepath.Join(dir, id))), syncDir(dir)); err != nil {
		return fmt.Errorf("remove guest %s: %w", id, err)
	}
	delete(o.guests.kept[box], id)
	o.unlist(g.Deposit.List)
	o.litter.Store(true)
	o.tell()
	return nil
}

// AdoptGuest makes a guest a deposit of this box. That there is none is no error.
func (o *Outbox) AdoptGuest(box, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.guests.kept[box][id]
	if g == nil {
		return nil
	}
	d := g.Deposit
	d.From, d.State, d.Here = box, OnBox, true
	own := o.deposits[id]
	if own != nil && !(own.Same(&d) && own.List == d.List) { // by an older version
		d.Nonce = newNonce()
		d.ID, own = idOf(&d), nil
	}
	if own == nil || own.State == OnBox && !o.whole(own) {
		if err := o.write(d); err != nil {
			return err
		}
		o.deposits[d.ID] = &d
		o.met.takenOver.Inc()
		o.log.Info("a deposit of another box is taken over", "deposit", d.ID, "box", box)
	}
	if err := o.dropGuest(box, id); err != nil {
		return err
	}
	o.tell()
	o.Poke()
	return nil
}

// ReleaseGuests gives up copies of d, on which the region has agreed: those that
// have its id and are the same in all words.
func (o *Outbox) ReleaseGuests(d Deposit) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for box, of := range o.guests.kept {
		if g := of[d.ID]; g != nil && g.Deposit.Same(&d) {
			errs = append(errs, o.dropGuest(box, d.ID))
		}
	}
	return errors.Join(errs...)
}

// HasGuest reports whether a copy is kept of d, of that id and the same in all
// words.
func (o *Outbox) HasGuest(d Deposit) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range o.guests.kept {
		if g := of[d.ID]; g != nil && g.Deposit.Same(&d) {
			return true
		}
	}
	return false
}

// HeldFor is a deposit of another box that is on this one.
type HeldFor struct {
	ID     string       `cbor:"1,keyasint"`
	SHA256 block.Digest `cbor:"2,keyasint"`
	Whole  bool         `cbor:"3,keyasint"` // all its blocks are there, or the region has it
}

// HeldFor lists, by id from after on and at most n, what is here of box and waits
// for the region: its guests, those that were taken over, and what was here
// already when box wanted a copy kept.
func (o *Outbox) HeldFor(box, after string, n int) []HeldFor {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.guests.seen[box] = time.Now()
	var found []*Deposit
	for _, g := range o.guests.kept[box] {
		found = append(found, &g.Deposit)
	}
	for _, d := range o.deposits {
		// What that box was told is here counts for it until it says that it knows
		// better, even if the region has it meanwhile.
		taken := d.From == box && d.State == OnBox || o.guests.ours[guestKey{box, d.ID}]
		if taken && o.guests.kept[box][d.ID] == nil {
			found = append(found, d)
		}
	}
	found = slices.DeleteFunc(found, func(d *Deposit) bool { return d.ID <= after })
	slices.SortFunc(found, func(a, b *Deposit) int { return cmp.Compare(a.ID, b.ID) })
	out := make([]HeldFor, 0, min(n, len(found)))
	for _, d := range found[:min(n, len(found))] {
		out = append(out, HeldFor{ID: d.ID, SHA256: d.SHA256, Whole: d.State != OnBox || o.whole(d)})
	}
	return out
}

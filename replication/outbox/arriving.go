package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
	"preau/replication/identity"
)

// arriving is a guest whose blocks are coming in.
type arriving struct {
	Deposit
	entries  []hold.Entry
	lengths  map[block.Digest]int
	sound    map[block.Digest]bool // those that are here and were found right
	reserved int64
	touched  time.Time
}

// Offered is what box says when it wants a copy kept: the deposit and the list of
// its blocks. It returns those that are missing here, or that the deposit is held
// already. Errors: ErrOffer, ErrFull, ctx's or the disk's.
func (o *Outbox) Offered(ctx context.Context, box string, d Deposit, list []byte) (missing []block.Digest, held bool, err error) {
	entries, err := checkOffer(&d, list)
	if err != nil {
		return nil, false, err
	}
	if _, err := identity.ParseName(box); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrOffer, err)
	}
	d.From = box
	o.adding.RLock()
	defer o.adding.RUnlock()
	in, err := o.announce(box, d, entries)
	if err != nil || in == nil {
		return nil, err == nil, err
	}
	if len(entries) > 0 {
		if _, err := o.blocks.Put(ctx, 0, d.List, list); err != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.leaveGuest(guestKey{box, d.ID})
			o.litter.Store(true)
			return nil, false, explain(ctx, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for digest := range in.lengths {
		if in.sound[digest] {
			continue
		}
		o.mu.Unlock()
		// What lies here for another deposit is no copy before it has been read.
		sound := o.readable(digest)
		o.mu.Lock()
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx) // what was read need not be again
		}
		if sound {
			in.has(o, digest)
		} else {
			missing = append(missing, digest)
		}
	}
	return missing, false, nil
}

// has notes a block. o.mu is held.
func (in *arriving) has(o *Outbox, digest block.Digest) {
	if in.sound[digest] {
		return
	}
	in.sound[digest] = true
	n := min(in.reserved, int64(in.lengths[digest]))
	in.reserved -= n
	o.reserved -= n
}

func (o *Outbox) readable(digest block.Digest) bool {
	b, err := o.blocks.Open(digest)
	return err == nil && b.Close() == nil
}

// announce makes room for a guest. It returns nil for one that is held.
func (o *Outbox) announce(box string, d Deposit, entries []hold.Entry) (*arriving, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.guests.seen[box] = time.Now()
	if own := o.deposits[d.ID]; own != nil {
		if !own.Same(&d) || own.List != d.List {
			return nil, fmt.Errorf("%w: there is another of the id %s", ErrOffer, d.ID)
		}
		if own.State != OnBox || own.Here && o.whole(own) {
			o.guests.ours[guestKey{box, d.ID}] = true
			return nil, nil
		}
	}
	if g := o.guests.kept[box][d.ID]; g != nil {
		if !g.Deposit.Same(&d) || g.Deposit.List != d.List {
			return nil, fmt.Errorf("%w: there is another of the id %s", ErrOffer, d.ID)
		}
		if o.whole(&g.Deposit) {
			return nil, nil
		}
	}
	key := guestKey{box, d.ID}
	if in := o.guests.coming[key]; in != nil {
		if !in.Same(&d) || in.List != d.List {
			return nil, fmt.Errorf("%w: another of the id %s is coming in", ErrOffer, d.ID)
		}
		in.touched = time.Now()
		return in, nil
	}
	if err := o.mayArrive(d.Length, len(entries)); err != nil {
		return nil, err
	}
	in := &arriving{
		Deposit: d, entries: entries, lengths: make(map[block.Digest]int, len(entries)), sound: make(map[block.Digest]bool),
		reserved: d.Length, touched: time.Now(),
	}
	for _, e := range entries {
		in.lengths[e.Digest] = e.Length
	}
	o.reserved += in.reserved
	o.guests.coming[key] = in
	return in, nil
}

// mayArrive bounds what is kept for others. o.mu is held.
func (o *Outbox) mayArrive(n int64, blocks int) error {
	all := o.guests.all()
	for _, d := range all {
		blocks += len(o.lists[d.List])
	}
	for _, in := range o.guests.coming {
		blocks += len(in.entries)
	}
	if len(o.guests.coming) >= maxArriving || len(all) >= maxGuests || blocks > maxGuestBlocks {
		return fmt.Errorf("%w: too many copies for other boxes", ErrFull)
	}
	if o.cfg.Budget == 0 {
		return nil
	}
	if left := o.cfg.Budget/2 - o.guests.room(); n > left {
		return fmt.Errorf("%w: %d MiB are left for copies of what other boxes hold", ErrFull, max(left, 0)>>20)
	}
	if free := o.cfg.Budget - o.blocks.Usage() - o.reserved; n > free {
		return fmt.Errorf("%w: %d MiB are left of %d MiB", ErrFull, max(free, 0)>>20, o.cfg.Budget>>20)
	}
	return nil
}

// whole reports whether all blocks of a deposit are there. o.mu is held.
func (o *Outbox) whole(d *Deposit) bool {
	if d.List.IsZero() {
		return true
	}
	entries := o.lists[d.List]
	if _, ok := o.blocks.Has(d.List); !ok || len(entries) == 0 {
		return false
	}
	return !slices.ContainsFunc(entries, func(e hold.Entry) bool {
		_, ok := o.blocks.Has(e.Digest)
		return !ok
	})
}

// PutGuest keeps a block of a guest that was offered. Errors: ErrNotFound if it
// was not, ErrOffer for a block that is not of it, ErrFull, ctx's or the disk's.
func (o *Outbox) PutGuest(ctx context.Context, box, id string, digest block.Digest, p []byte) error {
	o.adding.RLock()
	defer o.adding.RUnlock()
	o.mu.Lock()
	in := o.guests.coming[guestKey{box, id}]
	if in != nil {
		in.touched = time.Now()
	}
	o.mu.Unlock()
	switch {
	case in == nil:
		return fmt.Errorf("%w: %q was not offered", ErrNotFound, id)
	case in.lengths[digest] != len(p) || len(p) == 0 || block.Sum(p) != digest:
		return fmt.Errorf("%w: a block of %d bytes that is not of it", ErrOffer, len(p))
	}
	if _, err := o.blocks.Put(ctx, 0, digest, p); err != nil {
		return explain(ctx, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	in.has(o, digest)
	return nil
}

// KeepGuest returns once a guest whose blocks have come is kept: what is known of
// it is synced, as they are. Errors: ErrNotFound, ErrIncomplete or the disk's.
func (o *Outbox) KeepGuest(ctx context.Context, box, id string) error {
	o.adding.RLock()
	defer o.adding.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	key := guestKey{box, id}
	in := o.guests.coming[key]
	if in == nil {
		if o.guests.kept[box][id] != nil {
			return nil // an answer was lost
		}
		return fmt.Errorf("%w: %q was not offered", ErrNotFound, id)
	}
	for digest := range in.lengths {
		if _, ok := o.blocks.Has(digest); !ok || !in.sound[digest] {
			delete(in.sound, digest)
			return ErrIncomplete
		}
	}
	if _, ok := o.blocks.Has(in.List); !ok && len(in.entries) > 0 {
		return ErrIncomplete
	}
	g := &guest{Deposit: in.Deposit}
	if err := o.writeGuest(box, g); err != nil {
		return explain(ctx, err)
	}
	if o.guests.kept[box] == nil {
		o.guests.kept[box] = make(map[string]*guest)
	}
	o.guests.kept[box][id] = g
	if !in.List.IsZero() {
		o.lists[in.List] = in.entries
	}
	o.leaveGuest(key)
	o.tell()
	return nil
}

// leaveGuest ends the coming of a guest. o.mu is held.
func (o *Outbox) leaveGuest(key guestKey) {
	if in := o.guests.coming[key]; in != nil {
		o.reserved -= in.reserved
		in.reserved = 0
		delete(o.guests.coming, key)
	}
}

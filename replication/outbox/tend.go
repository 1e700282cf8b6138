package outbox

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	tendEvery  = 30 * time.Second
	checkEvery = 2 * time.Minute
	// maxActs bounds what one answer of another box has this one do at once.
	maxActs = 100
)

// tend sees to copies, of this box on others and of others on this one, until ctx
// ends.
func (o *Outbox) tend(ctx context.Context, n Neighbours) {
	checked := make(map[string]time.Time) // boxes, and when they were asked what they have
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		o.lookAround(n)
		order := n.Order("")
		for name := range checked {
			if !slices.ContainsFunc(order, func(nb Neighbour) bool { return nb.Name() == name }) {
				delete(checked, name) // asked at once when it is back
			}
		}
		for _, nb := range order {
			if last, ok := checked[nb.Name()]; ok && time.Since(last) < checkEvery {
				continue
			}
			checked[nb.Name()] = time.Now()
			if err := o.check(ctx, nb); err != nil && ctx.Err() == nil {
				o.log.DebugContext(ctx, "another box can't be asked what it has of this one", "box", nb.Name(), "err", err)
			}
		}
		o.tendGuests(ctx, n)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookAround notes which boxes that have copies are away. A copy on one that is
// away for long, or will be taken away, counts no more: another is made.
func (o *Outbox) lookAround(n Neighbours) {
	o.mu.Lock()
	holders := make(map[string]bool) // and whether they go, or went
	for _, d := range o.deposits {
		for _, name := range d.Held {
			holders[name] = false
		}
	}
	o.mu.Unlock()
	there := make(map[string]bool)
	for _, nb := range n.Order("") {
		there[nb.Name()] = true
	}
	for name := range holders {
		holders[name] = n.Leaves(name) || n.Barred(name)
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	// Of one that has nothing any more nothing is remembered.
	none := func(name string) bool { _, has := holders[name]; return !has }
	maps.DeleteFunc(o.copying.missed, func(name string, _ time.Time) bool { return none(name) })
	maps.DeleteFunc(o.copying.lost, func(name string, _ bool) bool { return none(name) })
	changed := false
	for name, goes := range holders {
		since, missed := o.copying.missed[name]
		before := o.copying.lost[name]
		switch {
		case goes:
			o.copying.lost[name] = true
		case there[name]:
			delete(o.copying.missed, name)
			delete(o.copying.lost, name)
		case !missed:
			o.copying.missed[name] = time.Now()
		case time.Since(since) > o.cfg.Away:
			o.copying.lost[name] = true
		}
		changed = changed || before != o.copying.lost[name]
	}
	if changed {
		o.tell()
		o.Poke()
	}
}

// check compares what another box has of this one with what it should. It tells
// the other, too, that this one is there.
func (o *Outbox) check(ctx context.Context, nb Neighbour) error {
	ctx, cancel := context.WithTimeout(ctx, checkEvery)
	defer cancel()
	list, err := nb.Held(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(list))
	acts := 0
	for _, h := range list {
		there[h.ID] = true
		drop, lost := o.compare(nb.Name(), h)
		if drop || lost {
			acts++
		}
		switch {
		case acts > maxActs: // the next time
		case lost:
			o.log.WarnContext(ctx, "a deposit of this box is not here any more: the box with the copy brings it", "deposit", h.ID, "box", nb.Name())
			err = nb.Yours(ctx, h.ID)
		case drop:
			err = nb.Drop(ctx, h.ID)
		}
		if err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	again := false
	for _, d := range o.deposits {
		if slices.Contains(d.Held, nb.Name()) && !there[d.ID] && !o.copying.busy[d.ID] {
			if err := o.forgetHeld(d, nb.Name()); err != nil {
				return err
			}
			again = true
		}
	}
	if again {
		o.Poke()
	}
	return nil
}

// compare says what is to become of a copy on another box.
func (o *Outbox) compare(name string, h HeldFor) (drop, lost bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.deposits[h.ID]
	switch {
	case d == nil || d.SHA256 != h.SHA256:
		return false, true
	case d.State != OnBox:
		return true, false
	case o.copying.busy[h.ID]:
		return false, false
	case !o.whole(d):
		return false, h.Whole
	case !h.Whole:
		if err := o.forgetHeld(d, name); err != nil {
			o.log.Warn("what a deposit's copies are can't be written", "deposit", h.ID, "err", err)
		}
		o.Poke()
		return false, false
	case slices.Contains(d.Held, name):
		return false, false
	case o.alone(d):
		// An answer was lost, or the box is back that had it first.
		if err := o.setHeld(d, []string{name}); err != nil {
			o.log.Warn("what a deposit's copies are can't be written", "deposit", h.ID, "err", err)
		}
		return false, false
	}
	return true, false // it has one elsewhere meanwhile
}

// forgetHeld notes that a box has no copy of d. o.mu is held.
func (o *Outbox) forgetHeld(d *Deposit, name string) error {
	return o.setHeld(d, slices.DeleteFunc(slices.Clone(d.Held), func(held string) bool { return held == name }))
}

// tendGuests sees to what is kept for others: it takes over what nobody else
// would bring, and gives up what came to nothing.
func (o *Outbox) tendGuests(ctx context.Context, n Neighbours) {
	now := time.Now()
	order := n.Order("")
	o.mu.Lock()
	boxes := slices.Collect(maps.Keys(o.guests.kept))
	o.mu.Unlock()
	barred := make(map[string]bool)
	for _, box := range boxes {
		barred[box] = n.Barred(box)
	}

	var orphans []guestKey
	o.mu.Lock()
	for _, nb := range order {
		o.guests.seen[nb.Name()] = now
	}
	for key, in := range o.guests.coming {
		if now.Sub(in.touched) > arriveWithin {
			o.leaveGuest(key)
			o.litter.Store(true)
		}
	}
	for box, barred := range barred {
		away := o.away(box)
		for id, g := range o.guests.kept[box] {
			var err error
			switch {
			case barred == g.Barred.IsZero():
				marked := *g
				if marked.Barred = now; !barred {
					marked.Barred = time.Time{} // the region has taken it back
				}
				if err = o.writeGuest(box, &marked); err == nil {
					*g = marked
				}
			case barred && now.Sub(g.Barred) > o.cfg.KeepRevoked:
				err = o.dropGuest(box, id)
			case !barred && away:
				orphans = append(orphans, guestKey{box, id})
			}
			if err != nil {
				o.log.WarnContext(ctx, "a copy kept for a box that was revoked can't be seen to", "deposit", id, "box", box, "err", err)
			}
		}
	}
	o.mu.Unlock()
	for _, key := range orphans {
		if err := o.AdoptGuest(key.box, key.id); err != nil {
			o.log.WarnContext(ctx, "a deposit of another box can't be taken over", "deposit", key.id, "box", key.box, "err", err)
		}
	}
	o.tidy(ctx)
}

// away reports whether a box has not been seen for long. o.mu is held.
func (o *Outbox) away(box string) bool {
	last := o.guests.seen[box]
	if last.Before(o.guests.start) {
		last = o.guests.start
	}
	return time.Since(last) > o.cfg.Away
}

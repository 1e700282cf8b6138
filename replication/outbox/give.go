package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

// copyOut has another box keep a copy of d.
func (o *Outbox) copyOut(ctx context.Context, n Neighbours, d Deposit) {
	err := o.copyTo(ctx, n, d)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.copying.busy, d.ID)
	if d.Length > largeCopy {
		o.copying.large--
	}
	switch _, refused := errors.AsType[*Refusal](err); {
	case err == nil || ctx.Err() != nil:
		delete(o.copying.later, d.ID)
	case refused, errors.Is(err, errOwn):
		o.copying.later[d.ID] = time.Now().Add(copyAfterNo)
	default:
		o.copying.later[d.ID] = time.Now().Add(avoidFirst)
	}
	if err != nil && ctx.Err() == nil {
		o.log.InfoContext(ctx, "no other box has taken a copy of a deposit", "deposit", d.ID, "err", err)
	}
	o.tell()
}

// errOwn is a deposit that can't be read here.
var errOwn = errors.New("it can't be read on this box")

func (o *Outbox) copyTo(ctx context.Context, n Neighbours, d Deposit) error {
	var list []byte
	if !d.List.IsZero() {
		var err error
		if list, err = o.block(d.List); err != nil {
			return fmt.Errorf("%w: %w", errOwn, err)
		}
	}
	err := errors.New("there is no other box that takes it")
	asked := 0
	for _, nb := range n.Order(d.ID) {
		if slices.Contains(d.Held, nb.Name()) || asked == askedForCopy || o.avoids(nb.Name()) || n.Leaves(nb.Name()) {
			continue
		}
		asked++
		if err = o.give(ctx, nb, d, list); err == nil {
			o.met.copies.WithLabelValues("ok").Inc()
			return o.heldBy(ctx, nb, d.ID)
		}
		if ctx.Err() != nil || errors.Is(err, errOwn) || errors.Is(err, errDone) {
			break
		}
		o.noteCopy(nb.Name(), err)
		err = fmt.Errorf("%s: %w", nb.Name(), err)
	}
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

func (o *Outbox) avoids(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().Before(o.copying.avoid[name].until)
}

// noteCopy leaves a box alone for a while that took no copy.
func (o *Outbox) noteCopy(name string, err error) {
	result, pause := "failed", avoidFull
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.copying.avoid[name]
	if _, refused := errors.AsType[*Refusal](err); refused {
		o.met.copies.WithLabelValues(result).Inc()
		return // it may take others
	}
	if errors.Is(err, ErrFull) {
		result = "full"
	} else {
		pause = min(avoidFirst<<min(a.times, 6), avoidMost)
		a.times++
	}
	a.until = time.Now().Add(pause)
	o.copying.avoid[name] = a
	o.met.copies.WithLabelValues(result).Inc()
}

// give brings a deposit to another box: what that lacks of it, then its name.
func (o *Outbox) give(ctx context.Context, nb Neighbour, d Deposit, list []byte) error {
	var err error
	for range 3 { // it may lose something while the rest is on its way
		missing, held, offered := nb.Offer(ctx, d, list)
		if offered != nil || held {
			return offered
		}
		if err = o.giveBlocks(ctx, nb, d, missing); err == nil {
			err = nb.Keep(ctx, d.ID)
		}
		if !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrNotFound) || errors.Is(err, errOwn) {
			return err
		}
	}
	return err
}

func (o *Outbox) giveBlocks(ctx context.Context, nb Neighbour, d Deposit, missing []block.Digest) error {
	o.mu.Lock()
	own := hold.Digests(o.lists[d.List])
	o.mu.Unlock()
	known := make(map[block.Digest]bool, len(own))
	for _, digest := range own {
		known[digest] = true
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, digest := range missing {
		select {
		case <-ctx.Done():
		case o.copying.slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-o.copying.slots }()
			if err := o.giveBlock(ctx, nb, d.ID, digest, known[digest]); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (o *Outbox) giveBlock(ctx context.Context, nb Neighbour, id string, digest block.Digest, known bool) error {
	if !known {
		return fmt.Errorf("it lacks %s, which it was not offered", digest)
	}
	if !o.waiting(id) {
		return errDone
	}
	p, err := o.block(digest)
	if err != nil {
		return fmt.Errorf("%w: %w", errOwn, err)
	}
	if err := nb.Put(ctx, id, digest, p); err != nil {
		return err
	}
	o.met.copiedBytes.Add(float64(len(p)))
	return nil
}

// heldBy notes who has a copy. One that is not needed any more is given up.
func (o *Outbox) heldBy(ctx context.Context, nb Neighbour, id string) error {
	o.mu.Lock()
	delete(o.copying.avoid, nb.Name())
	delete(o.copying.lost, nb.Name())
	delete(o.copying.missed, nb.Name())
	d := o.deposits[id]
	if d.State != OnBox {
		o.mu.Unlock()
		return nb.Drop(ctx, id)
	}
	defer o.mu.Unlock()
	return o.setHeld(d, append(slices.DeleteFunc(slices.Clone(d.Held), func(name string) bool {
		return name == nb.Name() || o.copying.lost[name]
	}), nb.Name()))
}

// setHeld writes who has copies of d. o.mu is held.
func (o *Outbox) setHeld(d *Deposit, held []string) error {
	if slices.Equal(d.Held, held) {
		return nil
	}
	now := *d
	now.Held = held
	if err := o.write(now); err != nil {
		return err
	}
	*d = now
	o.tell()
	return nil
}

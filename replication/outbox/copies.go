package outbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
)

const (
	copiesAtOnce  = 4
	largeAtOnce   = 2        // so that what is small never waits for what is not
	largeCopy     = 32 << 20 // bytes
	copyBlocks    = 4        // on their way at once, of all copies
	askedForCopy  = 3        // other boxes, before it is tried again later
	avoidFirst    = 3 * time.Second
	avoidMost     = 2 * time.Minute
	avoidFull     = time.Minute
	copyAfterNo   = 10 * time.Minute
	copyLookEvery = 30 * time.Second
	idleLookEvery = 5 * time.Second
)

// Neighbour is another box of the school. All methods may be called concurrently.
// What it says is believed of its own copies only.
type Neighbour interface {
	Name() string
	// Offer asks it to keep a copy of d, which has that list of blocks. It returns
	// the blocks that it lacks, or that it holds the deposit already. The error
	// matches ErrFull if it has no room, and is a *Refusal if it will not have it.
	Offer(ctx context.Context, d Deposit, list []byte) (missing []block.Digest, held bool, err error)
	// Put brings a block of what was offered.
	Put(ctx context.Context, id string, digest block.Digest, p []byte) error
	// Keep returns nil once the copy is on its disk. The error matches
	// ErrIncomplete or ErrNotFound if it has to be offered again.
	Keep(ctx context.Context, id string) error
	// Drop has it give a copy up.
	Drop(ctx context.Context, id string) error
	// Yours tells it that this box does not have the deposit any more.
	Yours(ctx context.Context, id string) error
	// Held lists all that it has of this box.
	Held(ctx context.Context) ([]HeldFor, error)
}

// Neighbours are the school's other boxes. All methods may be called concurrently.
type Neighbours interface {
	// Order lists the boxes that are there, the best for key first.
	Order(key string) []Neighbour
	// Leaves reports a box that has said that it will be taken away.
	Leaves(name string) bool
	// Barred reports a box that was revoked.
	Barred(name string) bool
}

// copying is what is known of the copies that other boxes keep. It is guarded by
// Outbox.mu, but for the channels.
type copying struct {
	pokes chan struct{}
	slots chan struct{} // of blocks

	running bool
	idle    bool   // there is nobody now to ask
	turns   uint64 // how often it was looked who there is
	busy    map[string]bool
	large   int
	later   map[string]time.Time // deposits, and when they are tried again
	asked   map[string]int       // by how many people's requests a deposit is waited for
	avoid   map[string]avoided   // boxes
	missed  map[string]time.Time // boxes that have copies, and since when they are away
	lost    map[string]bool      // those of them whose copies count no more
}

type avoided struct {
	until time.Time
	times int
}

func newCopying() copying {
	return copying{
		pokes: make(chan struct{}, 1), slots: make(chan struct{}, copyBlocks),
		busy: make(map[string]bool), later: make(map[string]time.Time), asked: make(map[string]int),
		avoid: make(map[string]avoided), missed: make(map[string]time.Time), lost: make(map[string]bool),
	}
}

// shown is a deposit with what is said of its copies. o.mu is held.
func (o *Outbox) shown(d *Deposit) Deposit {
	out := *d
	out.Held = slices.Clone(d.Held)
	if d.Here {
		out.Copies++
	}
	for _, name := range d.Held {
		if !o.copying.lost[name] {
			out.Copies++
		}
	}
	if o.deposits[d.ID] != d && !o.away(d.From) { // a guest
		out.Copies++
	}
	return out
}

// alone reports a deposit that the region lacks and no other box has. o.mu is held.
func (o *Outbox) alone(d *Deposit) bool {
	return d.State == OnBox && d.Here && !slices.ContainsFunc(d.Held, func(name string) bool { return !o.copying.lost[name] })
}

// Alone is how many deposits would be lost with this box: neither the region nor
// another box is known to have them. Those are among them that are kept for a box
// that has not been seen for a while.
func (o *Outbox) Alone() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, d := range o.deposits {
		if o.alone(d) {
			n++
		}
	}
	for box, of := range o.guests.kept {
		if !o.away(box) {
			continue
		}
		for id, g := range of {
			if own := o.deposits[id]; g.Barred.IsZero() && (own == nil || !own.Same(&g.Deposit)) {
				n++
			}
		}
	}
	return n
}

// Copied returns a deposit once another box has a copy of it, too, or the region
// has it; or once it is clear that nobody takes one now, or ctx ends.
func (o *Outbox) Copied(ctx context.Context, id string) (Deposit, error) {
	changed, stop := o.Watch()
	defer stop()
	o.mu.Lock()
	o.copying.asked[id]++
	turns := o.copying.turns
	o.mu.Unlock()
	o.Poke() // who was there a while ago need not be who is there now
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.copying.asked[id]--; o.copying.asked[id] == 0 {
			delete(o.copying.asked, id)
		}
	}()
	for {
		o.mu.Lock()
		d := o.deposits[id]
		if d == nil {
			o.mu.Unlock()
			return Deposit{}, fmt.Errorf("%w: %q", ErrNotFound, id)
		}
		now, tried := o.shown(d), !o.copying.later[id].IsZero()
		over := !o.alone(d) || !bound(d) || !o.copying.running || !o.copying.busy[id] && (o.copying.idle && o.copying.turns > turns || tried)
		o.mu.Unlock()
		if over {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, nil
		}
	}
}

// RunCopies has other boxes keep copies of what the region lacks, and sees to
// those that this box keeps, until ctx ends. It returns nil.
func (o *Outbox) RunCopies(ctx context.Context, n Neighbours) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	o.mu.Lock()
	o.copying.running, o.copying.idle = true, false
	o.tell()
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.copying.running = false
		o.tell()
	}()
	wg.Go(func() { o.tend(ctx, n) })
	for ctx.Err() == nil {
		wait := o.nextCopies(n, func(d Deposit) {
			wg.Go(func() {
				o.copyOut(ctx, n, d)
				o.Poke()
			})
		})
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-o.copying.pokes:
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// Copying reports whether RunCopies runs.
func (o *Outbox) Copying() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.copying.running
}

// nextCopies begins what is due, those that somebody waits for first and then the
// oldest, and returns how long nothing more will be.
func (o *Outbox) nextCopies(n Neighbours, begin func(Deposit)) time.Duration {
	now, wait := time.Now(), copyLookEvery
	usable := false
	order := slices.DeleteFunc(n.Order(""), func(nb Neighbour) bool { return n.Leaves(nb.Name()) })
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, nb := range order {
		left := o.copying.avoid[nb.Name()].until.Sub(now)
		usable = usable || left <= 0
		if left > 0 {
			wait = min(wait, left)
		}
	}
	o.copying.turns++
	o.copying.idle = !usable
	if len(o.copying.asked) > 0 {
		o.tell()
	}
	if !usable {
		return min(wait, idleLookEvery)
	}
	var due []*Deposit
	for id, d := range o.deposits {
		switch left := o.copying.later[id].Sub(now); {
		case !o.alone(d):
			delete(o.copying.later, id)
		case !bound(d): // it was added by an older version
		case o.copying.busy[id]:
		case left > 0:
			wait = min(wait, left)
		default:
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b *Deposit) int {
		if x, y := o.copying.asked[a.ID] > 0, o.copying.asked[b.ID] > 0; x != y {
			if x {
				return -1
			}
			return 1
		}
		return a.At.Compare(b.At)
	})
	for _, d := range due {
		if len(o.copying.busy) >= copiesAtOnce {
			break // the next one begins when one of them has ended
		}
		if d.Length > largeCopy {
			if o.copying.large >= largeAtOnce {
				continue
			}
			o.copying.large++
		}
		o.copying.busy[d.ID] = true
		begin(*d)
	}
	return wait
}

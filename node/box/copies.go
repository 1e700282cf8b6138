package box

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"preau/replication/outbox"
)

const (
	// copyWithin is how long whoever adds a file waits for a second box to have
	// it, too. On a LAN that is enough for most; of the others a copy is made
	// behind, and until then the answer says that one box has it. To wait for a
	// film would have browsers give up on what is safe.
	copyWithin = 15 * time.Second
	// guestsAtOnce is how many requests of other boxes about copies are served at
	// once, each with a block in memory.
	guestsAtOnce = 8
)

// Neighbour is another box of the school, on a connection on which it has shown
// its certificate.
type Neighbour struct {
	Name         string
	RoundTripper http.RoundTripper
}

// Neighbours are the school's other boxes. All methods may be called concurrently.
type Neighbours interface {
	// Order lists those that are there, the best for key first.
	Order(key string) []Neighbour
	// Leaves reports one that has said that it will be taken away.
	Leaves(name string) bool
}

// useNeighbours has copies of deposits kept on other boxes. barred reports boxes
// that the region has revoked. It is called before run.
func (d *deposits) useNeighbours(others Neighbours, barred func(box string) bool) {
	d.others, d.barred = others, barred
}

// alone is how many deposits would be lost if this box were taken away now: its
// own that neither the region nor another box has, and those of boxes that were
// not seen for a while. It is -1 while the folder can't be read: nobody knows.
func (d *deposits) alone(ctx context.Context) int {
	if !d.wanted {
		return 0
	}
	_, box, leave, ok := d.use(ctx)
	if !ok {
		return -1
	}
	defer leave()
	return box.Alone()
}

// poke has deposits looked at now: another box may take a copy.
func (d *deposits) poke(ctx context.Context) {
	if _, box, leave, ok := d.use(ctx); ok {
		box.Poke()
		leave()
	}
}

// copied waits until a deposit is on a second box, if there is one.
func (d *deposits) copied(ctx context.Context, box *openedBox, done outbox.Deposit) outbox.Deposit {
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	now, err := box.Copied(ctx, done.ID)
	if err != nil { // it was kept a moment ago
		d.log.WarnContext(ctx, "a deposit that was kept can't be found", "deposit", done.ID, "err", err)
		return done
	}
	return now
}

// all lists what was added here and what is kept for other boxes, latest first.
func (o *openedBox) all() []outbox.Deposit {
	all, guests := o.List(), o.Guests()
	if len(guests) == 0 {
		return all
	}
	all = append(all, guests...)
	slices.SortStableFunc(all, func(a, b outbox.Deposit) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// copyTakers are the neighbours as an outbox needs them.
type copyTakers struct {
	Neighbours
	barred func(box string) bool
}

// Order implements outbox.Neighbours.
func (t copyTakers) Order(key string) []outbox.Neighbour {
	list := t.Neighbours.Order(key)
	out := make([]outbox.Neighbour, 0, len(list))
	for _, n := range list {
		if !t.barred(n.Name) {
			out = append(out, copyTaker{n})
		}
	}
	return out
}

// Barred implements outbox.Neighbours.
func (t copyTakers) Barred(name string) bool { return t.barred(name) }

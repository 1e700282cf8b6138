package follow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"preau/cache/fill"
	"preau/replication/catalogue"
	"preau/replication/outbox"
)

// learnAgain is how long to wait before deposits whose news could not be written
// are told of them again.
const learnAgain = time.Minute

// bringing is what a follower does with what is added on its box.
type bringing struct {
	opened chan struct{} // closed with box set
	once   sync.Once
	box    *outbox.Outbox
	behind chan struct{} // has something when news could not be written
}

func newBringing() bringing {
	return bringing{opened: make(chan struct{}), behind: make(chan struct{}, 1)}
}

// Bring has the follower bring deposits to the region, and tell them what
// becomes of them. The outbox must stay open until the follower has stopped.
func (f *Follower) Bring(box *outbox.Outbox) {
	f.added.once.Do(func() {
		f.added.box = box
		close(f.added.opened)
	})
}

// outbox is nil before Bring.
func (b *bringing) outbox() *outbox.Outbox {
	select {
	case <-b.opened:
		return b.box
	default:
		return nil
	}
}

// runDeposits brings deposits to the region.
func (f *Follower) runDeposits(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.added.opened:
	}
	box := f.added.box
	var wg sync.WaitGroup
	defer wg.Wait()
	connected := func() bool { server, _ := f.Connected(); return server != "" }
	region := newDepositTaker(f.parents, string(f.id.Name), connected, f.busy)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { failed <- box.Run(ctx, region) })
	again := time.NewTimer(0) // at once: what the copy holds already
	defer again.Stop()
	first := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-f.added.behind:
			again.Reset(learnAgain)
		case <-again.C:
			if err := f.learnDeposits(box, first); err != nil {
				f.log.WarnContext(ctx, "deposits can't be told what became of them, and are told again", "err", err)
				again.Reset(learnAgain)
				continue
			}
			first = false
		}
	}
}

// learnDeposits tells the deposits of this box what the copy says of them. With
// lost, it tells those too that the region agreed on and knows nothing of; one
// that the feed has only not brought yet is agreed on once more, which changes
// nothing.
func (f *Follower) learnDeposits(box *outbox.Outbox, lost bool) error {
	var news []catalogue.Deposit
	whole := f.copy.Whole() // before it is read
	err := f.copy.List(catalogue.KindDeposit, func(r catalogue.Record) bool {
		if d, ok := f.ownDeposit(r); ok {
			if _, err := box.Get(d.ID); err == nil {
				news = append(news, d)
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read what the region says of deposits: %w", err)
	}
	var errs []error
	known := make(map[string]bool, len(news))
	for _, d := range news {
		known[d.ID] = true
		errs = append(errs, tellDeposit(box, d))
	}
	if lost && whole {
		for _, d := range box.List() {
			if !known[d.ID] {
				errs = append(errs, box.Forgotten(d.ID))
			}
		}
	}
	return errors.Join(errs...)
}

// learnDeposit tells a deposit what a record of the feed says of it.
func (f *Follower) learnDeposit(r catalogue.Record) error {
	box := f.added.outbox()
	if box == nil {
		return nil // the copy has it, and is read when there is one
	}
	var err error
	if r.Kind == catalogue.KindDeposit && r.Deleted {
		err = box.Forgotten(r.ID)
	} else if d, ok := f.ownDeposit(r); ok {
		err = tellDeposit(box, d)
	}
	if err != nil {
		select {
		case f.added.behind <- struct{}{}:
		default:
		}
	}
	return err
}

// ownDeposit reads a record of a deposit, if it is of one that was added here.
func (f *Follower) ownDeposit(r catalogue.Record) (catalogue.Deposit, bool) {
	if r.Kind != catalogue.KindDeposit || r.Deleted {
		return catalogue.Deposit{}, false
	}
	d, err := catalogue.Body[catalogue.Deposit](r)
	if err != nil {
		f.log.Warn("a record of a deposit makes no sense to this version and is left out", "id", r.ID, "err", err)
		return catalogue.Deposit{}, false
	}
	return d, d.Box == string(f.id.Name) && d.School == f.id.School
}

func tellDeposit(box *outbox.Outbox, d catalogue.Deposit) error {
	// An id says nothing of the content, and an answer that is wrong here would
	// let the box give up the only copy.
	if own, err := box.Get(d.ID); err != nil || own.SHA256 != d.SHA256 || own.Length != d.Length {
		return nil
	}
	if d.Kept {
		return box.Learn(d.ID, outbox.InCentral, d.Bucket, d.Key, d.ETag, "")
	}
	return box.Learn(d.ID, outbox.InRegion, "", "", "", d.Waiting)
}

// busy reports whether something is being fetched for somebody.
func (f *Follower) busy() bool {
	st := f.storage.Load()
	if st == nil {
		return false
	}
	busy := false
	st.Fills().Bodies(func(b *fill.Body) { busy = busy || b.Fetching() })
	return busy
}

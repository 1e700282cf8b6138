package follow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"preau/cache/fill"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
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
	region := newDepositTaker(f.parents, string(f.id.Name), connected, f.busy, f.Revoked)
	region.talking = f.cfg.Talking
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
	known := make(map[string]bool)
	whole := f.copy.Whole() // before it is read
	err := f.copy.List(catalogue.KindDeposit, func(r catalogue.Record) bool {
		if d, ok := f.schoolsDeposit(r); ok {
			if own := f.ours(box, d); own || box.HasGuest(said(d)) {
				news = append(news, d)
				known[d.ID] = own
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read what the region says of deposits: %w", err)
	}
	var errs []error
	for _, d := range news {
		errs = append(errs, f.tellDeposit(box, d))
	}
	if lost && whole {
		for _, d := range box.List() {
			if !known[d.RegionID()] {
				errs = append(errs, box.Forgotten(d.RegionID()))
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
	} else if d, ok := f.schoolsDeposit(r); ok {
		err = f.tellDeposit(box, d)
	}
	if err != nil {
		select {
		case f.added.behind <- struct{}{}:
		default:
		}
	}
	return err
}

// schoolsDeposit reads a record of a deposit, if it is of one that was added in
// this school.
func (f *Follower) schoolsDeposit(r catalogue.Record) (catalogue.Deposit, bool) {
	if r.Kind != catalogue.KindDeposit || r.Deleted {
		return catalogue.Deposit{}, false
	}
	d, err := catalogue.Body[catalogue.Deposit](r)
	if err != nil {
		f.log.Warn("a record of a deposit makes no sense to this version and is left out", "id", r.ID, "err", err)
		return catalogue.Deposit{}, false
	}
	return d, d.School == f.id.School
}

// said is a record as the outbox compares it.
func said(d catalogue.Deposit) outbox.Deposit {
	return outbox.Deposit{
		ID: d.ID, Filename: d.Filename, ContentType: d.ContentType, Title: d.Title, Description: d.Description,
		Collection: d.Collection, At: d.At, Length: d.Length, SHA256: d.SHA256,
	}
}

// ours reports a record that is of a deposit of this box. An id says nothing of
// the content, and an answer that is wrong here would let the box give up the
// only copy. What another box of the school has brought is ours if it is the same
// in all words: it has taken ours over, or we have taken over its.
func (f *Follower) ours(box *outbox.Outbox, d catalogue.Deposit) bool {
	own, err := box.InRegionAs(d.ID)
	if err != nil {
		return false
	}
	same := said(d)
	return own.Same(&same) || d.Box == string(f.id.Name) && own.SHA256 == d.SHA256 && own.Length == d.Length
}

func (f *Follower) tellDeposit(box *outbox.Outbox, d catalogue.Deposit) error {
	err := box.ReleaseGuests(said(d))
	switch {
	case !f.ours(box, d):
	case d.Kept:
		err = errors.Join(err, box.Learn(d.ID, outbox.InCentral, d.Bucket, d.Key, d.ETag, ""))
	default:
		err = errors.Join(err, box.Learn(d.ID, outbox.InRegion, "", "", "", d.Waiting))
	}
	return err
}

// Revoked reports whether the region has revoked a box of this school, as far as
// this box has heard. One of which that can't be read is taken for revoked.
func (f *Follower) Revoked(box string) bool {
	return f.takenBack(identity.Box, box)
}

// ServerRevoked is Revoked for one of the region's servers.
func (f *Follower) ServerRevoked(name string) bool { return f.takenBack(identity.Server, name) }

func (f *Follower) takenBack(role identity.Role, name string) bool {
	gone, err := f.revoked(role, name)
	if err != nil {
		f.log.Warn("it can't be read whether somebody was revoked", "role", role, "name", name, "err", err)
	}
	return gone || err != nil
}

func (f *Follower) revoked(role identity.Role, name string) (bool, error) {
	_, err := f.copy.Get(catalogue.KindRevocation, catalogue.RevocationID(role, name))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
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

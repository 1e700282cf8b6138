package follow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"preau/cache/object"
	"preau/cache/storage"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
)

// keyActed is where the number of the latest change that was acted upon lies,
// beside the copy's own keys.
var keyActed = []byte("node/acted")

// keyDoubt is where the time lies up to which stored responses were given up.
var keyDoubt = []byte("node/doubt")

// actAgain is how long to wait before something that failed is tried again.
const actAgain = time.Second

// kinds that a box keeps at hand. Resources are looked up when they are needed.
var kept = []catalogue.Kind{
	catalogue.KindRegion, catalogue.KindServer, catalogue.KindPolicy,
	catalogue.KindSubscription, catalogue.KindPin, catalogue.KindHints,
}

// load reads what the copy holds, at the start. Nothing is purged yet: that
// waits for the storage (Opened).
func (f *Follower) load() error {
	b, err := f.store.Get(keyActed)
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read what was done: %w", err)
	case len(b) == 8:
		f.acted = feed.Seq(binary.BigEndian.Uint64(b))
	}
	if f.index, err = openIndex(f.store); err != nil {
		return err
	}
	f.known = known{
		near: map[string]*resource{}, about: newInterest(), unread: newInterest(), pins: map[string]catalogue.Pin{},
		subscriptions: map[string]catalogue.Subscription{}, policies: map[string]catalogue.Policy{},
	}
	for _, kind := range kept {
		err := f.copy.List(kind, func(r catalogue.Record) bool {
			f.learn(context.Background(), r)
			return true
		})
		if err != nil {
			return fmt.Errorf("read what is known of the region: %w", err)
		}
	}
	if _, _, recorded := f.index.state(); recorded.After(f.known.recorded) {
		f.known.recorded = recorded
	}
	f.known.turn(f.id.School)
	f.lease.lasts = leaseOf(f.policy())
	return f.listServers()
}

// onChange does what changes say. The region hears that the box has them when
// it returns, so it returns when all is done, or when ctx ends: then they are
// done at the next start.
func (f *Follower) onChange(ctx context.Context, changes []catalogue.Record, upto feed.Seq) {
	f.contact()
	servers, boxes := false, false
	for _, r := range changes {
		f.learn(ctx, r)
		servers = servers || r.Kind == catalogue.KindServer
		boxes = boxes || r.Kind == catalogue.KindBox || r.Kind == catalogue.KindRevocation
	}
	if boxes {
		select {
		case f.boxes <- struct{}{}:
		default: // it is known already
		}
	}
	if servers {
		if err := f.listServers(); err != nil {
			f.log.WarnContext(ctx, "the list of servers can't be kept", "err", err)
		}
	}
	f.mu.Lock()
	f.known.turn(f.id.School)
	f.lease.lasts = leaseOf(f.known.policy(f.id.School))
	f.mu.Unlock()
	if err := f.index.note(changes, upto); err != nil {
		f.log.WarnContext(ctx, "the index of resources is behind", "err", err)
	}
	for {
		err := f.act(ctx, changes, upto)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		f.log.ErrorContext(ctx, "what the region decided could not be done, and is tried again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(actAgain):
		}
	}
	f.met.acted.Add(float64(len(changes)))
	f.news.note(changes)
	f.wake()
}

// act does what can't be taken back, and notes that it is done. Without a
// storage nothing is served from one, so nothing need go: Opened does it then.
func (f *Follower) act(ctx context.Context, changes []catalogue.Record, upto feed.Seq) error {
	f.acting.Lock()
	defer f.acting.Unlock()
	if err := f.distrust(ctx, f.storage.Load()); err != nil {
		return err
	}
	var errs []error
	for _, r := range changes {
		switch {
		case r.Kind != catalogue.KindResource:
		case r.Deleted:
			errs = append(errs, f.shelf.Remove(ctx, r.ID))
		default:
			errs = append(errs, f.shelf.Changed(ctx, r.ID))
		}
	}
	st := f.storage.Load()
	if st == nil {
		return errors.Join(errs...)
	}
	if err := errors.Join(append(errs, f.purge(ctx, st, changes))...); err != nil {
		return err
	}
	return f.done(upto)
}

// distrust forgets all stored responses of sites after the box was away for so
// long that purges may have been forgotten before it heard of them.
func (f *Follower) distrust(ctx context.Context, st *storage.Storage) error {
	doubt := f.copy.Doubt()
	if doubt.IsZero() || st == nil {
		return nil
	}
	value := binary.BigEndian.AppendUint64(nil, uint64(doubt.UnixMilli()))
	switch done, err := f.store.Get(keyDoubt); {
	case err == nil && bytes.Equal(done, value):
		return nil
	case err != nil && !errors.Is(err, kv.ErrNotFound):
		return err
	}
	var specs []storage.PurgeSpec
	for _, site := range f.cfg.Sites {
		specs = append(specs, storage.PurgeSpec{Site: site})
	}
	n, err := st.Purge(ctx, specs)
	f.met.purged.Add(float64(n))
	if err != nil {
		return err
	}
	return f.store.Write([]feed.Change{{Key: keyDoubt, Value: value}})
}

func (f *Follower) done(upto feed.Seq) error {
	if upto <= f.acted {
		return nil
	}
	if err := f.store.Write([]feed.Change{{Key: keyActed, Value: binary.BigEndian.AppendUint64(nil, uint64(upto))}}); err != nil {
		return fmt.Errorf("note what is done: %w", err)
	}
	f.acted = upto
	return nil
}

// forget has the copy drop the marks of what was acted upon and is not in the
// index any more. It is not for
// those whom the copy waits for.
func (f *Follower) forget() error {
	f.acting.Lock()
	upto := f.acted
	f.acting.Unlock()
	indexed, _, _ := f.index.state()
	upto = min(upto, indexed)
	return f.copy.Forget(upto)
}

// purge carries out the purges among changes, on the storage's disk when it
// returns.
func (f *Follower) purge(ctx context.Context, st *storage.Storage, changes []catalogue.Record) error {
	var errs []error
	var specs []storage.PurgeSpec
	for _, r := range changes {
		switch {
		case r.Kind == catalogue.KindRegion && !r.Deleted:
			region, err := catalogue.Body[catalogue.Region](r)
			if err == nil {
				err = st.SetMarkKey(region.MarkKey[:])
			}
			errs = append(errs, err)
		case r.Kind == catalogue.KindPurge && !r.Deleted:
			p, err := catalogue.Body[catalogue.Purge](r)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if spec, ok := specOf(p, f.markKey()); ok {
				specs = append(specs, spec)
			}
		}
	}
	n, err := st.Purge(ctx, specs)
	f.met.purged.Add(float64(n))
	return errors.Join(append(errs, err)...)
}

// specOf is a purge as the storage takes it; false for those of published
// resources, which go by their own records.
func specOf(p catalogue.Purge, key object.MarkKeyID) (storage.PurgeSpec, bool) {
	switch p.Scope {
	case catalogue.ScopeSite:
		return storage.PurgeSpec{Site: p.Site, KeyID: key}, true
	case catalogue.ScopeExact, catalogue.ScopePrefix, catalogue.ScopeTag:
		return storage.PurgeSpec{Site: p.Site, Marks: []object.Mark{object.Mark(p.Mark)}, KeyID: key}, true
	}
	return storage.PurgeSpec{}, false
}

// markKey is the id of the region's key for marks, 0 if it is not known.
func (f *Follower) markKey() object.MarkKeyID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known.markKey
}

// Opened brings a storage up to date before anything is served from it: it has
// the region's key, whatever was purged while there was none is gone, and so is
// what is no longer published.
func (f *Follower) Opened(ctx context.Context, st *storage.Storage) error {
	f.acting.Lock()
	defer f.acting.Unlock()
	if err := errors.Join(f.distrust(ctx, st), f.catchUp(ctx, st)); err != nil {
		return fmt.Errorf("catch up with the region: %w", err)
	}
	f.storage.Store(st)
	f.reopened.Store(true)
	if err := f.shelf.Sync(ctx); err != nil {
		f.storage.Store(nil)
		return fmt.Errorf("compare with what is published: %w", err)
	}
	f.wake()
	return nil
}

// catchUp does all that the copy says and that was not done yet.
func (f *Follower) catchUp(ctx context.Context, st *storage.Storage) error {
	if rec, err := f.copy.Get(catalogue.KindRegion, catalogue.Region{}.RecordID()); err == nil {
		if err := f.purge(ctx, st, []catalogue.Record{rec}); err != nil {
			return err
		}
	} else if !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	var changes []catalogue.Record
	upto := f.acted
	var failed error
	err := f.copy.Changes(f.acted, func(r catalogue.Record, seq feed.Seq) bool {
		r.Body = slices.Clone(r.Body)
		changes, upto = append(changes, r), seq
		if len(changes) == 1000 {
			failed = f.purge(ctx, st, changes)
			changes = changes[:0]
		}
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if err := f.purge(ctx, st, changes); err != nil {
		return err
	}
	return f.done(upto)
}

// learn takes one record into what is at hand.
func (f *Follower) learn(ctx context.Context, r catalogue.Record) {
	var err error
	f.reading.Lock()
	f.mu.Lock()
	k := &f.known
	if r.At.After(k.recorded) {
		k.recorded = r.At
	}
	switch r.Kind {
	case catalogue.KindRegion:
		var region catalogue.Region
		if region, err = catalogue.Body[catalogue.Region](r); err == nil && !r.Deleted {
			var m object.Marker
			if m, err = object.NewMarker(region.MarkKey[:]); err == nil {
				k.markKey = m.KeyID()
			}
		}
	case catalogue.KindPolicy:
		err = into(k.policies, r)
	case catalogue.KindSubscription:
		err, k.turned = into(k.subscriptions, r), true
	case catalogue.KindPin:
		err, k.turned = into(k.pins, r), true
	case catalogue.KindResource:
		err = k.set(r)
	case catalogue.KindHints:
		var h catalogue.Hints
		if h, err = catalogue.Body[catalogue.Hints](r); err == nil {
			k.hints, k.turned = h.Keys, true
		}
	}
	f.mu.Unlock()
	f.reading.Unlock()
	if r.Kind == catalogue.KindDeposit {
		if err := f.learnDeposit(r); err != nil {
			f.log.WarnContext(ctx, "a deposit can't be told what became of it, and is told again", "deposit", r.ID, "err", err)
		}
	}
	if err != nil {
		f.log.WarnContext(ctx, "a record of the region makes no sense to this version and is left out", "kind", int(r.Kind), "id", r.ID, "err", err)
	}
}

// into keeps a record under its id, or drops it.
func into[T catalogue.Fact](m map[string]T, r catalogue.Record) error {
	if r.Deleted {
		delete(m, r.ID)
		return nil
	}
	v, err := catalogue.Body[T](r)
	if err != nil {
		return err
	}
	m[r.ID] = v
	return nil
}

// now is the time that this box goes by.
func (f *Follower) now() time.Time {
	f.mu.Lock()
	recorded := f.known.recorded
	f.mu.Unlock()
	return clock(time.Now(), recorded, f.notAfter())
}

// listServers takes the region's servers from the copy, for fills and for the
// next start.
func (f *Follower) listServers() error {
	var servers []catalogue.Server
	err := f.copy.List(catalogue.KindServer, func(r catalogue.Record) bool {
		if s, err := catalogue.Body[catalogue.Server](r); err == nil {
			if _, err := identity.ParseName(s.Name); err == nil {
				servers = append(servers, s)
			}
		}
		return true
	})
	if err != nil || len(servers) == 0 {
		return err
	}
	f.parents.set(servers)
	return f.me.SetServers(f.parents.targets())
}

func (f *Follower) policy() catalogue.Policy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known.policy(f.id.School)
}

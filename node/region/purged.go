package region

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"preau/cache/object"
	"preau/cache/storage"
	"preau/replication/catalogue"
)

// purgeAgain is how long this server waits after a purge of its own copies
// failed.
const purgeAgain = 5 * time.Second

// runPurges has this server's own copies of web sites follow the region's
// purges, until ctx ends. Boxes that ask meanwhile say that they want nothing
// from before the purge, so nobody waits for it.
func (g *Region) runPurges(ctx context.Context) error {
	for {
		wait := time.Hour
		if st := g.front.Storage(); st != nil {
			if err := g.purgeHere(ctx, st); err != nil && ctx.Err() == nil {
				g.log.ErrorContext(ctx, "this server's copies could not be purged, and it is tried again", "err", err)
				wait = purgeAgain
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-g.purges:
			timer.Stop()
		}
	}
}

// purgeHere does what was purged since the last time. It is also called with a
// storage that has just been opened, before anything is served from it.
func (g *Region) purgeHere(ctx context.Context, st *storage.Storage) error {
	g.purging.Lock()
	defer g.purging.Unlock()
	view, err := g.state.View()
	if err != nil {
		return err
	}
	specs, upto, err := g.purgesSince(view, st)
	if err := errors.Join(err, view.Close()); err != nil {
		return err
	}
	if _, err := st.Purge(ctx, specs); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return g.notePurged(upto)
}

// purgesSince lists what was purged after what is noted as done.
func (g *Region) purgesSince(view *catalogue.View, st *storage.Storage) (specs []storage.PurgeSpec, upto uint64, err error) {
	upto, _ = view.Applied()
	after := g.purgedUpto()
	region, ok, err := view.Region()
	if err != nil || !ok {
		return nil, after, err // nothing can have been purged yet
	}
	if err := st.SetMarkKey(region.MarkKey[:]); err != nil {
		return nil, 0, err
	}
	if after < view.Floor() { // purges were forgotten meanwhile
		for _, s := range g.cfg.Site {
			specs = append(specs, storage.PurgeSpec{Site: s.Name})
		}
		return specs, upto, nil
	}
	marker, err := object.NewMarker(region.MarkKey[:])
	if err != nil {
		return nil, 0, err
	}
	var bad error
	err = view.Changes(after, upto, func(r catalogue.Record) bool {
		if r.Kind != catalogue.KindPurge || r.Deleted {
			return true
		}
		p, err := catalogue.Body[catalogue.Purge](r)
		if err != nil {
			bad = err
			return false
		}
		switch p.Scope {
		case catalogue.ScopeSite:
			specs = append(specs, storage.PurgeSpec{Site: p.Site, KeyID: marker.KeyID()})
		case catalogue.ScopeExact, catalogue.ScopePrefix, catalogue.ScopeTag:
			specs = append(specs, storage.PurgeSpec{Site: p.Site, Marks: []object.Mark{object.Mark(p.Mark)}, KeyID: marker.KeyID()})
		}
		return true
	})
	return specs, upto, errors.Join(err, bad)
}

func (g *Region) purgedFile() string { return filepath.Join(g.cfg.Data, "purged") }

// purgedUpto is the index up to which purges were done here. What is not known
// is done again, which costs a few fetches.
func (g *Region) purgedUpto() uint64 {
	b, err := os.ReadFile(g.purgedFile())
	if err != nil || len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (g *Region) notePurged(upto uint64) error {
	tmp := g.purgedFile() + ".new"
	if err := os.WriteFile(tmp, binary.BigEndian.AppendUint64(nil, upto), 0o600); err != nil {
		return fmt.Errorf("note what was purged: %w", err)
	}
	return os.Rename(tmp, g.purgedFile())
}

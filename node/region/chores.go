package region

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/wire"
)

// How often what is done.
const (
	contactsEvery = 10 * time.Minute
	hintsEvery    = time.Hour
	pruneEvery    = 24 * time.Hour
	// keepMarks is how long the marks of what was deleted, and purges, stay: a
	// box that was away for longer takes a snapshot. It is longer than a lease.
	keepMarks = 90 * 24 * time.Hour
	// contactsAtOnce is how many boxes one command tells of.
	contactsAtOnce = 500
	hintCount      = 400
	scrubEvery     = 24 * time.Hour
	scrubRate      = 8 << 20 // bytes a second
)

// runChores does what must be done now and then. Contacts are every server's,
// the rest is the leader's.
func (g *Region) runChores(ctx context.Context) error {
	contacts, hints, prune := time.NewTicker(contactsEvery), time.NewTicker(hintsEvery), time.NewTicker(pruneEvery)
	defer contacts.Stop()
	defer hints.Stop()
	defer prune.Stop()
	for {
		var err error
		var what string
		select {
		case <-ctx.Done():
			return nil
		case <-contacts.C:
			what, err = "contacts", g.noteContacts(ctx)
		case <-hints.C:
			if g.node.IsLeader() {
				what, err = "hints", g.hint(ctx)
			}
		case <-prune.C:
			if g.node.IsLeader() {
				what, err = "prune", g.prune(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			g.log.WarnContext(ctx, "a chore of the region was not done, and will be tried again", "chore", what, "err", err)
		}
	}
}

// noteContacts has the region remember which boxes this server has heard of.
func (g *Region) noteContacts(ctx context.Context) error {
	var boxes []catalogue.Contact
	flush := func() error {
		if len(boxes) == 0 {
			return nil
		}
		_, err := g.submit(ctx, "server/"+g.name, catalogue.Op{Seen: &catalogue.Seen{Boxes: boxes}})
		boxes = boxes[:0]
		return err
	}
	for _, p := range g.feed.Presence() {
		boxes = append(boxes, catalogue.Contact{
			Box: string(p.Name), At: p.Seen.UTC().Truncate(time.Second), Index: p.Acked, Version: p.Version,
		})
		if len(boxes) == contactsAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// prune forgets what nobody needs to be told any more, in as many steps as it
// takes.
func (g *Region) prune(ctx context.Context) error {
	before := time.Now().Add(-keepMarks).UTC().Truncate(time.Millisecond)
	for {
		result, err := g.submit(ctx, "server/"+g.name, catalogue.Op{Prune: &catalogue.Prune{Before: before}})
		if err != nil || result.Detail == "" {
			return err
		}
	}
}

// runScrub reads every published block once a day, slowly, and has what is
// damaged fetched from another server.
func (g *Region) runScrub(ctx context.Context) error {
	tick := time.NewTicker(scrubEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		seen, err := g.blocks.Scrub(ctx, scrubRate)
		for _, d := range seen.Damaged {
			g.shelf.Damaged(d)
		}
		if len(seen.Damaged) > 0 {
			g.log.ErrorContext(ctx, "the disk has damaged published blocks, which are fetched from other servers", "blocks", len(seen.Damaged))
			g.repairer.Poke()
		}
		if err != nil && ctx.Err() == nil {
			g.log.WarnContext(ctx, "published blocks could not all be checked", "err", err)
		}
	}
}

// hint tells boxes what is asked for most, if that has changed.
func (g *Region) hint(ctx context.Context) error {
	view, err := g.state.View()
	if err != nil {
		return err
	}
	top, err := catalogue.TopPopular(view, time.Now().UTC(), hintCount)
	if err := errors.Join(err, view.Close()); err != nil {
		return err
	}
	op, err := catalogue.NewPut(catalogue.Hints{Keys: top})
	if err != nil {
		return err
	}
	_, err = g.submit(ctx, "server/"+g.name, op)
	return err
}

// serveCounts takes what a box has counted. The certificate says which box.
func (g *Region) serveCounts(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	count, err := decode[catalogue.Count](r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, t := range count.Counts {
		if !countable(t.Key) {
			http.Error(w, "that is no key to count by", http.StatusBadRequest)
			return
		}
	}
	count.Box = string(wire.PeerOf(r).Name)
	if _, err := g.submit(r.Context(), by(r), catalogue.Op{Count: &count}); err != nil {
		status, f := g.describe(r, err)
		http.Error(w, f.Detail, status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// countable bounds what a box can have the region remember.
func countable(key string) bool {
	if mark, ok := strings.CutPrefix(key, "m/"); ok {
		raw, err := hex.DecodeString(mark)
		return err == nil && len(raw) == 8
	}
	return strings.HasPrefix(key, "r/") || strings.HasPrefix(key, "o/")
}

// wanted lists the blocks of everything that is published, but for those that
// only a list of blocks names.
func (g *Region) wanted(ctx context.Context, fn func(block.Digest) bool) error {
	return g.resources(ctx, func(res catalogue.Resource) bool {
		return !slices.ContainsFunc(res.Blocks, func(d block.Digest) bool { return !fn(d) })
	})
}

// spared names the lists of what the centre has: their blocks stay if they are
// here, and are fetched again if they are not.
func (g *Region) spared(ctx context.Context, fn func(block.Digest) bool) error {
	return g.resources(ctx, func(res catalogue.Resource) bool {
		return res.Bucket == "" || res.Manifest.IsZero() || fn(res.Manifest)
	})
}

// lists names the blocks that list the blocks of long files.
func (g *Region) lists(ctx context.Context, fn func(block.Digest) bool) error {
	more := true
	err := g.resources(ctx, func(res catalogue.Resource) bool {
		more = res.Manifest.IsZero() || res.Bucket != "" || fn(res.Manifest)
		return more
	})
	if err != nil || !more {
		return err
	}
	// What the centre does not keep yet nobody else has.
	return g.waiting(func(d catalogue.Deposit) bool { return d.Manifest.IsZero() || fn(d.Manifest) })
}

// readBlock reads a block that is held here.
func (g *Region) readBlock(_ context.Context, d block.Digest) ([]byte, error) {
	b, err := g.blocks.Open(d)
	if err != nil {
		return nil, err
	}
	out := make([]byte, b.Len())
	_, err = b.ReadAt(out, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, errors.Join(err, b.Close())
}

// current reports whether this server knows all that the region has decided,
// as far as it can tell.
func (g *Region) current() bool {
	stats := g.node.Stats()
	applied, _ := g.machine.Applied()
	_, led := g.node.Leader()
	return led && applied >= stats.Commit && stats.Commit > 0
}

// holders are the other servers, as keepers of blocks.
func (g *Region) holders() []*hold.Client {
	var out []*hold.Client
	for _, s := range g.node.Servers() {
		name := string(s.ID)
		if name == g.name {
			continue
		}
		c, err := hold.NewClient(name, "https://"+name, g.peers.transport(name, s.Address))
		if err != nil {
			g.log.Warn("a server can't be asked for blocks", "server", name, "err", err)
			continue
		}
		out = append(out, c)
	}
	return out
}

// named reports whether the certificate of that name is revoked.
func (s *revoked) named(role identity.Role, name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[catalogue.RevocationID(role, name)]
	return ok
}

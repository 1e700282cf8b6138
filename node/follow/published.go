package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/kv"
)

// published is the region's resources as the shelf asks for them.
type published struct{ f *Follower }

// Item implements shelf.Catalogue.
func (p published) Item(id string) (shelf.Item, error) {
	r, err := p.f.resource(id)
	if err != nil {
		return shelf.Item{}, err
	}
	return itemOf(r, r.Collection), nil
}

// resource looks a resource up in the copy.
func (f *Follower) resource(id string) (catalogue.Resource, error) {
	rec, err := f.copy.Get(catalogue.KindResource, id)
	if errors.Is(err, kv.ErrNotFound) {
		return catalogue.Resource{}, shelf.ErrUnknown
	}
	if err != nil {
		return catalogue.Resource{}, err
	}
	r, err := catalogue.Body[catalogue.Resource](rec)
	if err != nil {
		return r, fmt.Errorf("%w: its record makes no sense to this version: %w", shelf.ErrUnknown, err)
	}
	if expired(r.Expires, f.now()) {
		return r, shelf.ErrGone
	}
	return r, nil
}

func itemOf(r catalogue.Resource, collection string) shelf.Item {
	return shelf.Item{
		ID: r.ID, Collection: collection, Title: r.Title, Filename: r.Filename, ContentType: r.ContentType,
		Length: r.Length, SHA256: r.SHA256, Blocks: r.Blocks, List: r.Manifest, Listed: r.Listed,
		Description: r.Description, Language: r.Language, Level: r.Level, Licence: r.Licence, ModTime: r.Modified, Expires: r.Expires,
	}
}

// Page implements shelf.Catalogue. A position is COLLECTION/ID.
func (p published) Page(ctx context.Context, after string, most int) (items []shelf.Item, next string, err error) {
	var at entry
	at.collection, at.id, _ = strings.Cut(after, "/")
	titles := map[string]string{}
	for {
		entries, err := p.f.index.page("", at, most)
		if err != nil {
			return nil, "", err
		}
		for _, e := range entries {
			if len(items) == most {
				return items, at.collection + "/" + at.id, nil
			}
			if err := ctx.Err(); err != nil {
				return nil, "", err
			}
			at = e
			r, err := p.f.resource(e.id)
			if errors.Is(err, shelf.ErrUnknown) {
				continue
			}
			if err != nil {
				return nil, "", err
			}
			if _, ok := titles[r.Collection]; !ok {
				titles[r.Collection] = p.f.titleOf(r.Collection)
			}
			it := itemOf(r, titles[r.Collection])
			it.Blocks = nil // of no use in a list
			items = append(items, it)
		}
		if len(entries) < most {
			return items, "", nil
		}
	}
}

// Len implements shelf.Catalogue.
func (p published) Len() int {
	_, n, _ := p.f.index.state()
	return n
}

// Pieces implements shelf.Catalogue: the list of a long resource is kept once
// somebody has asked for it, and fetched once for all who wait for it.
func (p published) Pieces(ctx context.Context, it shelf.Item) ([]shelf.Piece, error) {
	if it.List.IsZero() {
		return nil, fmt.Errorf("%q names no list of its blocks", it.ID)
	}
	raw, err := p.f.list(ctx, it.ID, it.List)
	if err != nil {
		return nil, err
	}
	entries, err := hold.DecodeList(raw, it.Length)
	if err != nil {
		return nil, err
	}
	out := make([]shelf.Piece, len(entries))
	for i, e := range entries {
		out[i] = shelf.Piece(e)
	}
	return out, nil
}

// Keeps implements shelf.Catalogue. What was purged and is published again is
// told apart from what was only replaced by the region's purges: while the copy
// has one that means the resource, nothing older than now's version is sent. A
// time of the region's says nothing on the box's clock, so each of them counts.
func (p published) Keeps(it shelf.Item, stored time.Time) (bool, error) {
	if doubt := p.f.copy.Doubt(); !doubt.IsZero() && !stored.After(doubt) {
		return false, nil // purges may have been forgotten since
	}
	r, err := p.f.resource(it.ID)
	if err != nil {
		return false, err
	}
	purged := false
	err = p.f.copy.List(catalogue.KindPurge, func(rec catalogue.Record) bool {
		q, err := catalogue.Body[catalogue.Purge](rec)
		switch {
		case err != nil: // of a later version of the program: it may mean anything
			purged = true
		case q.Scope == catalogue.ScopeResource:
			purged = q.Target == it.ID
		case q.Scope == catalogue.ScopeCollection:
			purged = q.Target == r.Collection
		}
		return !purged
	})
	return err == nil && !purged, err
}

// list is the list of a resource's blocks, as it is kept or fetched.
func (f *Follower) list(ctx context.Context, of string, d block.Digest) ([]byte, error) {
	for {
		raw, err := f.manifest(d)
		if !errors.Is(err, kv.ErrNotFound) {
			return raw, err
		}
		switch reachOf(ctx) {
		case nowhere:
			return nil, err
		case overLine: // those below may wait for other boxes, which may wait for this one
			return f.fetchManifest(ctx, of, d)
		}
		f.mu.Lock()
		wait := f.listing[d]
		first := wait == nil
		if first {
			wait = make(chan struct{})
			f.listing[d] = wait
		}
		f.mu.Unlock()
		if first {
			raw, err = f.fetchManifest(ctx, of, d)
			f.mu.Lock()
			delete(f.listing, d)
			f.mu.Unlock()
			close(wait)
			return raw, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// manifestPart is how much of a list lies under one key, manifestParts how many
// keys the longest takes.
const (
	manifestPart  = 512 << 10
	manifestParts = (block.Size + manifestPart - 1) / manifestPart
)

func keyManifest(d block.Digest) []byte { return append([]byte("node/list/"), d[:]...) }

// manifest is the list of blocks that a long resource has, if it is here.
func (f *Follower) manifest(d block.Digest) ([]byte, error) {
	var whole []byte
	for part := byte(0); ; part++ {
		b, err := f.store.Get(append(keyManifest(d), part))
		if errors.Is(err, kv.ErrNotFound) && part > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		whole = append(whole, b...)
	}
	if block.Sum(whole) != d {
		return nil, kv.ErrNotFound // the end is missing: it is fetched again
	}
	return whole, nil
}

// fetchManifest gets a list from elsewhere, and keeps it if there is room.
func (f *Follower) fetchManifest(ctx context.Context, of string, d block.Digest) ([]byte, error) {
	raw, err := f.block(withOf(ctx, of), d)
	if err != nil {
		return nil, fmt.Errorf("fetch list of blocks: %w", err)
	}
	var step []feed.Change
	for part, at := byte(0), 0; at < len(raw); part, at = part+1, at+manifestPart {
		piece := raw[at:min(at+manifestPart, len(raw))]
		step = append(step, feed.Change{Key: append(keyManifest(d), part), Value: piece})
	}
	if err := f.store.Write(step); err != nil {
		f.log.WarnContext(ctx, "a list of blocks can't be kept", "err", err)
	}
	return raw, nil
}

// titleOf is what people call a collection.
func (f *Follower) titleOf(collection string) string {
	rec, err := f.copy.Get(catalogue.KindCollection, collection)
	if err != nil {
		return collection
	}
	c, err := catalogue.Body[catalogue.Collection](rec)
	if err != nil || c.Title == "" {
		return collection
	}
	return c.Title
}

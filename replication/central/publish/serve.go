package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
)

const maxChanges = 1000

// Buckets implements central.Publications.
func (p *Publisher) Buckets() []string { return slices.Clone(p.cfg.Buckets) }

// Key implements central.Publications.
func (p *Publisher) Key() []byte { return slices.Clone(p.pub) }

func (p *Publisher) bucket(name string) (*bucket, error) {
	b := p.buckets[name]
	if b == nil {
		return nil, fmt.Errorf("%w: %q", central.ErrNoBucket, name)
	}
	return b, nil
}

// Changes implements central.Publications.
func (p *Publisher) Changes(ctx context.Context, name string, c central.Cursor, limit int, wait time.Duration) (central.Changes, error) {
	b, err := p.bucket(name)
	if err != nil {
		return central.Changes{}, err
	}
	limit = min(max(limit, 1), maxChanges)
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		h, err := p.history(ctx, b)
		if err != nil {
			return central.Changes{}, told(fmt.Errorf("changes of %s: %w", name, err))
		}
		after := c.Seq
		if c.Epoch != h.Epoch() {
			after = 0
		}
		head, news := h.Head()
		if after > head {
			// Another gateway has told of it.
			if err := h.Refresh(ctx); err != nil {
				return central.Changes{}, told(fmt.Errorf("changes of %s: %w", name, err))
			}
			head, news = h.Head()
		}
		out := central.Changes{Epoch: h.Epoch(), Head: head}
		if after < head {
			if out.Changes, err = h.Read(ctx, after, limit); err != nil {
				p.forget(b, h, err)
				return central.Changes{}, told(err)
			}
			out.Head = max(head, after+uint64(len(out.Changes)))
			return out, nil
		}
		if c.Epoch != h.Epoch() && c.Epoch != "" {
			return out, nil // that the epoch is another one is news
		}
		select {
		case <-ctx.Done():
			return central.Changes{}, ctx.Err()
		case <-end.C:
			return out, nil
		case <-news:
		}
	}
}

// List implements central.Publications.
func (p *Publisher) List(ctx context.Context, name string, digest block.Digest) ([]byte, error) {
	b, err := p.bucket(name)
	if err != nil {
		return nil, err
	}
	var found []byte
	err = p.eachPlace(ctx, b, digest, func(at place, list []byte) (bool, error) {
		found = list
		b.places.put(digest, at) // bytes of it are asked for next
		return true, nil
	})
	if err == nil && found == nil {
		err = block.ErrNotFound
	}
	if err != nil {
		return nil, told(fmt.Errorf("list %s of %s: %w", digest, name, err))
	}
	return found, nil
}

// eachPlace calls fn with the places of the versions with a list, until it has
// what it wants.
func (p *Publisher) eachPlace(ctx context.Context, b *bucket, digest block.Digest, fn func(at place, list []byte) (bool, error)) error {
	for after := ""; ; {
		page, err := p.st.List(ctx, p.cfg.System, placesDir(b.name, digest), after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			at, list, err := p.getPlace(ctx, o.Key)
			switch {
			case errors.Is(err, store.ErrNotFound):
				continue // the version has just gone
			case errors.Is(err, errPlace) || err == nil && block.Sum(list) != digest:
				b.log.WarnContext(ctx, "a list of blocks in the store is damaged", "name", o.Key, "err", err)
				continue
			case err != nil:
				return err
			}
			if done, err := fn(at, list); done || err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// Body implements central.Publications.
func (p *Publisher) Body(ctx context.Context, name string, digest block.Digest, off, length int64) (io.ReadCloser, error) {
	return p.BodyOf(ctx, name, "", digest, off, length)
}

// BodyOf implements central.Located.
func (p *Publisher) BodyOf(ctx context.Context, name, key string, digest block.Digest, off, length int64) (io.ReadCloser, error) {
	b, err := p.bucket(name)
	if err != nil {
		return nil, err
	}
	if off < 0 || length < 0 {
		return nil, fmt.Errorf("%w: %d bytes from %d on", central.ErrInvalid, length, off)
	}
	var body io.ReadCloser
	open := func(at place, _ []byte) (bool, error) {
		if off > at.Length || length > at.Length-off {
			return true, fmt.Errorf("%w: %d bytes from %d on, it has %d", central.ErrInvalid, length, off, at.Length)
		}
		rc, _, err := p.st.Get(ctx, b.name, at.Key, off, length, at.ETag)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrChanged):
			return false, nil // another version with these bytes may be there
		case err != nil:
			return true, err
		}
		body = rc
		b.places.put(digest, at)
		return true, nil
	}
	at, ok := b.places.get(digest)
	if !ok {
		at, ok = p.placeOf(ctx, b, key, digest)
	}
	if ok {
		if _, err = open(at, nil); err == nil && body == nil {
			b.places.drop(digest)
		}
	}
	if err == nil && body == nil {
		err = p.eachPlace(ctx, b, digest, open)
	}
	if err == nil && body == nil {
		err = central.ErrGone
	}
	if err != nil {
		return nil, told(fmt.Errorf("body of %s of %s: %w", digest, name, err))
	}
	return body, nil
}

// placeOf is where the version with a list is, if it is the one that the history
// has of key. A history that is longer than what it keeps of its table in memory
// is not asked: that would cost more than to look beside the list.
func (p *Publisher) placeOf(ctx context.Context, b *bucket, key string, digest block.Digest) (place, bool) {
	h := b.hist.Load()
	if key == "" || h == nil {
		return place{}, false
	}
	if head, _ := h.Head(); head > uint64(4*p.cfg.PageRows) { //nolint:gosec // above 1
		return place{}, false
	}
	row, known, err := h.Lookup(ctx, key)
	if err != nil || !known || row.Held || row.List != digest {
		return place{}, false
	}
	return place{Key: key, ETag: row.ETag, Length: row.Size}, true
}

// told makes the store's troubles those of the centre.
func told(err error) error {
	for _, waiting := range []error{
		store.ErrUnavailable, store.ErrDenied, store.ErrFull, store.ErrNotFound, store.ErrChanged, history.ErrEpoch,
	} {
		if errors.Is(err, waiting) && !errors.Is(err, block.ErrNotFound) {
			return fmt.Errorf("%w: %w", central.ErrWaiting, err)
		}
	}
	return err
}

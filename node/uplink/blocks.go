package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/hold"
)

// gathering is how many blocks are got from the gateway at once.
const gathering = 16

// Fill gets a block of the resource named of, from the server whose turn it is
// or from the gateway, and keeps it. direct: another server asks, who knows
// whose turn it is. Any number who want one block wait for one fetch. Errors:
// block.ErrNotFound if the resource has no such block, or what went wrong.
func (u *Uplink) Fill(ctx context.Context, d block.Digest, of string, direct bool) ([]byte, error) {
	res, there, err := u.region.Resource(of)
	switch {
	case err != nil:
		return nil, err
	case !there || res.Bucket == "":
		return nil, block.ErrNotFound
	}
	return u.flights.do(ctx, d, func(ctx context.Context) ([]byte, error) {
		if !direct {
			if owner := u.region.Owner(d); owner != "" {
				p, err := u.region.Ask(ctx, owner, d, of)
				if err == nil {
					u.met.blocks.WithLabelValues("passed_on").Inc()
					return p, nil
				}
				if errors.Is(err, block.ErrNotFound) || ctx.Err() != nil {
					return nil, err
				}
			}
		}
		p, err := u.fetch(ctx, res, d)
		if err != nil {
			u.met.blocks.WithLabelValues("failed").Inc()
			return nil, err
		}
		u.met.blocks.WithLabelValues("fetched").Inc()
		u.met.blockBytes.Add(float64(len(p)))
		if err := u.region.Keep(ctx, d, p); err != nil {
			u.log.DebugContext(ctx, "a block is passed on, and not kept", "digest", d.String(), "err", err)
		}
		return p, nil
	})
}

// fetch gets a block, or the list itself, from the gateway.
func (u *Uplink) fetch(ctx context.Context, res catalogue.Resource, d block.Digest) ([]byte, error) {
	if d == res.Manifest {
		if p, _, ok := hold.OnlyBlock(res.SHA256, d, res.Length); ok {
			return p, nil
		}
		p, err := u.bulk.List(ctx, res.Bucket, d)
		u.said(ctx, err)
		return p, err
	}
	entries, err := u.list(ctx, res)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(entries, func(e hold.Entry) bool { return e.Digest == d })
	if i < 0 {
		return nil, fmt.Errorf("%w in %s", block.ErrNotFound, res.ID)
	}
	p, err := u.runs.get(ctx, res.Manifest, entries, i, func(ctx context.Context, from, to int, each func(i int, p []byte)) error {
		off := int64(0)
		for _, e := range entries[:from] {
			off += int64(e.Length)
		}
		return u.bulk.Blocks(ctx, res.Bucket, res.Key, res.Manifest, off, entries[from:to], func(i int, p []byte) error {
			each(i, p)
			return nil
		})
	})
	u.said(ctx, err)
	return p, err
}

// list returns the blocks of a resource.
func (u *Uplink) list(ctx context.Context, res catalogue.Resource) ([]hold.Entry, error) {
	if entries, ok := u.lists.get(res.Manifest); ok {
		return entries, nil
	}
	if _, entries, ok := hold.OnlyBlock(res.SHA256, res.Manifest, res.Length); ok {
		return entries, nil
	}
	p, err := u.region.Read(ctx, res.Manifest)
	if err != nil {
		if p, err = u.Fill(ctx, res.Manifest, res.ID, false); err != nil {
			return nil, err
		}
	}
	entries, err := hold.DecodeList(p, res.Length)
	if err != nil {
		return nil, err
	}
	u.lists.put(res.Manifest, entries)
	return entries, nil
}

// flights has one fetch for all who want a block.
type flights struct {
	mu    sync.Mutex
	on    map[block.Digest]*flight
	slots chan struct{}
}

type flight struct {
	done    chan struct{}
	p       []byte
	err     error
	waiting int
	cancel  context.CancelFunc
}

// do returns what fetch does for d, which runs once however many ask, and ends
// when nobody waits for it any more.
func (f *flights) do(ctx context.Context, d block.Digest, fetch func(context.Context) ([]byte, error)) ([]byte, error) {
	f.mu.Lock()
	if f.on == nil {
		f.on, f.slots = make(map[block.Digest]*flight), make(chan struct{}, gathering)
	}
	one := f.on[d]
	if one == nil {
		during, cancel := context.WithCancel(context.WithoutCancel(ctx))
		one = &flight{done: make(chan struct{}), cancel: cancel}
		f.on[d] = one
		go f.run(during, d, one, fetch) // it ends with its last waiter, which is a request
	}
	one.waiting++
	f.mu.Unlock()
	select {
	case <-one.done:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if one.waiting--; one.waiting == 0 {
		one.cancel()
		if f.on[d] == one {
			delete(f.on, d)
		}
	}
	select {
	case <-one.done:
		return one.p, one.err
	default:
		return nil, context.Cause(ctx)
	}
}

func (f *flights) run(ctx context.Context, d block.Digest, one *flight, fetch func(context.Context) ([]byte, error)) {
	defer close(one.done)
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.on[d] == one {
			delete(f.on, d)
		}
	}()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		one.err = context.Cause(ctx)
		return
	}
	one.p, one.err = fetch(ctx)
}

// keptLists is how many lists are remembered: each up to 1.2 MB.
const keptLists = 32

// listCache remembers the lists that were used last.
type listCache struct {
	mu    sync.Mutex
	of    map[block.Digest][]hold.Entry
	order []block.Digest
}

func (c *listCache) get(d block.Digest) ([]hold.Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, ok := c.of[d]
	return entries, ok
}

func (c *listCache) put(d block.Digest, entries []hold.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[block.Digest][]hold.Entry)
	}
	if _, ok := c.of[d]; ok {
		return
	}
	if len(c.order) == keptLists {
		delete(c.of, c.order[0])
		c.order = c.order[1:]
	}
	c.of[d], c.order = entries, append(c.order, d)
}

package storetest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"preau/replication/central/store"
)

// Op names a method of store.Store.
type Op string

// The methods.
const (
	Put        Op = "Put"
	Head       Op = "Head"
	Get        Op = "Get"
	Delete     Op = "Delete"
	List       Op = "List"
	Begin      Op = "Begin"
	PutPart    Op = "PutPart"
	Parts      Op = "Parts"
	Complete   Op = "Complete"
	Abort      Op = "Abort"
	MakeBucket Op = "MakeBucket"
	Ready      Op = "Ready"
)

// Fault is what goes wrong with calls of a Faulty. With the zero value every
// call fails with store.ErrUnavailable, for good, without reaching the store.
type Fault struct {
	// Ops, Bucket and Prefix say which calls: the methods (none: all), the bucket
	// and how the key begins (empty: any). A List's key is its prefix.
	Ops    []Op
	Bucket string
	Prefix string

	Skip  int     // this many calls go well first
	Times int     // then this many go wrong; 0: all
	Rate  float64 // of those, this share goes wrong, by chance; 0: all

	Err  error // what the caller is told; nil: store.ErrUnavailable
	Lost bool  // the call does its work, and only the answer is Err instead
	// Delay passes first. With Slow there is no error: it is only late.
	Delay time.Duration
	Slow  bool
	// Hang has the call do nothing until its context ends, and return that error.
	Hang bool
	// Cut, if not nil, lets this many bytes of a body pass before Err: of the one
	// that Get returns, and of the one that Put and PutPart read, whose store then
	// sees a body that fails.
	Cut *int64
}

// Faulty is a store.Store that hands calls on to another and breaks some of
// them. It is safe for concurrent use.
type Faulty struct {
	inner store.Store

	mu     sync.Mutex
	random *rand.Rand
	faults []*armed
	calls  map[Op]int
}

type armed struct {
	Fault
	seen, hit int
}

// NewFaulty returns inner with no fault yet. Chances come from seed.
func NewFaulty(inner store.Store, seed uint64) *Faulty {
	return &Faulty{inner: inner, random: rand.New(rand.NewPCG(seed, seed)), calls: map[Op]int{}}
}

// Add has calls go wrong from now on, until the fault is used up or remove is
// called. Of several faults that fit a call the one added first counts.
func (f *Faulty) Add(fault Fault) (remove func()) {
	a := &armed{Fault: fault}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = slices.DeleteFunc(f.faults, func(other *armed) bool { return other == a })
	}
}

// Clear removes all faults.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls tells how often op was called; without op, how often any method was.
func (f *Faulty) Calls(ops ...Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for op, calls := range f.calls {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += calls
		}
	}
	return n
}

// pick counts a call and finds its fault, if there is one.
func (f *Faulty) pick(op Op, bucket, key string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	for _, a := range f.faults {
		if len(a.Ops) > 0 && !slices.Contains(a.Ops, op) || a.Bucket != "" && a.Bucket != bucket || !strings.HasPrefix(key, a.Prefix) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || a.Times > 0 && a.hit >= a.Times || a.Rate > 0 && f.random.Float64() >= a.Rate {
			continue
		}
		a.hit++
		fault := a.Fault
		if fault.Err == nil {
			fault.Err = store.ErrUnavailable
		}
		return &fault
	}
	return nil
}

// do makes a call, and what is to go wrong with it goes wrong.
func (f *Faulty) do(ctx context.Context, op Op, bucket, key string, call func(*Fault) error) error {
	fault := f.pick(op, bucket, key)
	if fault == nil {
		return call(&Fault{})
	}
	if fault.Delay > 0 {
		late := time.NewTimer(fault.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch {
	case fault.Hang:
		<-ctx.Done()
		return ctx.Err()
	case fault.Slow:
		return call(&Fault{})
	case fault.Cut != nil && (op == Get || op == Put || op == PutPart):
		err := call(fault)
		// The store blames the body, and wraps what it said: the caller is to
		// see the fault alone.
		if err != nil && errors.Is(err, fault.Err) {
			return fault.Err
		}
		return err
	case fault.Lost:
		if err := call(&Fault{}); err != nil {
			return err
		}
	}
	return fault.Err
}

// body is r, cut if the fault says so.
func (f *Fault) body(r io.Reader) io.Reader {
	if f.Cut == nil {
		return r
	}
	return &cut{r: r, left: *f.Cut, err: f.Err}
}

type cut struct {
	r    io.Reader
	left int64
	err  error
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Put implements store.Store.
func (f *Faulty) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (info store.Info, err error) {
	err = f.do(ctx, Put, bucket, key, func(fault *Fault) (err error) {
		info, err = f.inner.Put(ctx, bucket, key, fault.body(body), size, o, c)
		return err
	})
	return orZero(info, err)
}

// Head implements store.Store.
func (f *Faulty) Head(ctx context.Context, bucket, key string) (info store.Info, err error) {
	err = f.do(ctx, Head, bucket, key, func(*Fault) (err error) {
		info, err = f.inner.Head(ctx, bucket, key)
		return err
	})
	return orZero(info, err)
}

// Get implements store.Store.
func (f *Faulty) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (body io.ReadCloser, info store.Info, err error) {
	err = f.do(ctx, Get, bucket, key, func(fault *Fault) (err error) {
		body, info, err = f.inner.Get(ctx, bucket, key, off, length, etag)
		if err == nil {
			body = readCloser{fault.body(body), body}
		}
		return err
	})
	if err != nil && body != nil {
		err = errors.Join(err, body.Close())
		body = nil
	}
	info, err = orZero(info, err)
	return body, info, err
}

type readCloser struct {
	io.Reader
	io.Closer
}

// Delete implements store.Store.
func (f *Faulty) Delete(ctx context.Context, bucket, key string) error {
	return f.do(ctx, Delete, bucket, key, func(*Fault) error { return f.inner.Delete(ctx, bucket, key) })
}

// List implements store.Store.
func (f *Faulty) List(ctx context.Context, bucket, prefix, after string, limit int) (page store.Page, err error) {
	err = f.do(ctx, List, bucket, prefix, func(*Fault) (err error) {
		page, err = f.inner.List(ctx, bucket, prefix, after, limit)
		return err
	})
	return orZero(page, err)
}

// Begin implements store.Store.
func (f *Faulty) Begin(ctx context.Context, bucket, key string, o store.Options) (id string, err error) {
	err = f.do(ctx, Begin, bucket, key, func(*Fault) (err error) {
		id, err = f.inner.Begin(ctx, bucket, key, o)
		return err
	})
	return orZero(id, err)
}

// PutPart implements store.Store.
func (f *Faulty) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, size int64) (p store.Part, err error) {
	err = f.do(ctx, PutPart, bucket, key, func(fault *Fault) (err error) {
		p, err = f.inner.PutPart(ctx, bucket, key, id, number, fault.body(body), size)
		return err
	})
	return orZero(p, err)
}

// Parts implements store.Store.
func (f *Faulty) Parts(ctx context.Context, bucket, key, id string) (all []store.Part, err error) {
	err = f.do(ctx, Parts, bucket, key, func(*Fault) (err error) {
		all, err = f.inner.Parts(ctx, bucket, key, id)
		return err
	})
	return orZero(all, err)
}

// Complete implements store.Store.
func (f *Faulty) Complete(ctx context.Context, bucket, key, id string, parts []store.Part) (info store.Info, err error) {
	err = f.do(ctx, Complete, bucket, key, func(*Fault) (err error) {
		info, err = f.inner.Complete(ctx, bucket, key, id, parts)
		return err
	})
	return orZero(info, err)
}

// Abort implements store.Store.
func (f *Faulty) Abort(ctx context.Context, bucket, key, id string) error {
	return f.do(ctx, Abort, bucket, key, func(*Fault) error { return f.inner.Abort(ctx, bucket, key, id) })
}

// MakeBucket implements store.Store.
func (f *Faulty) MakeBucket(ctx context.Context, bucket string) error {
	return f.do(ctx, MakeBucket, bucket, "", func(*Fault) error { return f.inner.MakeBucket(ctx, bucket) })
}

// Ready implements store.Store.
func (f *Faulty) Ready(ctx context.Context, bucket string) error {
	return f.do(ctx, Ready, bucket, "", func(*Fault) error { return f.inner.Ready(ctx, bucket) })
}

// orZero keeps what a lost answer said from its caller.
func orZero[T any](value T, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return value, nil
}

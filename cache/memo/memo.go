// Package memo remembers values in memory: a bounded number of them, or of what
// they weigh, and each for a bounded time if that is wanted. What is asked for
// often stays (W-TinyLFU, by otter).
//
// It is there for compilation as well. otter is generic code: each package that
// holds one of its types, or a struct with one inside, compiles thousands of its
// functions again. Here it is made for one pair of types, behind an interface
// that keeps it out of sight.
//
// It loads nothing, and knows nothing of what is stored on disk.
package memo

import (
	"errors"
	"time"

	"github.com/maypok86/otter/v2"
)

// Key is what a value is remembered by. Shorter ones are filled up with zeros.
type Key = [32]byte

// Options bound what is remembered: Most values, or, with Weigh, values that
// weigh Most together. A value is forgotten so long after it was set; 0 keeps it
// until there is no more room.
type Options[V any] struct {
	Most  int
	Weigh func(V) uint32
	For   time.Duration
}

// Cache remembers values of one type. Its methods may be called concurrently.
type Cache[V any] struct{ in store }

// store is what Cache asks of otter.
type store interface {
	GetIfPresent(Key) (any, bool)
	Set(Key, any) (any, bool)
	SetExpiresAfter(Key, time.Duration)
	Invalidate(Key) (any, bool)
	InvalidateAll()
	EstimatedSize() int
	StopAllGoroutines() bool
}

// New makes an empty cache. One that forgets by time must be closed.
func New[V any](o Options[V]) (*Cache[V], error) {
	var weigh func(any) uint32
	if o.Weigh != nil {
		weigh = func(v any) uint32 { return o.Weigh(v.(V)) } //nolint:errcheck,forcetypeassert // it holds nothing else
	}
	in, err := open(o.Most, weigh, o.For)
	if err != nil {
		return nil, err
	}
	return &Cache[V]{in}, nil
}

// open must not be inlined: otter would be compiled where it is.
//
//go:noinline
func open(most int, weigh func(any) uint32, keep time.Duration) (store, error) {
	if most <= 0 {
		return nil, errors.New("memo: Most must be more than 0")
	}
	o := otter.Options[Key, any]{}
	if weigh != nil {
		o.MaximumWeight, o.Weigher = uint64(most), func(_ Key, v any) uint32 { return weigh(v) }
	} else {
		o.MaximumSize = most
	}
	if keep > 0 {
		o.ExpiryCalculator = otter.ExpiryWriting[Key, any](keep)
	}
	return otter.New(&o)
}

// Get returns what is remembered under key.
func (c *Cache[V]) Get(key Key) (V, bool) {
	if v, ok := c.in.GetIfPresent(key); ok {
		return v.(V), true //nolint:errcheck,forcetypeassert // it holds nothing else
	}
	var none V
	return none, false
}

// Set remembers v in place of what was there.
func (c *Cache[V]) Set(key Key, v V) { c.in.Set(key, v) }

// SetFor remembers v for so long, whatever Options say; 0 and less are as Set.
// It needs Options.For.
func (c *Cache[V]) SetFor(key Key, v V, keep time.Duration) {
	c.in.Set(key, v)
	if keep > 0 {
		c.in.SetExpiresAfter(key, keep)
	}
}

// Forget drops what is remembered under key.
func (c *Cache[V]) Forget(key Key) { c.in.Invalidate(key) }

// Clear drops everything.
func (c *Cache[V]) Clear() { c.in.InvalidateAll() }

// Empty tells whether nothing is remembered. What is forgotten by time may count
// a little longer.
func (c *Cache[V]) Empty() bool { return c.in.EstimatedSize() == 0 }

// Close ends what forgets by time. Values are then forgotten when they are asked
// for.
func (c *Cache[V]) Close() { c.in.StopAllGoroutines() }

// Package popular counts how often things are asked for, so that a region may
// learn what is wanted and nobody may learn by whom.
//
// A Counter is told a key for each request, and nothing else: no device ever
// enters. What few have asked for never leaves: a Digest holds only what was
// asked for at least k times within the window. Older requests count for less,
// by half in each half-life, and for nothing beyond the window. What a digest
// told is taken off once it is acknowledged, so that nothing is told twice.
//
// The package sends nothing and writes no file. Memory is bounded: where there
// are more keys than that, those asked for least are forgotten, and begin at
// zero should they come again; no count is ever too high.
package popular

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// maxKey bounds a key in bytes; requests for longer ones are not counted.
const maxKey = 1024

// buckets is into how many parts the window is cut.
const buckets = 14

// Threshold is how many requests make a thing nobody's in particular.
const Threshold = 5

// Config bounds a Counter. Start from DefaultConfig.
type Config struct {
	HalfLife time.Duration
	Window   time.Duration // requests before it count for nothing
	Keys     int           // kept at a time
	Entries  int           // in a digest, the most popular ones
}

// DefaultConfig is for a school: some hundred kilobytes of memory.
func DefaultConfig() Config {
	return Config{HalfLife: 7 * 24 * time.Hour, Window: 14 * 24 * time.Hour, Keys: 10_000, Entries: 1000}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.HalfLife <= 0 {
		errs = append(errs, errors.New("half_life: must be longer than 0"))
	}
	if c.Window < buckets*time.Second {
		errs = append(errs, fmt.Errorf("window: must be at least %d s", buckets))
	}
	if c.Keys < 1 || c.Keys > 1_000_000 || c.Entries < 1 || c.Entries > 100_000 {
		errs = append(errs, errors.New("keys, entries: must be 1 to 1,000,000 and 1 to 100,000"))
	}
	return errors.Join(errs...)
}

// Digest is what may be told of the requests since the last one.
type Digest struct {
	// Seq numbers the digests of one Counter from 1. The same number is the same
	// digest: whoever gets it twice counts it once.
	Seq     uint64  `cbor:"1,keyasint"`
	Entries []Entry `cbor:"2,keyasint"`
}

// Entry is one thing that was asked for often enough.
type Entry struct {
	Key    string  `cbor:"1,keyasint"`
	Hits   uint64  `cbor:"2,keyasint"` // requests within the window
	Weight float64 `cbor:"3,keyasint"` // the same, older ones for less
}

// Counter counts. Its methods may be called concurrently.
type Counter struct {
	cfg  Config
	slot time.Duration // of one bucket

	mu    sync.Mutex
	keys  map[string]*count
	seq   uint64  // of the last digest that was made
	out   *Digest // made and not acknowledged
	taken map[string]count
}

// count is one key's requests by bucket: hits[0] is that numbered last, the
// ones after it are the buckets before.
type count struct {
	last int64
	hits [buckets]uint32
}

// New returns a Counter that has counted nothing.
func New(cfg Config) (*Counter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("popular config: %w", err)
	}
	return &Counter{cfg: cfg, slot: cfg.Window / buckets, keys: map[string]*count{}}, nil
}

func (c *Counter) bucket(now time.Time) int64 { return now.UnixNano() / int64(c.slot) }

// Add counts one request for key.
func (c *Counter) Add(key string, now time.Time) {
	if key == "" || len(key) > maxKey {
		return
	}
	n := c.bucket(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil {
		if len(c.keys) >= c.cfg.Keys {
			c.forgetOne(n)
		}
		k = &count{last: n}
		c.keys[key] = k
	}
	k.move(n)
	if k.hits[0] < math.MaxUint32 {
		k.hits[0]++
	}
}

// move makes n the newest bucket. A clock that goes back a little goes on in
// the same bucket; one that was far ahead is set right.
func (k *count) move(n int64) {
	switch by := n - k.last; {
	case by >= buckets:
		k.hits = [buckets]uint32{}
	case by > 0:
		copy(k.hits[by:], k.hits[:buckets-by])
		clear(k.hits[:by])
	case by > -buckets:
		return
	}
	k.last = n
}

// hits counts what lies within the window that ends with bucket n.
func (k *count) within(n int64, fn func(age int64, hits uint32)) {
	for i, h := range k.hits {
		age := n - k.last + int64(i)
		if k.last > n { // the clock went back
			age = int64(i)
		}
		if h > 0 && age < buckets {
			fn(max(0, age), h)
		}
	}
}

func (c *Counter) weigh(k *count, n int64) (hits uint64, weight float64) {
	k.within(n, func(age int64, h uint32) {
		hits += uint64(h)
		weight += float64(h) * math.Exp2(-float64(age)*float64(c.slot)/float64(c.cfg.HalfLife))
	})
	return hits, weight
}

// forgetOne makes room. It looks at a few keys and forgets the least of them:
// what is popular is hardly ever among those. Callers hold c.mu.
func (c *Counter) forgetOne(n int64) {
	const look = 16
	least, victim, seen := math.Inf(1), "", 0
	for key, k := range c.keys { // in no order
		if _, w := c.weigh(k, n); w < least {
			least, victim = w, key
		}
		if seen++; seen == look {
			break
		}
	}
	delete(c.keys, victim)
}

// Hits is how often key was asked for within the window, as far as is remembered.
func (c *Counter) Hits(key string, now time.Time) (hits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.keys[key]; k != nil {
		hits, _ = c.weigh(k, c.bucket(now))
	}
	return hits
}

// Len is how many keys are kept.
func (c *Counter) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys)
}

// Digest tells what was asked for at least k times within the window, the most
// popular first; false if there is nothing to tell. Until it is acknowledged
// the same digest is returned again.
func (c *Counter) Digest(now time.Time, k uint64) (Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		return *c.out, true
	}
	n := c.bucket(now)
	var entries []Entry
	for key, cnt := range c.keys {
		if hits, weight := c.weigh(cnt, n); hits >= max(1, k) {
			entries = append(entries, Entry{key, hits, weight})
		}
	}
	if len(entries) == 0 {
		return Digest{}, false
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Key, b.Key))
	})
	entries = slices.Clip(entries[:min(len(entries), c.cfg.Entries)])
	c.seq++
	c.out, c.taken = &Digest{c.seq, entries}, make(map[string]count, len(entries))
	for _, e := range entries {
		c.taken[e.Key] = *c.keys[e.Key]
	}
	return *c.out, true
}

// Ack takes off what the digest numbered seq told: it has arrived. Any other
// number means nothing.
func (c *Counter) Ack(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil || c.out.Seq != seq {
		return
	}
	for key, told := range c.taken {
		k := c.keys[key]
		if k == nil {
			continue
		}
		told.move(k.last)
		left := false
		for i := range k.hits {
			k.hits[i] -= min(k.hits[i], told.hits[i])
			left = left || k.hits[i] > 0
		}
		if !left {
			delete(c.keys, key)
		}
	}
	c.out, c.taken = nil, nil
}

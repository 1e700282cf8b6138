// Package objecttest holds an object.KV in memory and the suite that every KV
// must pass. It is for tests.
package objecttest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"preau/cache/object"
)

// Memory is an object.KV in memory.
type Memory struct {
	mu   sync.Mutex
	m    map[string][]byte
	full bool
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{m: map[string][]byte{}} }

// SetFull makes every Write fail with object.ErrFull, or work again.
func (kv *Memory) SetFull(full bool) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.full = full
}

// Damage flips a bit of every value whose key has the prefix and reports how
// many there were.
func (kv *Memory) Damage(prefix string) int {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	n := 0
	for k, v := range kv.m {
		if strings.HasPrefix(k, prefix) && len(v) > 0 {
			v[len(v)/2] ^= 4
			n++
		}
	}
	return n
}

// Len is the number of keys.
func (kv *Memory) Len() int {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	return len(kv.m)
}

// Get implements object.KV.
func (kv *Memory) Get(key []byte) ([]byte, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	v, ok := kv.m[string(key)]
	if !ok {
		return nil, object.ErrNotFound
	}
	return slices.Clone(v), nil
}

// Write implements object.KV.
func (kv *Memory) Write(batch []object.Change) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.full {
		return object.ErrFull
	}
	for _, c := range batch {
		if c.Delete {
			delete(kv.m, string(c.Key))
			continue
		}
		kv.m[string(c.Key)] = slices.Clone(c.Value)
	}
	return nil
}

// Scan implements object.KV.
func (kv *Memory) Scan(prefix []byte, keysOnly bool, fn func(key, value []byte) error) error {
	kv.mu.Lock()
	keys := slices.Sorted(maps.Keys(kv.m))
	kv.mu.Unlock()
	for _, k := range keys {
		if !strings.HasPrefix(k, string(prefix)) {
			continue
		}
		var v []byte
		if !keysOnly {
			kv.mu.Lock()
			v = slices.Clone(kv.m[k])
			kv.mu.Unlock()
		}
		if err := fn([]byte(k), v); err != nil {
			if errors.Is(err, object.ErrStopScan) {
				return nil
			}
			return err
		}
	}
	return nil
}

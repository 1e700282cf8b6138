package dirstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"preau/replication/central/store"
)

// index is what a listing of a bucket tells, in the order of keys.
type index struct {
	mu      sync.RWMutex
	entries []*entry
	// damaged is the files, by name, whose key can't be read any more.
	damaged map[string]bool
}

// entry is one object. It is never changed, only replaced.
type entry struct {
	key, etag string
	size      int64
	modified  int64 // nanoseconds
}

func newEntry(a about) *entry {
	return &entry{key: a.Key, etag: a.ETag, size: a.Size, modified: a.Modified.UnixNano()}
}

// find says where key is, or would be.
func (x *index) find(key string) (int, bool) {
	return slices.BinarySearchFunc(x.entries, key, func(e *entry, key string) int { return strings.Compare(e.key, key) })
}

func (x *index) set(name string, a about) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.damaged, name)
	if i, ok := x.find(a.Key); ok {
		x.entries[i] = newEntry(a)
	} else {
		x.entries = slices.Insert(x.entries, i, newEntry(a))
	}
}

func (x *index) drop(name, key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.damaged, name)
	if i, ok := x.find(key); ok {
		x.entries = slices.Delete(x.entries, i, i+1)
	}
}

// holds checks a condition. The caller holds the lock of the key.
func (x *index) holds(name, key string, c store.Condition) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.damaged[name] {
		return fmt.Errorf("%w: its version can't be read; put it without a condition, or delete it", ErrDamaged)
	}
	i, ok := x.find(key)
	switch {
	case c.Absent && ok:
		return fmt.Errorf("%w: it exists", store.ErrChanged)
	case c.ETag != "" && !ok:
		return fmt.Errorf("%w: it is not there", store.ErrChanged)
	case c.ETag != "" && x.entries[i].etag != c.ETag:
		return fmt.Errorf("%w: it is version %q, not %q", store.ErrChanged, x.entries[i].etag, c.ETag)
	}
	return nil
}

func (x *index) page(prefix, after string, limit int) store.Page {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i, ok := x.find(max(prefix, after))
	if ok && x.entries[i].key == after {
		i++
	}
	var page store.Page
	for _, e := range x.entries[i:] {
		if !strings.HasPrefix(e.key, prefix) {
			break
		}
		if len(page.Objects) == limit {
			page.Next = page.Objects[limit-1].Key
			break
		}
		page.Objects = append(page.Objects, store.Info{
			Key: e.key, ETag: e.etag, Size: e.size, Modified: time.Unix(0, e.modified).UTC(),
		})
	}
	return page
}

package object

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// purgeKeys is how many keys are purged with one write.
const purgeKeys = 256

// Syncer is a KV that can be told to bring what was written to the disk.
type Syncer interface{ Sync() error }

// Purge removes every object for which hit is true and reports how many there
// were. When it returns without an error the removal is on the disk. It reads
// all objects once; hit must be quick.
func (s *Store) Purge(ctx context.Context, hit func(*Object) bool) (int, error) {
	var keys []Key
	err := s.kv.Scan([]byte{prefixSet}, false, func(key, value []byte) error {
		if len(key) != 1+len(Key{}) {
			return ctx.Err()
		}
		k := Key(key[1:])
		set, err := decodeSet(k, value)
		if err != nil {
			return ctx.Err() // it can't be served either
		}
		if slices.ContainsFunc(set, hit) {
			keys = append(keys, k)
		}
		return ctx.Err()
	})
	if err != nil {
		return 0, fmt.Errorf("look for what is to be purged: %w", err)
	}
	removed := 0
	for batch := range slices.Chunk(keys, purgeKeys) {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		n, err := s.purge(batch, hit)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("purge objects: %w", err)
		}
	}
	if sync, ok := s.kv.(Syncer); ok && removed > 0 {
		if err := sync.Sync(); err != nil {
			return removed, fmt.Errorf("bring a purge to the disk: %w", err)
		}
	}
	return removed, nil
}

// purge removes what hit is true for from the sets of keys, with one write.
func (s *Store) purge(keys []Key, hit func(*Object) bool) (int, error) {
	// Everybody who holds several locks takes them in this order.
	var locked [len(s.locks)]bool
	for _, k := range keys {
		locked[k[0]%64] = true
	}
	for i := range locked {
		if locked[i] {
			s.locks[i].Lock()
			defer s.locks[i].Unlock()
		}
	}
	removed, err := s.purgeLocked(keys, hit)
	if errors.Is(err, ErrFull) {
		// A disk that has no room takes deletions and nothing else: the other
		// variants go too.
		keys := slices.Clone(keys)
		return s.purgeLocked(keys, func(*Object) bool { return true })
	}
	return removed, err
}

func (s *Store) purgeLocked(keys []Key, hit func(*Object) bool) (int, error) {
	var changes []Change
	removed := 0
	sets := make([]Set, len(keys))
	for i, k := range keys {
		set, err := s.read(k) // as it is now, under its lock
		if err != nil {
			return 0, err
		}
		before := len(set)
		sets[i] = slices.DeleteFunc(set, func(o *Object) bool {
			if !hit(o) {
				return false
			}
			changes = append(changes, s.forget(o)...)
			return true
		})
		removed += before - len(sets[i])
		switch {
		case len(sets[i]) == before:
		case len(sets[i]) == 0:
			changes = append(changes, Change{Key: setKey(k), Delete: true})
		default:
			b, err := encodeSet(k, sets[i])
			if err != nil {
				return 0, err
			}
			changes = append(changes, Change{Key: setKey(k), Value: b})
		}
	}
	if err := s.kv.Write(changes); err != nil {
		return 0, err
	}
	for i, k := range keys {
		s.cache.Set(k, sets[i])
	}
	s.count.Add(int64(-removed))
	s.metrics.removed.WithLabelValues("purged").Add(float64(removed))
	return removed, nil
}

package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"preau/cache/object"
	"preau/cache/object/badgermeta"
	"preau/replication/feed"
	"preau/replication/kv"
)

// store is a small Badger as a feed's copy needs it. It is the same as the one
// under the cache's objects, which neither a full nor a damaged disk can harm.
type store struct{ *badgermeta.Store }

// openStore opens the copy's store. What can't be read is put aside: the region
// has it all, and the copy begins anew.
func openStore(dir string, log *slog.Logger) (store, error) {
	s, _, lost, err := badgermeta.Open(badgermeta.DefaultConfig(dir), log)
	if err != nil {
		return store{}, fmt.Errorf("open what is known of the region: %w", full(err))
	}
	if lost != nil {
		log.Warn("what was known of the region can't be read and is fetched again", "err", lost)
	}
	return store{s}, nil
}

// Get implements kv.Reader.
func (s store) Get(key []byte) ([]byte, error) {
	v, err := s.Store.Get(key)
	if errors.Is(err, object.ErrNotFound) {
		return nil, kv.ErrNotFound
	}
	return v, err
}

// Scan implements kv.Reader.
func (s store) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	return s.ScanAfter(prefix, after, fn)
}

// Write implements feed.Store.
func (s store) Write(changes []feed.Change) error {
	if err := s.write(changes); err != nil {
		return err
	}
	return s.Sync()
}

// write is Write without waiting for the disk: a power cut may cost the latest
// of what was written, in whole steps.
func (s store) write(changes []feed.Change) error {
	batch := make([]object.Change, len(changes))
	for i, c := range changes {
		batch[i] = object.Change{Key: c.Key, Value: c.Value, Delete: c.Delete}
	}
	if err := s.Store.Write(batch); err != nil {
		return full(err)
	}
	return nil
}

func full(err error) error {
	if errors.Is(err, object.ErrFull) {
		return fmt.Errorf("%w: %w", kv.ErrFull, err)
	}
	return err
}

// run keeps the store until ctx ends, and closes it.
func (s store) run(ctx context.Context) error {
	err := s.Run(ctx)
	if closed := s.Close(); closed != nil && !errors.Is(closed, object.ErrFull) {
		err = errors.Join(err, closed)
	}
	return err
}

package fileblock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"preau/cache/block"
)

// Put implements block.Store. When it returns nil the block is durable, also if
// it was there already: what lies there is checked and, if damaged, replaced.
func (s *Store) Put(ctx context.Context, _ block.Ring, d block.Digest, p []byte) (block.Segment, error) {
	if len(p) > block.Size {
		return 0, fmt.Errorf("put block: %d bytes are too many", len(p))
	}
	if block.Sum(p) != d {
		return 0, fmt.Errorf("put block %s: its bytes have another digest", d)
	}
	for {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return 0, errClosed
		}
		if _, ok := s.blocks[d]; ok {
			s.mu.Unlock()
			if s.again(d) {
				return segment, nil
			}
			continue
		}
		if other, ok := s.writing[d]; ok {
			s.mu.Unlock()
			select {
			case <-other: // see how it went
			case <-ctx.Done():
			}
			continue
		}
		done := make(chan struct{})
		s.writing[d] = done
		s.pending += int64(len(p))
		pending := s.pending
		s.mu.Unlock()

		err := s.write(d, p, pending)

		s.mu.Lock()
		delete(s.writing, d)
		close(done)
		s.pending -= int64(len(p))
		if err == nil {
			// Not yet checked: the first Open reads back what the disk was given.
			s.blocks[d] = &entry{size: int64(len(p)), modtime: time.Now()}
			s.used += int64(len(p))
		}
		s.mu.Unlock()
		if err != nil {
			if errors.Is(err, block.ErrNoSpace) {
				s.metrics.refused.Inc()
			}
			return 0, fmt.Errorf("put block %s: %w", d, err)
		}
		s.metrics.written.Inc()
		return segment, nil
	}
}

// again makes a block that is held young, and reports whether it is right. If
// it is not, it is gone when again returns.
func (s *Store) again(d block.Digest) bool {
	b, err := s.open(d)
	if err != nil {
		if !errors.Is(err, block.ErrNotFound) {
			// A file that can't even be read keeps nothing.
			s.Drop(d)
		}
		return false
	}
	defer b.f.Close() //nolint:errcheck // only read
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.blocks[d]
	if !ok {
		return false
	}
	e.modtime = time.Now()
	// For the next start; a sweep of this one goes by the entry.
	if err := os.Chtimes(s.path(d), time.Time{}, e.modtime); err != nil {
		s.log.Warn("Time of a block could not be set", "digest", d, "err", err)
	}
	return true
}

// write makes p durable under its name.
func (s *Store) write(d block.Digest, p []byte, pending int64) (err error) {
	free, total, err := diskSpace(s.cfg.Dir)
	if err != nil {
		return err
	}
	reserve := s.cfg.ReserveBytes
	if reserve == 0 {
		reserve = reserveFor(total)
	}
	if free-pending < reserve {
		return fmt.Errorf("%w: %d bytes are free, %d of them reserved", block.ErrNoSpace, free, reserve)
	}
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", block.ErrNoSpace, err)
		}
	}()
	if err := s.makeFolder(d); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(s.cfg.Dir, tempName), "block-*")
	if err != nil {
		return err
	}
	temp, open := f.Name(), true
	defer func() {
		if err != nil {
			if open {
				err = errors.Join(err, f.Close())
			}
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if _, err := f.Write(p); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	open = false
	if err := f.Close(); err != nil {
		return err
	}
	path := s.path(d)
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	temp = path // what is to be removed if the name can't be made durable
	return syncDir(filepath.Dir(path))
}

// makeFolder makes the folder of d's file, durably.
func (s *Store) makeFolder(d block.Digest) error {
	s.mu.Lock()
	there := s.folders[d[0]]
	s.mu.Unlock()
	if there {
		return nil
	}
	// Two may do this at once; neither goes on before the folder is durable.
	if err := os.Mkdir(filepath.Dir(s.path(d)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(s.cfg.Dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders[d[0]] = true
	return nil
}

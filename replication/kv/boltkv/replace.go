package boltkv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
)

// newSuffix names the file that Replace builds beside the old one.
const newSuffix = ".new"

// replaceBatch is how many bytes of records are put in one transaction of a
// file that nobody sees yet.
const replaceBatch = 16 * mib

// Replace implements kv.Store. It builds another file beside the old one, which
// takes room on the disk for both, and renames it over the old one at the end.
func (s *Store) Replace(fn func(put func(key, value []byte) error) error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	err := s.usable()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	f, err := s.build(fn)
	if err != nil {
		return err
	}
	if err := s.install(); err != nil {
		// Which of the two the disk has now is in doubt.
		return s.fail(errors.Join(fmt.Errorf("replace: %w", err), f.close()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.cur
	s.cur = f
	old.retired = true
	if old.views == 0 {
		// The new content is in place; that the old file does not close well
		// changes nothing of it.
		_ = old.close() //nolint:errcheck // see above
	}
	return nil
}

// install gives the file that build made its name.
func (s *Store) install() error {
	if err := os.Rename(s.path+newSuffix, s.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.path))
}

// build makes a file of what fn puts, durable and ready for use.
func (s *Store) build(fn func(put func(key, value []byte) error) error) (_ *file, err error) {
	path := s.path + newSuffix
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace: %w", err)
	}
	f, err := openFile(path, s.cfg.MaxBytes, true)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replace: %w", err), os.Remove(path))
	}
	done := false
	defer func() { // also when fn panics
		if !done {
			err = errors.Join(err, f.close(), os.Remove(path))
		}
	}()
	if err := f.plain(path, func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(dataBucket); err != nil {
			return err
		}
		m, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return errors.Join(m.Put(formatKey, []byte(format)), m.Put(totalsKey, new(totals).encode()))
	}); err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	b := batch{flush: func(pairs []pair) error { return f.load(path, pairs) }}
	if err := fn(b.put); err != nil {
		return nil, err
	}
	if err := b.end(); err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	if err := full(f.f.Sync()); err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	f.db.NoSync, f.db.NoGrowSync = false, false
	if err := f.keepSpare(path); err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	done = true
	return f, nil
}

// load puts pairs, which are in order, into a file under construction.
func (f *file) load(path string, pairs []pair) error {
	return f.plain(path, func(tx *bbolt.Tx) error {
		data, total, err := contents(tx)
		if err != nil {
			return err
		}
		data.FillPercent = 0.9
		last, _ := data.Cursor().Last()
		last = bytes.Clone(last)
		for _, p := range pairs {
			if bytes.Compare(p.key, last) > 0 {
				last = p.key // as in a snapshot: there is nothing to look for
			} else if old := data.Get(p.key); old != nil {
				total.remove(old)
			}
			if err := data.Put(p.key, p.rec); err != nil {
				return err
			}
			total.add(p.rec)
		}
		return tx.Bucket(metaBucket).Put(totalsKey, total.encode())
	})
}

type pair struct{ key, rec []byte }

// batch gathers pairs and hands them on in order: bbolt is slow with many
// unordered keys in one transaction.
type batch struct {
	flush func([]pair) error
	pairs []pair
	bytes int
	err   error // of a flush: everything after it fails too
	ended bool
}

func (b *batch) put(key, value []byte) error {
	if b.ended {
		return errClosed
	}
	if b.err != nil {
		return b.err
	}
	if err := checkPair(key, value); err != nil {
		return err
	}
	b.pairs = append(b.pairs, pair{bytes.Clone(key), seal(key, value)})
	if b.bytes += len(key) + len(value) + 64; b.bytes < replaceBatch {
		return nil
	}
	return b.spill()
}

func (b *batch) spill() error {
	// Stable, so that the last value of a key stays last.
	slices.SortStableFunc(b.pairs, func(x, y pair) int { return bytes.Compare(x.key, y.key) })
	b.err = b.flush(b.pairs)
	clear(b.pairs)
	b.pairs, b.bytes = b.pairs[:0], 0
	return b.err
}

func (b *batch) end() error {
	b.ended = true
	if b.err != nil || len(b.pairs) == 0 {
		return b.err
	}
	return b.spill()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

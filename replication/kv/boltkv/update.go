package boltkv

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"preau/replication/kv"
)

// fillPercent is how full bbolt leaves the pages that it splits: fuller than
// its default, since many of our keys only ever grow.
const fillPercent = 0.8

// tx is one update.
type tx struct {
	reader
	total totals
	done  bool
	gap   gap
}

// gap is a stretch of keys, without its ends, of which none is there. Whoever
// puts keys in ascending order, many of them new, has the tree searched once
// for a stretch and not for every key.
type gap struct {
	low, high []byte
	known     bool
	endless   bool // there is no high
}

func (g *gap) has(key []byte) bool {
	return g.known && bytes.Compare(key, g.low) > 0 && (g.endless || bytes.Compare(key, g.high) < 0)
}

// Put implements kv.Tx.
func (t *tx) Put(key, value []byte) error {
	if t.done {
		return errClosed
	}
	if err := checkPair(key, value); err != nil {
		return err
	}
	return guard(t.path, func() error {
		rec := seal(key, value)
		if !t.gap.has(key) {
			if err := t.forget(key); err != nil {
				return err
			}
		}
		// What is left of the gap, if it was one, comes after the key.
		t.gap.low = append(t.gap.low[:0], key...)
		if err := t.b.Put(key, rec); err != nil {
			return fmt.Errorf("put: %w", err)
		}
		t.total.add(rec)
		return nil
	})
}

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) error {
	if t.done {
		return errClosed
	}
	return guard(t.path, func() error {
		if err := t.forget(key); err != nil {
			return err
		}
		if err := t.b.Delete(key); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		return nil
	})
}

// forget takes the record of key, if there is one, out of the totals. If there
// is none, the gap goes from key to what comes next.
func (t *tx) forget(key []byte) error {
	next, old := t.seeker.Seek(key)
	if t.gap.known = next == nil || !bytes.Equal(next, key); t.gap.known {
		t.gap.low = append(t.gap.low[:0], key...)
		t.gap.high, t.gap.endless = append(t.gap.high[:0], next...), next == nil
		return nil
	}
	if len(old) < crcLen {
		return t.damagedKey(key)
	}
	t.total.remove(old)
	return nil
}

// Update implements kv.Store.
func (s *Store) Update(fn func(kv.Tx) error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	f, err, alone := s.cur, s.usable(), s.cur.views == 0
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if alone {
		if err := f.keepSpare(s.path); err != nil && !errors.Is(err, kv.ErrFull) {
			return s.fail(fmt.Errorf("update: %w", err))
		}
	}
	err = f.update(s.path, fn)
	if _, ok := errors.AsType[*inDoubtError](err); ok {
		return s.fail(fmt.Errorf("update: %w", err))
	}
	return err
}

// inDoubtError is a failure after which memory, page cache and disk may differ.
type inDoubtError struct{ error }

func (e *inDoubtError) Unwrap() error { return e.error }

// update runs fn in a transaction with all that belongs to one.
func (f *file) update(path string, fn func(kv.Tx) error) (err error) {
	var btx *bbolt.Tx
	if err := guard(path, func() (err error) {
		btx, err = f.db.Begin(true)
		return err
	}); err != nil {
		f.stuck = true
		return &inDoubtError{err}
	}
	committed := false
	defer func() { // also when fn panics
		if committed {
			return
		}
		if rerr := guard(path, btx.Rollback); rerr != nil && !errors.Is(rerr, berrors.ErrTxClosed) {
			f.stuck = true
			err = &inDoubtError{errors.Join(err, rerr)}
		}
	}()
	t := &tx{reader: reader{path: path}}
	defer func() { t.done = true }()
	if err := guard(path, func() (err error) {
		if btx.Size() >= f.maxBytes && int64(f.db.Stats().FreePageN)*f.pageSize < f.maxBytes/16 {
			return fmt.Errorf("%w: %s has reached its limit of %d bytes (are views left open?)", kv.ErrFull, path, f.maxBytes)
		}
		t.b, t.total, err = contents(btx)
		if err != nil {
			return damaged(path, err.Error())
		}
		t.b.FillPercent = fillPercent
		t.seeker = t.b.Cursor()
		return nil
	}); err != nil {
		return err
	}
	before := t.total
	if err := fn(t); err != nil {
		return err
	}
	t.done = true
	if err := guard(path, func() error {
		if t.total == before {
			return nil
		}
		return btx.Bucket(metaBucket).Put(totalsKey, t.total.encode())
	}); err != nil {
		return err
	}
	committed = true
	return f.commit(path, btx)
}

// contents finds the data and its totals.
func contents(btx *bbolt.Tx) (*bbolt.Bucket, totals, error) {
	data, meta := btx.Bucket(dataBucket), btx.Bucket(metaBucket)
	if data == nil || meta == nil {
		return nil, totals{}, errors.New("a bucket is missing")
	}
	t, err := decodeTotals(meta.Get(totalsKey))
	return data, t, err
}

// commit makes btx durable. A full disk is the one failure after which the file
// can be used on, and only if the page that makes the update count was not yet
// written: every other page it wrote was free.
func (f *file) commit(path string, btx *bbolt.Tx) error {
	id := btx.ID()
	err := guard(path, btx.Commit)
	if err == nil {
		return nil
	}
	if errors.Is(err, kv.ErrDamaged) {
		// A panic: bbolt's locks may never be released.
		f.stuck = true
		return &inDoubtError{err}
	}
	if err = full(err); !errors.Is(err, kv.ErrFull) {
		return &inDoubtError{err}
	}
	if now, rerr := f.lastID(path); rerr != nil || now >= id {
		return &inDoubtError{errors.Join(err, rerr)}
	}
	return err
}

// lastID is the number of the transaction that readers see.
func (f *file) lastID(path string) (id int, err error) {
	err = guard(path, func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			id = tx.ID()
			return nil
		})
	})
	return id, err
}

// keepSpare sees to it that some pages are free, by writing a value of zeros
// and deleting it. bbolt gives out a page again while a view is open only if it
// came from its free list, not from the end of the file.
func (f *file) keepSpare(path string) error {
	st := f.db.Stats()
	var (
		size     int64
		leftover bool // a kill came between the two changes below
	)
	if err := guard(path, func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			size, leftover = tx.Size(), tx.Bucket(spareBucket) != nil
			return nil
		})
	}); err != nil {
		return err
	}
	drop := func(tx *bbolt.Tx) error { return tx.DeleteBucket(spareBucket) }
	if leftover {
		return f.plain(path, drop)
	}
	want := min(max(size/8, mib), 64*mib)
	have := int64(st.FreePageN+st.PendingPageN) * f.pageSize
	if have >= want/2 || size+want > f.maxBytes {
		return nil
	}
	for _, change := range []func(tx *bbolt.Tx) error{
		func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(spareBucket)
			if err != nil {
				return err
			}
			return b.Put(spareBucket, make([]byte, want-have))
		},
		drop,
	} {
		if err := f.plain(path, change); err != nil {
			return fmt.Errorf("keep pages free: %w", err)
		}
	}
	return nil
}

// plain runs our own change in a transaction.
func (f *file) plain(path string, change func(tx *bbolt.Tx) error) error {
	var btx *bbolt.Tx
	if err := guard(path, func() (err error) {
		if btx, err = f.db.Begin(true); err != nil {
			return err
		}
		return change(btx)
	}); err != nil {
		if btx == nil || guard(path, btx.Rollback) != nil {
			f.stuck = true
		}
		return err
	}
	return f.commit(path, btx)
}

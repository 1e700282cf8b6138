package boltkv

import (
	"bytes"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"preau/replication/kv"
)

// reader reads one bbolt transaction.
type reader struct {
	path string
	b    *bbolt.Bucket
	// seeker is used for all Gets of an update, nil in a view, which several
	// goroutines may read: a cursor has to be grown.
	seeker *bbolt.Cursor
}

// get is the record of key, nil if it is not there.
func (r *reader) get(key []byte) []byte {
	if r.seeker == nil {
		return r.b.Get(key)
	}
	if found, rec := r.seeker.Seek(key); found != nil && bytes.Equal(found, key) {
		return rec
	}
	return nil
}

func (r *reader) damagedKey(key []byte) error {
	return damaged(r.path, fmt.Sprintf("the value of key %.64q fails its checksum", key))
}

// Get implements kv.Reader.
func (r *reader) Get(key []byte) (value []byte, err error) {
	err = guard(r.path, func() error {
		rec := r.get(key)
		if rec == nil {
			return kv.ErrNotFound
		}
		// Copied first: what is checked is what is handed out.
		v, ok := unseal(key, append(make([]byte, 0, len(rec)), rec...))
		if !ok {
			return r.damagedKey(key)
		}
		value = v
		return nil
	})
	return value, err
}

// Scan implements kv.Reader.
func (r *reader) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	from := prefix
	if after != nil && bytes.Compare(after, prefix) >= 0 {
		from = after
	}
	var (
		c      *bbolt.Cursor
		k, val []byte
		last   []byte
	)
	// One step at a time under guard, so that fn's panics stay fn's.
	step := func() error {
		var rec []byte
		if c == nil {
			c = r.b.Cursor()
			if k, rec = c.Seek(from); k != nil && after != nil && bytes.Equal(k, after) {
				k, rec = c.Next()
			}
		} else {
			k, rec = c.Next()
		}
		if k == nil || !bytes.HasPrefix(k, prefix) {
			k = nil
			return nil
		}
		var ok bool
		if val, ok = unseal(k, rec); !ok {
			return r.damagedKey(k)
		}
		if last != nil && bytes.Compare(k, last) <= 0 {
			return damaged(r.path, fmt.Sprintf("key %.64q comes after %.64q", k, last))
		}
		last = append(last[:0], k...)
		return nil
	}
	for {
		if err := guard(r.path, step); err != nil {
			return err
		}
		if k == nil || !fn(k, val) {
			return nil
		}
	}
}

// view is a read transaction of bbolt, which lets several goroutines read as
// long as nobody asks it for another bucket.
type view struct {
	reader
	s    *Store
	file *file
	tx   *bbolt.Tx

	mu     sync.Mutex
	busy   int // reads under way
	closed bool
	idle   sync.Cond // busy is 0; on mu
}

// View implements kv.Store. It may see an update whose last sync is still under way.
func (s *Store) View() (kv.View, error) {
	return s.view()
}

func (s *Store) view() (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	v := &view{s: s, file: s.cur, reader: reader{path: s.path}}
	v.idle.L = &v.mu
	if err := guard(s.path, func() (err error) {
		if v.tx, err = s.cur.db.Begin(false); err != nil {
			return err
		}
		if v.b = v.tx.Bucket(dataBucket); v.b == nil {
			return damaged(s.path, "it has no data bucket")
		}
		return nil
	}); err != nil {
		if v.tx != nil {
			_ = guard(s.path, v.tx.Rollback) //nolint:errcheck // the first error says more
		}
		return nil, fmt.Errorf("view: %w", err)
	}
	s.views++
	s.cur.views++
	return v, nil
}

func (v *view) enter() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return errClosed
	}
	v.busy++
	return nil
}

func (v *view) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy--; v.busy == 0 {
		v.idle.Broadcast()
	}
}

// Get implements kv.Reader.
func (v *view) Get(key []byte) ([]byte, error) {
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.leave()
	return v.reader.Get(key)
}

// Scan implements kv.Reader.
func (v *view) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	if err := v.enter(); err != nil {
		return err
	}
	defer v.leave()
	return v.reader.Scan(prefix, after, fn)
}

// Close implements kv.View. It waits for reads under way in other goroutines.
func (v *view) Close() error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return errClosed
	}
	v.closed = true
	for v.busy > 0 {
		v.idle.Wait()
	}
	v.mu.Unlock()

	err := guard(v.path, v.tx.Rollback)
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	v.file.views--
	if v.file.retired && v.file.views == 0 {
		if cerr := v.file.close(); err == nil {
			err = cerr
		}
	}
	if s.views--; s.views == 0 {
		s.idle.Broadcast()
	}
	return err
}

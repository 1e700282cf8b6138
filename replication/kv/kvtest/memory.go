package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"preau/replication/kv"
)

// errClosed reports use of a store or view after its end.
var errClosed = errors.New("kv store is closed")

// Memory is a kv.Store in memory: the real thing's fake in the tests of others.
// Its views are immutable trees that share what has not changed, so that they
// cost nothing to open.
type Memory struct {
	writer sync.Mutex // one update at a time

	mu     sync.Mutex
	root   *node
	size   int64
	views  int
	closed bool
	fail   error
	idle   sync.Cond // views is 0; on mu
}

var _ kv.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	m := new(Memory)
	m.idle.L = &m.mu
	return m
}

// Crash ends m as kill -9 would and returns a store with what was durable at
// that moment. An update under way in m fails; views opened before stay.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	next := NewMemory()
	next.root, next.size = m.root, m.size
	return next
}

// Fail makes every later Update and Replace return err (and change nothing)
// once its function has run, as a full or broken disk would. nil mends it.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// View implements kv.Store.
func (m *Memory) View() (kv.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed
	}
	m.views++
	return &memoryView{reader: reader{root: m.root}, owner: m}, nil
}

// Update implements kv.Store.
func (m *Memory) Update(fn func(kv.Tx) error) error {
	m.writer.Lock()
	defer m.writer.Unlock()
	m.mu.Lock()
	tx := &memoryTx{reader: reader{root: m.root}, size: m.size}
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return errClosed
	}
	defer func() { tx.done = true }()
	if err := fn(tx); err != nil {
		return err
	}
	return m.publish(tx.root, tx.size)
}

// Replace implements kv.Store.
func (m *Memory) Replace(fn func(put func(key, value []byte) error) error) error {
	m.writer.Lock()
	defer m.writer.Unlock()
	tx := new(memoryTx)
	defer func() { tx.done = true }()
	if err := fn(tx.Put); err != nil {
		return err
	}
	return m.publish(tx.root, tx.size)
}

func (m *Memory) publish(root *node, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if m.fail != nil {
		return m.fail
	}
	m.root, m.size = root, size
	return nil
}

// Size implements kv.Store: the sum of the lengths of keys and values.
func (m *Memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

// Close implements kv.Store.
func (m *Memory) Close() error {
	m.writer.Lock()
	defer m.writer.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.closed = true
	for m.views > 0 {
		m.idle.Wait()
	}
	return nil
}

type reader struct{ root *node }

func (r *reader) Get(key []byte) ([]byte, error) {
	n := r.root.get(key)
	if n == nil {
		return nil, kv.ErrNotFound
	}
	return append(make([]byte, 0, len(n.value)), n.value...), nil
}

func (r *reader) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	r.root.ascend(prefix, after, fn)
	return nil
}

type memoryView struct {
	reader
	owner  *Memory
	mu     sync.Mutex
	closed bool
}

func (v *memoryView) ended() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closed
}

func (v *memoryView) Get(key []byte) ([]byte, error) {
	if v.ended() {
		return nil, errClosed
	}
	return v.reader.Get(key)
}

func (v *memoryView) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	if v.ended() {
		return errClosed
	}
	return v.reader.Scan(prefix, after, fn)
}

func (v *memoryView) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return errClosed
	}
	v.closed = true
	m := v.owner
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.views--; m.views == 0 {
		m.idle.Broadcast()
	}
	return nil
}

type memoryTx struct {
	reader
	size int64
	done bool
}

func (t *memoryTx) Put(key, value []byte) error {
	switch {
	case t.done:
		return errClosed
	case len(key) == 0 || len(key) > kv.MaxKey:
		return fmt.Errorf("put: key of %d bytes: want 1 to %d", len(key), kv.MaxKey)
	case len(value) > kv.MaxValue:
		return fmt.Errorf("put: value of %d bytes: want at most %d", len(value), kv.MaxValue)
	}
	if old := t.root.get(key); old != nil {
		t.size -= int64(len(old.key) + len(old.value))
	}
	t.size += int64(len(key) + len(value))
	t.root = t.root.insert(&node{key: bytes.Clone(key), value: bytes.Clone(value), rank: rankOf(key)})
	return nil
}

func (t *memoryTx) Delete(key []byte) error {
	if t.done {
		return errClosed
	}
	if old := t.root.get(key); old != nil {
		t.size -= int64(len(old.key) + len(old.value))
		t.root = t.root.remove(key)
	}
	return nil
}

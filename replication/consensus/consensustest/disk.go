package consensustest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"preau/replication/consensus/internal/storage"
)

// ErrCrashed is what a disk says to those who had it open when it crashed.
var ErrCrashed = errors.New("the machine has crashed")

// Disk is a server's disk in memory. What a write that succeeded wrote is there
// after a crash; whoever had it open can do nothing more with it, and it can be
// opened again.
type Disk struct {
	mu        sync.Mutex
	epoch     int
	open      bool
	fault     error
	logs      map[uint64]raft.Log
	first     uint64
	last      uint64
	stable    map[string][]byte
	snapshots map[string]*kept
	made      int
	note      []byte
}

type kept struct {
	meta raft.SnapshotMeta
	data []byte
}

var _ storage.Disk = (*Disk)(nil)

// NewDisk makes an empty disk.
func NewDisk() *Disk {
	return &Disk{logs: map[uint64]raft.Log{}, stable: map[string][]byte{}, snapshots: map[string]*kept{}}
}

// Crash takes the disk from whoever has it open.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
	d.open = false
}

// Fail makes every write fail from now on, nil makes them work again.
func (d *Disk) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = err
}

// Wipe empties it, as a new disk would be.
func (d *Disk) Wipe() {
	d.Crash()
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.logs)
	clear(d.stable)
	clear(d.snapshots)
	d.first, d.last, d.note = 0, 0, nil
}

// DropTail loses the last n entries, as a lying disk does.
func (d *Disk) DropTail(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range n {
		delete(d.logs, d.last)
		d.last--
	}
	if d.last < d.first {
		d.first, d.last = 0, 0
	}
}

// FlipLog flips a bit in the data of the entry at index.
func (d *Disk) FlipLog(index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.logs[index]
	l.Data = append([]byte{}, l.Data...)
	if len(l.Data) == 0 {
		l.Term ^= 1
	} else {
		l.Data[len(l.Data)/2] ^= 1
	}
	d.logs[index] = l
}

// FlipSnapshots flips a bit in the newest n snapshots and says how many there are.
func (d *Disk) FlipSnapshots(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, k := range d.sorted() {
		if i < n {
			k.data[len(k.data)/2] ^= 1
		}
	}
	return len(d.snapshots)
}

// Open implements storage.Disk.
func (d *Disk) Open(hclog.Logger) (*storage.Stores, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, storage.ErrLocked
	}
	d.open = true
	d.epoch++
	h := &handle{d: d, epoch: d.epoch}
	return &storage.Stores{
		Logs: h, Stable: h, Snapshots: h,
		DropSnapshot: func(id string) error { return h.write(func() { delete(d.snapshots, id) }) },
		ReadNote: func() (b []byte, err error) {
			err = h.read(func() { b = d.note })
			return b, err
		},
		WriteNote: func(b []byte) error { return h.write(func() { d.note = bytes.Clone(b) }) },
		Close: func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.epoch == h.epoch {
				d.open = false
				d.epoch++
			}
			return nil
		},
	}, nil
}

func (d *Disk) sorted() []*kept {
	var all []*kept
	for _, k := range d.snapshots {
		all = append(all, k)
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i].meta, all[j].meta
		if a.Term != b.Term {
			return a.Term > b.Term
		}
		if a.Index != b.Index {
			return a.Index > b.Index
		}
		return a.ID > b.ID
	})
	return all
}

// handle is a disk as somebody opened it.
type handle struct {
	d     *Disk
	epoch int
}

func (h *handle) read(f func()) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.epoch != h.d.epoch {
		return ErrCrashed
	}
	f()
	return nil
}

func (h *handle) write(f func()) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.epoch != h.d.epoch:
		return ErrCrashed
	case h.d.fault != nil:
		return h.d.fault
	}
	f()
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore.
func (h *handle) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore, as do the next.
func (h *handle) FirstIndex() (i uint64, err error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.d.first, nil
}

// LastIndex implements raft.LogStore.
func (h *handle) LastIndex() (i uint64, err error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.d.last, nil
}

// GetLog implements raft.LogStore. A crashed disk can still be read: raft would
// panic, which a process that is gone does not.
func (h *handle) GetLog(index uint64, out *raft.Log) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	l, ok := h.d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*out = l
	out.Data = bytes.Clone(l.Data)
	return nil
}

// StoreLog implements raft.LogStore.
func (h *handle) StoreLog(l *raft.Log) error { return h.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (h *handle) StoreLogs(logs []*raft.Log) error {
	var bad error
	err := h.write(func() {
		for _, l := range logs {
			if h.d.last > 0 && l.Index != h.d.last+1 {
				bad = fmt.Errorf("entry %d after %d", l.Index, h.d.last)
				return
			}
			c := *l
			c.Data, c.Extensions = bytes.Clone(l.Data), bytes.Clone(l.Extensions)
			h.d.logs[l.Index] = c
			if h.d.last == 0 {
				h.d.first = l.Index
			}
			h.d.last = l.Index
		}
	})
	return errors.Join(err, bad)
}

// DeleteRange implements raft.LogStore.
func (h *handle) DeleteRange(from, to uint64) error {
	return h.write(func() {
		d := h.d
		for i := max(from, d.first); i <= min(to, d.last); i++ {
			delete(d.logs, i)
		}
		switch {
		case from <= d.first && to >= d.last:
			d.first, d.last = 0, 0
		case from <= d.first:
			d.first = max(d.first, to+1)
		case to >= d.last:
			d.last = min(d.last, from-1)
		}
	})
}

// Set implements raft.StableStore, as do the next.
func (h *handle) Set(key, val []byte) error {
	return h.write(func() { h.d.stable[string(key)] = bytes.Clone(val) })
}

// Get implements raft.StableStore.
func (h *handle) Get(key []byte) (val []byte, err error) {
	e := h.read(func() {
		v, ok := h.d.stable[string(key)]
		if val = bytes.Clone(v); !ok {
			err = errors.New("not found") // raft compares the text
		}
	})
	return val, errors.Join(e, err)
}

// SetUint64 implements raft.StableStore.
func (h *handle) SetUint64(key []byte, val uint64) error {
	return h.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore.
func (h *handle) GetUint64(key []byte) (uint64, error) {
	v, err := h.Get(key)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Create implements raft.SnapshotStore, as do the next.
func (h *handle) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s := &sink{h: h}
	err := h.write(func() {
		h.d.made++
		s.k.meta = raft.SnapshotMeta{
			Version: version, ID: fmt.Sprintf("%d-%d-%09d", term, index, h.d.made),
			Index: index, Term: term, Configuration: c.Clone(), ConfigurationIndex: ci,
		}
	})
	return s, err
}

// List implements raft.SnapshotStore.
func (h *handle) List() (out []*raft.SnapshotMeta, err error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	for _, k := range h.d.sorted() {
		m := k.meta
		out = append(out, &m)
	}
	return out, nil
}

// Open implements raft.SnapshotStore.
func (h *handle) Open(id string) (m *raft.SnapshotMeta, r io.ReadCloser, err error) {
	e := h.read(func() {
		k, ok := h.d.snapshots[id]
		if !ok {
			err = fmt.Errorf("no snapshot %q", id)
			return
		}
		c := k.meta
		m, r = &c, io.NopCloser(bytes.NewReader(bytes.Clone(k.data)))
	})
	return m, r, errors.Join(e, err)
}

type sink struct {
	h    *handle
	k    kept
	buf  bytes.Buffer
	done bool
}

func (s *sink) ID() string                  { return s.k.meta.ID }
func (s *sink) Write(p []byte) (int, error) { return s.buf.Write(p) }

func (s *sink) Cancel() error {
	s.done = true
	return nil
}

func (s *sink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	return s.h.write(func() {
		s.k.data = bytes.Clone(s.buf.Bytes())
		s.k.meta.Size = int64(len(s.k.data))
		k := s.k
		s.h.d.snapshots[k.meta.ID] = &k
		for i, old := range s.h.d.sorted() {
			if i >= 2 {
				delete(s.h.d.snapshots, old.meta.ID)
			}
		}
	})
}

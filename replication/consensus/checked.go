package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkedLog puts a checksum on every entry: neither log store notices a flipped
// bit in the middle of what it reads. It also keeps raft from doing what it does
// about failures of a disk, which is to panic.
//
// It keeps the newest entries at hand too, which are read again at once, to be
// sent and applied. (Raft's own cache hides why a write failed.)
type checkedLog struct {
	raft.LogStore
	n *Node

	mu     sync.RWMutex
	recent [2 * maxAppend]*raft.Log // by index modulo its length
}

var _ raft.MonotonicLogStore = (*checkedLog)(nil)

func (c *checkedLog) remember(logs []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		c.recent[l.Index%uint64(len(c.recent))] = l
	}
}

func (c *checkedLog) recall(index uint64, out *raft.Log) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l := c.recent[index%uint64(len(c.recent))]
	if l == nil || l.Index != index {
		return false
	}
	*out = *l
	return true
}

func (c *checkedLog) IsMonotonic() bool {
	m, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func sum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	crc := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
	return binary.BigEndian.AppendUint32(nil, crc)
}

func (c *checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

func (c *checkedLog) StoreLogs(logs []*raft.Log) error {
	summed := make([]raft.Log, len(logs))
	out := make([]*raft.Log, len(logs))
	for i, l := range logs {
		summed[i] = *l
		summed[i].Extensions = sum(l)
		out[i] = &summed[i]
	}
	if err := c.LogStore.StoreLogs(out); err != nil {
		c.n.storageFailed(err)
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	c.remember(logs)
	c.n.storageWorks()
	return nil
}

// GetLog reads an entry. Raft panics when an entry that must be there is not; so
// while raft runs, damage ends this goroutine of raft's and then the node.
func (c *checkedLog) GetLog(index uint64, out *raft.Log) error {
	if c.recall(index, out) {
		return nil
	}
	err := c.read(index, out)
	if errors.Is(err, ErrDamaged) && c.n.running() {
		c.n.fail(err)
		runtime.Goexit()
	}
	return err
}

func (c *checkedLog) read(index uint64, out *raft.Log) (err error) {
	defer func() {
		// The stores' decoders trust their input.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: log entry %d: %v: %s", ErrDamaged, index, p, rejoin)
		}
	}()
	if err := c.LogStore.GetLog(index, out); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return fmt.Errorf("%w: log entry %d: %w: %s", ErrDamaged, index, err, rejoin)
	}
	if out.Index != index || string(out.Extensions) != string(sum(out)) {
		return fmt.Errorf("%w: log entry %d has a wrong checksum: %s", ErrDamaged, index, rejoin)
	}
	out.Extensions = nil
	return nil
}

// DeleteRange takes entries off. What has been applied was agreed on, and is
// never taken off the end.
func (c *checkedLog) DeleteRange(from, to uint64) error {
	first, err := c.FirstIndex()
	if err != nil {
		return err
	}
	if applied, _ := c.n.machine.Applied(); from > first && from <= applied {
		err := fmt.Errorf("%w: the leader does not have entry %d, which this server has applied: %s", ErrLogBehind, from, rejoin)
		c.n.fail(err)
		return err
	}
	c.mu.Lock()
	clear(c.recent[:])
	c.mu.Unlock()
	if err := c.LogStore.DeleteRange(from, to); err != nil {
		c.n.storageFailed(err)
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return nil
}

// patientStable keeps the term. Raft panics when it cannot be written, so a full
// disk makes it wait here: a server that says nothing is safe.
type patientStable struct {
	raft.StableStore
	n *Node
	// ended is when Run is to end. Raft writes its term before it has begun, when
	// nobody can tell it to stop yet.
	ended <-chan struct{}
}

func (p patientStable) SetUint64(key []byte, value uint64) error {
	wait := 50 * time.Millisecond
	for {
		err := p.StableStore.SetUint64(key, value)
		if err == nil {
			return nil
		}
		p.n.storageFailed(err)
		if string(key) != "CurrentTerm" {
			return err // a vote, which raft can do without
		}
		select {
		case <-p.n.quit:
			// Nothing comes after this: the node is stopping, its log takes nothing
			// more, and without a stored vote it votes for nobody.
			return nil
		case <-p.ended:
			// Run closes quit next. While raft begins, the term is the one that was
			// read from here.
			return nil
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		}
	}
}

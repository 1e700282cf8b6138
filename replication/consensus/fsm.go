package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// fsm hands to the machine what it does not have yet. An entry without data is
// ours: a leader writes one to learn how far the region has come.
type fsm struct {
	n       *Node
	machine Machine
	pending pending

	mu      sync.Mutex
	reached uint64 // the last index that was handed over or found to be there
	handed  uint64 // the last index that raft handed over since the start
	barrier uint64 // the term of the last entry without data
	changed chan struct{}
	ended   bool // stopped in the middle of a batch: nothing comes after it
}

var _ raft.BatchingFSM = (*fsm)(nil)

func newFSM(n *Node, m Machine, reached uint64) *fsm {
	applied, _ := m.Applied()
	f := &fsm{n: n, machine: m, reached: max(applied, reached), changed: make(chan struct{})}
	f.pending.changed.L = &f.pending.mu
	return f
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. It returns promises, which run keeps.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	p := &promise{logs: logs, kept: make(chan struct{})}
	answers := make([]any, len(logs))
	for i, l := range logs {
		p.bytes += len(l.Data)
		answers[i] = promised{p, i}
	}
	f.pending.put(p)
	return answers
}

// run carries out what raft hands over until pending is closed.
func (f *fsm) run() {
	for {
		taken := f.pending.take()
		if len(taken) == 0 {
			return
		}
		var logs []*raft.Log
		for _, p := range taken {
			logs = append(logs, p.logs...)
		}
		out := f.carryOut(logs)
		for _, p := range taken {
			p.out, out = out[:len(p.logs)], out[len(p.logs):]
			p.logs = nil
			close(p.kept)
		}
		f.pending.finish(taken)
	}
}

// carryOut has the machine apply what it does not have yet.
func (f *fsm) carryOut(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	applied, appliedTerm := f.machine.Applied()
	batch := make([]Entry, 0, len(logs))
	at := make([]int, 0, len(logs))
	var barrier uint64
	for i, l := range logs {
		switch {
		case l.Index == applied && l.Term != appliedTerm && l.Type == raft.LogCommand && len(l.Data) > 0:
			f.n.fail(fmt.Errorf("%w: entry %d is of term %d in the region and of term %d here: %s",
				ErrLogBehind, l.Index, l.Term, appliedTerm, rejoin))
			f.ended = true
		case l.Type != raft.LogCommand || l.Index <= applied:
		case len(l.Data) == 0:
			barrier = l.Term
		default:
			batch = append(batch, Entry{Index: l.Index, Term: l.Term, Data: l.Data})
			at = append(at, i)
		}
	}
	if f.ended || len(batch) > 0 && !f.apply(batch, at, out) {
		f.ended = true
		for i := range out {
			out[i] = notApplied{}
		}
		return out
	}
	f.advance(logs[len(logs)-1].Index, barrier)
	return out
}

// apply asks the machine until it works; false means that the node stopped
// before it did.
func (f *fsm) apply(batch []Entry, at []int, out []any) bool {
	wait := 50 * time.Millisecond
	for {
		results, err := f.machine.Apply(batch)
		if err == nil && len(results) != len(batch) {
			f.n.fail(fmt.Errorf("the machine gave %d results for %d entries", len(results), len(batch)))
			return false
		}
		if err == nil {
			for i, r := range results {
				out[at[i]] = r
			}
			f.n.setStalled(nil)
			return true
		}
		f.n.setStalled(err)
		select {
		case <-f.n.quit:
			return false
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		}
	}
}

func (f *fsm) advance(index, barrier uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached, f.handed = max(f.reached, index), max(f.handed, index)
	if barrier > 0 {
		f.barrier = barrier
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fsm) state() (reached, barrier uint64, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reached, f.barrier, f.changed
}

// replaying says whether raft is still reading what the machine has: after a
// start it hands over everything since the snapshot.
func (f *fsm) replaying(applied uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handed < applied
}

// wait returns when everything up to index has been applied.
func (f *fsm) wait(ctx context.Context, index uint64) error {
	for {
		reached, _, changed := f.state()
		if reached >= index {
			return nil
		}
		select {
		case <-changed:
		case <-f.n.quit:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d, have %d: %w", index, reached, context.Cause(ctx))
		}
	}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.pending.drain()
	index, term := f.machine.Applied()
	reached, _, _ := f.state()
	if f.ended {
		return nil, ErrStopped
	}
	if f.replaying(index) {
		// Raft would write the snapshot down under an index that the machine is past.
		return nil, errors.New("no snapshot yet: the log is still being read after the start")
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &snapshot{Snapshot: s, at: position{cluster: f.n.cfg.ClusterID, index: index, term: term, reached: reached}}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	in, err := newFrameReader(r)
	if err != nil {
		return err
	}
	f.pending.drain()
	return f.restore(in)
}

func (f *fsm) restore(in *frameReader) error {
	if in.cluster != f.n.cfg.ClusterID {
		return fmt.Errorf("snapshot of region %q: %w", in.cluster, ErrWrongCluster)
	}
	if applied, _ := f.machine.Applied(); in.index <= applied {
		// We have more. It is still read to its end, because raft keeps it.
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
	} else {
		if err := f.machine.Restore(in, in.index, in.term); err != nil {
			return fmt.Errorf("restore at entry %d: %w", in.index, err)
		}
		if !errors.Is(in.err, io.EOF) {
			return fmt.Errorf("restore at entry %d: the machine did not read all of it", in.index)
		}
	}
	f.advance(in.reached, 0)
	return nil
}

type snapshot struct {
	Snapshot
	at position
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	f, err := newFrameWriter(sink, s.at)
	if err != nil {
		return err
	}
	if _, err := s.WriteTo(f); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	// It has been read; there is nothing that a failure could still spoil.
	_ = s.Close() //nolint:errcheck // see above
}

package consensustest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"preau/replication/consensus"
)

// ErrMismatch is what a Command with Old gets that does not fit.
var ErrMismatch = errors.New("the old value is another one")

// Command sets a key. A repetition under the same ID has no effect and the same
// result.
type Command struct {
	ID    string  `json:"id"`
	Key   string  `json:"key"`
	Value string  `json:"value"`
	Old   *string `json:"old,omitempty"` // only if this is the value now
}

// Encode is what Apply decodes.
func (c Command) Encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) //nolint:forbidigo // strings always encode
	}
	return b
}

// Machine is a map that lives through crashes. It remembers what was done wrong
// to it.
type Machine struct {
	mu      sync.Mutex
	crashed bool
	fault   error
	s       state
	entries int // applied through this handle
	applied func(consensus.Entry)
}

// state is what is on the machine's disk.
type state struct {
	Index  uint64            `json:"index"`
	Term   uint64            `json:"term"`
	Values map[string]string `json:"values"`
	Done   map[string]bool   `json:"done"` // by command id: whether it took effect
}

func (s state) clone() state {
	s.Values, s.Done = maps.Clone(s.Values), maps.Clone(s.Done)
	return s
}

var _ consensus.Machine = (*Machine)(nil)

// NewMachine makes an empty machine.
func NewMachine() *Machine {
	return &Machine{s: state{Values: map[string]string{}, Done: map[string]bool{}}}
}

// Reopen is the machine after a crash of its process: the handle that was takes
// nothing more.
func (m *Machine) Reopen() *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
	return &Machine{s: m.s.clone(), applied: m.applied}
}

// Fail makes Apply fail from now on, nil makes it work again.
func (m *Machine) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// OnApply calls f for every entry that is applied.
func (m *Machine) OnApply(f func(consensus.Entry)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = f
}

// Get is the value of a key, and the index as of which it is.
func (m *Machine) Get(key string) (value string, index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.Values[key], m.s.Index
}

// Len is how many keys there are.
func (m *Machine) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.s.Values)
}

// Entries is how many entries were applied since it was opened.
func (m *Machine) Entries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries
}

// Apply implements consensus.Machine.
func (m *Machine) Apply(batch []consensus.Entry) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.crashed:
		return nil, ErrCrashed
	case m.fault != nil:
		return nil, m.fault
	}
	next := m.s.clone()
	out := make([]any, 0, len(batch))
	for _, e := range batch {
		if e.Index <= next.Index || e.Term < next.Term {
			panic(fmt.Sprintf("entry %d of term %d after %d of term %d", e.Index, e.Term, next.Index, next.Term)) //nolint:forbidigo // a broken promise
		}
		next.Index, next.Term = e.Index, e.Term
		out = append(out, next.do(e.Data))
		if m.applied != nil {
			m.applied(e)
		}
	}
	m.s = next
	m.entries += len(batch)
	return out, nil
}

func (s *state) do(data []byte) any {
	var c Command
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	took, again := s.Done[c.ID]
	if !again {
		took = c.Old == nil || *c.Old == s.Values[c.Key]
		s.Done[c.ID] = took
		if took {
			s.Values[c.Key] = c.Value
		}
	}
	if !took {
		return ErrMismatch
	}
	return c.Value
}

// Applied implements consensus.Machine.
func (m *Machine) Applied() (index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.Index, m.s.Term
}

// Snapshot implements consensus.Machine.
func (m *Machine) Snapshot() (consensus.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return nil, ErrCrashed
	}
	return view{m.s.clone()}, nil
}

type view struct{ s state }

func (v view) Close() error { return nil }

func (v view) WriteTo(w io.Writer) (int64, error) {
	b, err := json.Marshal(v.s)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

// Restore implements consensus.Machine.
func (m *Machine) Restore(r io.Reader, index, term uint64) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.crashed:
		return ErrCrashed
	case m.fault != nil:
		return m.fault
	case s.Index != index || s.Term != term:
		return fmt.Errorf("snapshot of entry %d/%d restored as of %d/%d", s.Index, s.Term, index, term)
	}
	m.s = s
	return nil
}

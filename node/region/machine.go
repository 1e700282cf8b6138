package region

import (
	"fmt"
	"io"

	"preau/replication/catalogue"
	"preau/replication/consensus"
)

// machine makes the catalogue raft's state machine, and tells the rest of the
// server what changed.
type machine struct {
	state   *catalogue.State
	changed func(index uint64, records []catalogue.Record)
	// replaced tells that a snapshot took the place of everything.
	replaced func(index uint64)
}

// Apply implements consensus.Machine.
func (m *machine) Apply(batch []consensus.Entry) ([]any, error) {
	entries := make([]catalogue.Entry, len(batch))
	for i, e := range batch {
		entries[i] = catalogue.Entry{Index: e.Index, Term: e.Term, Data: e.Data}
	}
	results, changed, err := m.state.Apply(entries)
	if err != nil {
		return nil, fmt.Errorf("keep what the region decided: %w", err)
	}
	out := make([]any, len(results))
	for i, r := range results {
		out[i] = r
	}
	if len(batch) > 0 {
		m.changed(batch[len(batch)-1].Index, changed)
	}
	return out, nil
}

// Applied implements consensus.Machine.
func (m *machine) Applied() (index, term uint64) { return m.state.Applied() }

// Snapshot implements consensus.Machine.
func (m *machine) Snapshot() (consensus.Snapshot, error) { return m.state.Snapshot() }

// Restore implements consensus.Machine.
func (m *machine) Restore(r io.Reader, index, _ uint64) error {
	if err := m.state.Restore(r); err != nil {
		return fmt.Errorf("restore catalogue: %w", err)
	}
	m.replaced(index)
	return nil
}

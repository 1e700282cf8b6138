package consensus

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

// Outcome is what became of an entry.
type Outcome struct {
	Result any    // what the machine gave for it
	Index  uint64 // where it stands
	Err    error
}

type proposal struct {
	data   []byte
	out    chan Outcome
	future raft.ApplyFuture
}

// Apply has data agreed on and applied, and returns the machine's result for it.
// Entries of many callers travel together. The data is kept until then and must
// not be changed, nor be empty.
//
// It returns ErrNotLeader (another server must be asked), ErrNoLeader,
// ErrStorage and ErrStalled (this server's disk), or ErrStopped when the entry
// was certainly or almost certainly not kept, and ErrLostLeadership or the
// context's error when nobody knows: repeat it under the same id.
func (n *Node) Apply(ctx context.Context, data []byte) (any, uint64, error) {
	done, err := n.ApplyAsync(ctx, data)
	if err != nil {
		return nil, 0, err
	}
	select {
	case o := <-done:
		return o.Result, o.Index, o.Err
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("wait for the region to agree: %w", context.Cause(ctx))
	}
}

// ApplyAsync is Apply for a caller that goes on meanwhile: the entries of one
// caller keep their order, and each outcome comes on its own channel, which need
// not be read. It waits, as long as ctx lets it, only when too many are under way.
func (n *Node) ApplyAsync(ctx context.Context, data []byte) (<-chan Outcome, error) {
	if len(data) == 0 || len(data) > maxEntry {
		return nil, fmt.Errorf("entry of %d bytes, allowed are 1 to %d: %w", len(data), maxEntry, ErrTooLarge)
	}
	r, err := n.wait(ctx)
	if err != nil {
		return nil, err
	}
	if r.State() != raft.Leader {
		return nil, n.translate(raft.ErrNotLeader)
	}
	if n.stalled() {
		return nil, n.ill()
	}
	p := &proposal{data: data, out: make(chan Outcome, 1)}
	n.intake.RLock()
	defer n.intake.RUnlock()
	if n.stopped {
		return nil, ErrStopped
	}
	select {
	case n.proposals <- p:
		return p.out, nil
	case <-n.quit:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for room: %w", context.Cause(ctx))
	}
}

func (n *Node) stalled() bool {
	n.health.Lock()
	defer n.health.Unlock()
	return n.stall != nil
}

// propose hands entries to raft in the order they came.
func (n *Node) propose(r *raft.Raft, under chan<- *proposal) {
	defer close(under)
	for p := range n.proposals {
		p.future = r.Apply(p.data, 0)
		under <- p
	}
}

// collect waits for what became of them, which is known in the same order.
func (n *Node) collect(under <-chan *proposal) {
	for p := range under {
		if err := p.future.Error(); err != nil {
			p.out <- Outcome{Err: n.translate(err)}
			continue
		}
		result := kept(p.future.Response())
		if _, no := result.(notApplied); no {
			p.out <- Outcome{Err: ErrLostLeadership}
			continue
		}
		p.out <- Outcome{Result: result, Index: p.future.Index()}
	}
}

// notApplied stands in for the result of an entry that was agreed on, but that
// the machine did not take before the node stopped.
type notApplied struct{}

package consensus

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

type read struct {
	out chan Outcome
}

// ReadIndex returns an index such that a server that has applied it shows every
// entry that was agreed on before the call: this server has when it returns, any
// other after WaitApplied. It asks a majority, for many callers at once, and
// works on the leader only: ErrNotLeader, ErrNoLeader and ErrLostLeadership say
// that another one must be asked.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	r, err := n.wait(ctx)
	if err != nil {
		return 0, err
	}
	if r.State() != raft.Leader {
		return 0, n.translate(raft.ErrNotLeader)
	}
	q := &read{out: make(chan Outcome, 1)}
	if err := n.ask(ctx, q); err != nil {
		return 0, err
	}
	select {
	case o := <-q.out:
		if o.Err != nil {
			return 0, o.Err
		}
		return o.Index, n.fsm.wait(ctx, o.Index)
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for a majority: %w", context.Cause(ctx))
	}
}

func (n *Node) ask(ctx context.Context, q *read) error {
	n.intake.RLock()
	defer n.intake.RUnlock()
	if n.stopped {
		return ErrStopped
	}
	select {
	case n.reads <- q:
		return nil
	case <-n.quit:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("wait for room: %w", context.Cause(ctx))
	}
}

// WaitApplied returns when this server has applied everything up to index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	return n.fsm.wait(ctx, index)
}

// answerReads answers all who wait with one question to the others.
func (n *Node) answerReads(r *raft.Raft) {
	for q := range n.reads {
		waiting := []*read{q}
	more:
		for len(waiting) < queued {
			select {
			case q, ok := <-n.reads:
				if !ok {
					break more
				}
				waiting = append(waiting, q)
			default:
				break more
			}
		}
		index, err := n.readIndex(r)
		for _, q := range waiting {
			q.out <- Outcome{Index: index, Err: n.translate(err)}
		}
	}
}

// readIndex finds what has been agreed on by now. A leader knows that only once
// an entry of its own term was. Asking the others is cheap, and is safe because
// they wait for a heartbeat timeout before they elect another leader, and a
// leader stops leading after its shorter lease; but raft counts answers of
// servers that do not vote too, and when leadership was handed over nobody waits.
// In these cases an entry goes through the log.
func (n *Node) readIndex(r *raft.Raft) (uint64, error) {
	term := r.CurrentTerm()
	if _, barrier, _ := n.fsm.state(); barrier != term || n.handed.Load() == term || n.someDoNotVote(r) {
		f := r.Apply(nil, 0)
		if err := f.Error(); err != nil {
			return 0, err
		}
		if _, no := kept(f.Response()).(notApplied); no {
			return 0, ErrStopped
		}
		return f.Index(), nil
	}
	index := r.CommitIndex()
	if err := r.VerifyLeader().Error(); err != nil {
		return 0, err
	}
	if r.CurrentTerm() != term {
		return 0, raft.ErrNotLeader
	}
	return index, nil
}

func (n *Node) someDoNotVote(r *raft.Raft) bool {
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			return true
		}
	}
	return false
}

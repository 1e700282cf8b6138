package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// watch follows who leads, and while that is this server lets those vote that
// have caught up.
func (n *Node) watch(r *raft.Raft, observed <-chan raft.Observation) {
	tick := time.NewTicker(n.cfg.heartbeat() / 5)
	defer tick.Stop()
	led := ServerID("")
	for {
		select {
		case <-n.quit:
			return
		case o := <-observed:
			switch o := o.Data.(type) {
			case raft.LeaderObservation:
				if id := ServerID(o.LeaderID); id != "" && id != led {
					led = id
					n.changes.Add(1)
					n.log.Info("leader elected", "leader", string(id), "address", string(o.LeaderAddr), "term", r.CurrentTerm())
				}
			case raft.RaftState:
				if o == raft.Leader {
					n.peers.forget()
				}
			}
		case <-tick.C:
			n.promote(r)
		}
	}
}

// promote lets those vote whose turn it is.
func (n *Node) promote(r *raft.Raft) {
	if r.State() != raft.Leader {
		return
	}
	for _, s := range n.due(r) {
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.RPCTimeout)
		err := n.change(ctx, func() raft.Future {
			return r.AddVoter(raft.ServerID(s.ID), raft.ServerAddress(s.Address), 0, n.cfg.RPCTimeout)
		})
		cancel()
		if err != nil {
			n.log.Info("server does not vote yet, will try again", "id", string(s.ID), "err", err)
			return
		}
		n.log.Info("server votes from now on", "id", string(s.ID))
	}
}

// due lists who is to vote now.
func (n *Node) due(r *raft.Raft) []Server {
	voters := 0
	var ready []ServerID
	byID := map[ServerID]Server{}
	for _, s := range n.Servers() {
		byID[s.ID] = s
		if s.Voter {
			voters++
		} else if n.ready(r, s) {
			ready = append(ready, s.ID)
		}
	}
	var out []Server
	for _, id := range promotions(voters, ready) {
		out = append(out, byID[id])
	}
	return out
}

// ready says whether a server has nearly everything and answers.
func (n *Node) ready(r *raft.Raft, s Server) bool {
	p := n.peers.get(s)
	return !p.Contact.IsZero() && time.Since(p.Contact) < n.cfg.heartbeat() && p.Last > 0 && p.Last+caughtUp >= r.LastIndex()
}

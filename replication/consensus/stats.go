package consensus

import (
	"time"

	"github.com/hashicorp/raft"
)

// Stats is a look at a node.
type Stats struct {
	ID    ServerID `json:"id"`
	State string   `json:"state"` // leader, follower, candidate, stopped, or new (in no region yet)
	Term  uint64   `json:"term"`
	// Leader is the zero Server if nobody is known to lead.
	Leader   Server `json:"leader"`
	Commit   uint64 `json:"commit_index"`
	Applied  uint64 `json:"applied_index"`
	LastLog  uint64 `json:"last_log_index"`
	Snapshot uint64 `json:"snapshot_index"`
	// LastContact is how long ago the leader was heard of; 0 on the leader, and
	// negative if never.
	LastContact   time.Duration `json:"last_contact_ns"`
	Servers       []Server      `json:"servers"`
	Voters        int           `json:"voters"`
	EvenVoters    bool          `json:"even_voters"` // one more or one less would be better
	Waiting       []ServerID    `json:"waiting"`     // copy, and do not vote yet
	Peers         []Peer        `json:"peers"`       // on the leader: how far the others are
	LeaderChanges uint64        `json:"leader_changes"`
	// Trouble says what is wrong with this server's disk, empty if nothing is.
	Trouble string `json:"trouble,omitempty"`
}

// Leader is the server that leads, as this one knows it.
func (n *Node) Leader() (Server, bool) {
	r := n.raft.Load()
	if r == nil {
		return Server{}, false
	}
	addr, id := r.LeaderWithID()
	return Server{ID: ServerID(id), Address: string(addr), Voter: id != ""}, id != ""
}

// IsLeader says whether this server leads, as far as it knows.
func (n *Node) IsLeader() bool {
	r := n.raft.Load()
	return r != nil && r.State() == raft.Leader
}

// Term is the current term.
func (n *Node) Term() uint64 {
	r := n.raft.Load()
	if r == nil {
		return 0
	}
	return r.CurrentTerm()
}

// Applied is the index up to which this server's machine has everything.
func (n *Node) Applied() uint64 {
	reached, _, _ := n.fsm.state()
	return reached
}

// Stats looks at the node.
func (n *Node) Stats() Stats {
	s := Stats{ID: n.cfg.ID, State: "stopped", Applied: n.Applied(), LeaderChanges: n.changes.Load(), LastContact: -1}
	if err := n.ill(); err != nil {
		s.Trouble = err.Error()
	}
	r := n.raft.Load()
	if r == nil {
		return s
	}
	s.Servers = n.Servers()
	state := r.State()
	switch state {
	case raft.Leader:
		s.State = "leader"
	case raft.Candidate:
		s.State = "candidate"
	case raft.Follower:
		s.State = "follower"
		if len(s.Servers) == 0 {
			s.State = "new"
		}
	case raft.Shutdown:
	}
	s.Term, s.Commit, s.LastLog = r.CurrentTerm(), r.CommitIndex(), r.LastIndex()
	s.Snapshot = n.snapshotIndex()
	s.Leader, _ = n.Leader()
	if state == raft.Leader {
		s.LastContact = 0
	} else if at := r.LastContact(); !at.IsZero() {
		s.LastContact = time.Since(at)
	}
	for _, m := range s.Servers {
		if m.Voter {
			s.Voters++
		} else {
			s.Waiting = append(s.Waiting, m.ID)
		}
		if state == raft.Leader && m.ID != n.cfg.ID {
			s.Peers = append(s.Peers, n.peers.get(m))
		}
	}
	s.EvenVoters = s.Voters > 0 && s.Voters%2 == 0
	return s
}

func (n *Node) snapshotIndex() uint64 {
	all, err := n.stores.Snapshots.List()
	if err != nil || len(all) == 0 {
		return 0
	}
	return all[0].Index
}

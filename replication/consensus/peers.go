package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Peer is what the leader knows about another server.
type Peer struct {
	Server
	Last    uint64    `json:"last"`    // the last entry in its log, as it said
	Contact time.Time `json:"contact"` // when it last answered, zero if never
}

// watched is raft's transport, with an ear on the answers: they say how far each
// server's log goes, which raft tells nobody.
type watched struct {
	*raft.NetworkTransport
	peers *peers
}

var _ raft.WithPreVote = watched{}

type peers struct {
	mu   sync.Mutex
	seen map[raft.ServerID]Peer
}

func (w watched) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := w.NetworkTransport.AppendEntries(id, to, req, resp)
	if err == nil {
		w.peers.mu.Lock()
		w.peers.seen[id] = Peer{Server: Server{ID: ServerID(id), Address: string(to)}, Last: resp.LastLog, Contact: time.Now()}
		w.peers.mu.Unlock()
	}
	return err
}

func (p *peers) get(s Server) Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen[raft.ServerID(s.ID)]
	if seen.Address != s.Address {
		seen = Peer{}
	}
	seen.Server = s
	return seen
}

// forget makes a new leader listen anew: what was heard in an earlier time of
// leading says nothing about now.
func (p *peers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.seen)
}

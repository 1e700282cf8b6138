package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

func ours(servers []raft.Server) []Server {
	out := make([]Server, len(servers))
	for i, s := range servers {
		out[i] = Server{ID: ServerID(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter}
	}
	return out
}

func theirs(servers []Server) raft.Configuration {
	var c raft.Configuration
	for _, s := range servers {
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address), Suffrage: suffrage})
	}
	return c
}

// validServers refuses a list of servers that no region should begin with.
func validServers(servers []Server, self ServerID) error {
	if len(servers) > maxServers {
		return fmt.Errorf("%d servers, allowed are %d: %w", len(servers), maxServers, ErrTooLarge)
	}
	ids, addresses := map[ServerID]bool{}, map[string]bool{}
	voters, member := 0, false
	for _, s := range servers {
		switch {
		case s.ID == "" || len(s.ID) > maxName || s.Address == "" || len(s.Address) > maxName:
			return fmt.Errorf("server %q at %q: id and address have 1 to %d bytes", s.ID, s.Address, maxName)
		case ids[s.ID] || addresses[s.Address]:
			return fmt.Errorf("server %q at %q is listed twice: %w", s.ID, s.Address, ErrAlreadyMember)
		}
		ids[s.ID], addresses[s.Address] = true, true
		if s.Voter {
			voters++
			member = member || s.ID == self
		}
	}
	if !member {
		return fmt.Errorf("server %q must be among those that vote", self)
	}
	if voters%2 == 0 {
		return fmt.Errorf("%d servers: %w: take one, three or five", voters, ErrEvenVoters)
	}
	return nil
}

// Bootstrap begins a region with the given servers, of which this one votes. It
// is done once, on one server, or on all of them with the same list; all others
// join by AddServer. It may be called before Run. ErrAlreadyBootstrapped and
// ErrEvenVoters are what goes wrong.
func (n *Node) Bootstrap(servers []Server) error {
	if err := validServers(servers, n.cfg.ID); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	n.birth.Lock()
	defer n.birth.Unlock()
	p := past(n.cfg.ClusterID, "", servers)
	empty, err := n.empty()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if !empty {
		return fmt.Errorf("bootstrap: %w", ErrAlreadyBootstrapped)
	}
	// The past first: after a crash in between, the same call goes on.
	err = n.note.change(func(v *note) error {
		if v.Joined {
			return ErrAlreadyBootstrapped
		}
		v.Past = p
		return nil
	})
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if r := n.raft.Load(); r != nil {
		err = r.BootstrapCluster(theirs(servers)).Error()
	} else {
		err = raft.BootstrapCluster(n.cfg.raft(), n.logs, n.stores.Stable, n.stores.Snapshots, nil, theirs(servers))
	}
	if errors.Is(err, raft.ErrCantBootstrap) {
		err = ErrAlreadyBootstrapped
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	n.log.Info("region begun", "servers", len(servers))
	return nil
}

// Servers lists the members, as this server knows them.
func (n *Node) Servers() []Server {
	r := n.raft.Load()
	if r == nil {
		return nil
	}
	return ours(r.GetConfiguration().Configuration().Servers)
}

func (n *Node) member(id ServerID) (Server, bool) {
	for _, s := range n.Servers() {
		if s.ID == id {
			return s, true
		}
	}
	return Server{}, false
}

func (n *Node) othersVote() bool {
	for _, s := range n.Servers() {
		if s.Voter && s.ID != n.cfg.ID {
			return true
		}
	}
	return false
}

// AddServer makes a server a member, on the leader. It copies first, without a
// vote; AddServer returns when it has caught up. It then votes, unless that
// would leave an even number of voters: then it goes on copying until there is a
// second one, and both begin to vote (Stats tells who waits). So a region grows
// from one to three by adding two, in any order.
//
// If ctx ends before it has caught up the error is ErrNotCaughtUp, with the
// reason where it is known; the server stays a member, and calling again waits
// again. A server that votes already, or an id or address that another member
// has, is ErrAlreadyMember. Server.Voter is not looked at.
func (n *Node) AddServer(ctx context.Context, s Server) error {
	r, err := n.wait(ctx)
	if err != nil {
		return err
	}
	if r.State() != raft.Leader {
		return n.translate(raft.ErrNotLeader)
	}
	if s.ID == "" || len(s.ID) > maxName || s.Address == "" || len(s.Address) > maxName {
		return fmt.Errorf("add server %q at %q: id and address have 1 to %d bytes", s.ID, s.Address, maxName)
	}
	known, err := n.admit(s)
	if err != nil {
		return fmt.Errorf("add server %q: %w", s.ID, err)
	}
	if !known {
		err := n.change(ctx, func() raft.Future {
			return r.AddNonvoter(raft.ServerID(s.ID), raft.ServerAddress(s.Address), 0, n.cfg.RPCTimeout)
		})
		if err != nil {
			return fmt.Errorf("add server %q: %w", s.ID, err)
		}
		n.log.InfoContext(ctx, "server added, it copies", "id", string(s.ID), "address", s.Address)
	}
	return n.settle(ctx, r, s)
}

// admit says whether s is known, and refuses what contradicts what is known.
func (n *Node) admit(s Server) (known bool, err error) {
	servers := n.Servers()
	for _, m := range servers {
		switch {
		case m.ID == s.ID && m.Address == s.Address && !m.Voter:
			return true, nil
		case m.ID == s.ID && m.Address == s.Address:
			return true, ErrAlreadyMember
		case m.ID == s.ID:
			return true, fmt.Errorf("%w at %s: remove it first if it has moved", ErrAlreadyMember, m.Address)
		case m.Address == s.Address:
			return false, fmt.Errorf("%w under the id %q at the same address", ErrAlreadyMember, m.ID)
		}
	}
	if len(servers) >= maxServers {
		return false, fmt.Errorf("%d servers: %w", len(servers), ErrTooLarge)
	}
	return false, nil
}

// settle waits until s votes, or would if it made the number odd.
func (n *Node) settle(ctx context.Context, r *raft.Raft, s Server) error {
	tick := time.NewTicker(n.cfg.heartbeat() / 10)
	defer tick.Stop()
	for {
		m, ok := n.member(s.ID)
		switch {
		case !ok:
			return fmt.Errorf("add server %q: it was removed meanwhile: %w", s.ID, ErrUnknownServer)
		case m.Voter:
			return nil
		case r.State() != raft.Leader:
			return fmt.Errorf("add server %q: %w: it is a member, ask the new leader", s.ID, n.translate(raft.ErrNotLeader))
		case n.ready(r, m) && len(n.due(r)) == 0:
			return nil
		}
		select {
		case <-tick.C:
		case <-n.quit:
			return ErrStopped
		case <-ctx.Done():
			if why := n.stream.whyRefused(s.Address); why != nil {
				return fmt.Errorf("add server %q: %w: %w", s.ID, ErrNotCaughtUp, why)
			}
			p := n.peers.get(m)
			if p.Contact.IsZero() {
				return fmt.Errorf("add server %q: %w: it has not answered at %s: is it running there?", s.ID, ErrNotCaughtUp, s.Address)
			}
			return fmt.Errorf("add server %q: %w: it has entry %d of %d", s.ID, ErrNotCaughtUp, p.Last, r.LastIndex())
		}
	}
}

// RemoveServer takes a server out of the region, on the leader. Its folder must
// be removed before it joins again. An even number of voters may be left, while
// one is replaced: Stats says so. The leader may remove itself.
func (n *Node) RemoveServer(ctx context.Context, id ServerID) error {
	r, err := n.wait(ctx)
	if err != nil {
		return err
	}
	if r.State() != raft.Leader {
		return n.translate(raft.ErrNotLeader)
	}
	m, ok := n.member(id)
	if !ok {
		return fmt.Errorf("remove server %q: %w", id, ErrUnknownServer)
	}
	voters := 0
	for _, s := range n.Servers() {
		if s.Voter {
			voters++
		}
	}
	if m.Voter && voters == 1 {
		return fmt.Errorf("remove server %q: %w", id, ErrLastVoter)
	}
	err = n.change(ctx, func() raft.Future { return r.RemoveServer(raft.ServerID(id), 0, n.cfg.RPCTimeout) })
	if err != nil {
		return fmt.Errorf("remove server %q: %w", id, err)
	}
	n.log.InfoContext(ctx, "server removed", "id", string(id))
	return nil
}

// TransferLeadership lets another server lead, or whichever is furthest if to is
// empty. It is called on the leader.
func (n *Node) TransferLeadership(ctx context.Context, to ServerID) error {
	r, err := n.wait(ctx)
	if err != nil {
		return err
	}
	n.handed.Store(r.CurrentTerm())
	if to == "" {
		err = n.change(ctx, r.LeadershipTransfer)
	} else {
		m, ok := n.member(to)
		switch {
		case !ok:
			return fmt.Errorf("transfer leadership to %q: %w", to, ErrUnknownServer)
		case !m.Voter:
			return fmt.Errorf("transfer leadership to %q: it does not vote yet: %w", to, ErrNotCaughtUp)
		case to == n.cfg.ID && r.State() == raft.Leader:
			return nil
		}
		err = n.change(ctx, func() raft.Future {
			return r.LeadershipTransferToServer(raft.ServerID(m.ID), raft.ServerAddress(m.Address))
		})
	}
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	return nil
}

// change makes a call of raft that cannot be given up, and gives up waiting for
// it when ctx ends.
func (n *Node) change(ctx context.Context, call func() raft.Future) error {
	if !n.begin() {
		return ErrStopped
	}
	done := make(chan error, 1)
	go func() {
		defer n.calls.Done()
		done <- call().Error()
	}()
	select {
	case err := <-done:
		return n.translate(err)
	case <-ctx.Done():
		return fmt.Errorf("wait for the region to agree: %w", context.Cause(ctx))
	}
}

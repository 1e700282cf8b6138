package consensus

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"preau/replication/consensus/internal/storage"
)

// Errors that callers branch on.
var (
	// ErrNotLeader reports that another server must be asked. It comes as a
	// *NotLeaderError, which says which one.
	ErrNotLeader = errors.New("not the leader")
	// ErrNoLeader reports that nobody leads at the moment: ask again in a second
	// or two. An error that is ErrNotLeader without a known leader is this as well.
	ErrNoLeader = errors.New("the region has no leader at the moment")
	// ErrLostLeadership reports that this server ceased to lead while the entry
	// was under way. It may or may not be agreed on: repeat it under the same id.
	ErrLostLeadership = errors.New("leadership was lost while the entry was under way, it may have been kept")
	// ErrStorage reports that this server's disk does not take the entry. Another
	// server will lead; the entry may be repeated there.
	ErrStorage = errors.New("the log cannot be written")
	// ErrStalled reports that entries are agreed on but this server cannot apply
	// them, because its disk is full or broken or its program is too old.
	ErrStalled = errors.New("agreed entries cannot be applied on this server")
	// ErrStopped reports that the node has been stopped or is stopping.
	ErrStopped = errors.New("the node has stopped")
	// ErrTooLarge reports an entry, or a list of servers, beyond the limit.
	ErrTooLarge = errors.New("too large")

	// ErrAlreadyBootstrapped reports that the server has a region already.
	ErrAlreadyBootstrapped = errors.New("this server belongs to a region already")
	// ErrAlreadyMember reports that a server is in the region already.
	ErrAlreadyMember = errors.New("already a member of the region")
	// ErrUnknownServer reports that no member has that id.
	ErrUnknownServer = errors.New("no such server in the region")
	// ErrEvenVoters reports that an even number of servers would vote, which
	// survives no more failures than one server less and stops more easily.
	ErrEvenVoters = errors.New("an even number of servers would vote")
	// ErrLastVoter reports that nobody would be left to vote.
	ErrLastVoter = errors.New("the last server that votes cannot be removed")
	// ErrNotCaughtUp reports that a server is a member but does not have
	// everything yet; it goes on by itself.
	ErrNotCaughtUp = errors.New("the server has not caught up yet")

	// ErrWrongCluster reports state or a server of another region, or of the same
	// region before it was recovered.
	ErrWrongCluster = errors.New("belongs to another region")
	// ErrWrongServer reports a folder of another server.
	ErrWrongServer = errors.New("folder belongs to another server")
	// ErrLocked reports that another process uses the folder.
	ErrLocked = storage.ErrLocked
	// ErrDamaged reports that the log or the snapshots cannot be trusted.
	ErrDamaged = errors.New("state is damaged")
	// ErrLogBehind reports that the machine has entries that the log does not
	// have any more: its end was lost, or the two are from different backups.
	ErrLogBehind = errors.New("the log ends before what was applied")
)

// What an operator does about a server whose state cannot be trusted.
const rejoin = "stop this server, remove its folder, remove it from the region, and join it again; " +
	"if it is the only server, restore its whole folder from a backup"

// NotLeaderError is ErrNotLeader with what is known about the leader.
type NotLeaderError struct {
	Leader Server // the zero Server if nobody is known to lead
}

func (e *NotLeaderError) Error() string {
	if e.Leader.ID == "" {
		return ErrNoLeader.Error()
	}
	return fmt.Sprintf("not the leader, ask %s at %s", e.Leader.ID, e.Leader.Address)
}

// Is makes it ErrNotLeader, and ErrNoLeader where none is known.
func (e *NotLeaderError) Is(target error) bool {
	return target == ErrNotLeader || target == ErrNoLeader && e.Leader.ID == ""
}

// translate puts raft's errors into ours.
func (n *Node) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		leader, _ := n.Leader()
		if leader.ID == n.cfg.ID {
			leader = Server{}
		}
		return &NotLeaderError{Leader: leader}
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return ErrLostLeadership
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrStopped
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrNoLeader
	}
	return err
}

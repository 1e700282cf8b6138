// Package consensus makes the servers of a region agree on one order of entries.
//
// A Node is one server's part in it: it keeps the log, takes part in elections,
// and hands what has been agreed to a Machine, which is durable by itself. Open
// checks everything that lies on the disk and refuses what it cannot trust; Run
// lives; when Run returns nothing is left running.
//
// It knows nothing of what entries mean and carries no bulk. It does not forward
// to the leader: whoever asks the wrong server is told which one is right. It
// gives no promise about who calls it: the Transport must let servers of the
// same region through and nobody else.
//
// Metrics: preau_consensus_leader, preau_consensus_term,
// preau_consensus_commit_index, preau_consensus_applied_index,
// preau_consensus_voters, preau_consensus_stalled,
// preau_consensus_leader_changes_total.
package consensus

import (
	"context"
	"io"
	"net"
)

// ServerID names a server for as long as it lives; a server that lost its disk
// comes back under the same name with an empty folder.
type ServerID string

// Server is a member of the region.
type Server struct {
	ID      ServerID `json:"id"`
	Address string   `json:"address"`
	// Voter says whether it counts for a majority. One that joins copies first,
	// and votes as soon as that keeps the number of voters odd.
	Voter bool `json:"voter"`
}

// Entry is what the region agreed on at an index.
type Entry struct {
	Index, Term uint64
	Data        []byte // valid only during Apply
}

// Machine is what the agreed entries act upon. It is durable by itself and knows
// how far it has come, so that a start replays nothing that it has.
//
// The methods are called one at a time, except Applied, which may be called at
// any time.
// After a Node was opened nothing else may change the machine.
type Machine interface {
	// Apply acts on committed entries, in order, each exactly once. When it
	// returns without an error the whole batch is durable together with the last
	// entry's index and term, and there is one result per entry; a result that is
	// an error is the command's own refusal, which all servers must come to alike.
	// An error means that nothing of the batch was kept (a full disk, say): the
	// node gives up being leader and asks again until it works.
	Apply(batch []Entry) ([]any, error)
	// Applied is the index and term of the last entry that is durable, 0 and 0 at
	// first.
	Applied() (index, term uint64)
	// Snapshot is a consistent view of now. It must be cheap: nothing is applied
	// meanwhile. The view is written out later, beside further calls of Apply.
	Snapshot() (Snapshot, error)
	// Restore replaces everything by what a Snapshot wrote, at the given index and
	// term, atomically: if it fails, or the process dies in it, the old state is
	// still there. It must read r until io.EOF before it makes the change final,
	// because only io.EOF says that nothing is missing or damaged.
	Restore(r io.Reader, index, term uint64) error
}

// Snapshot is a view of a Machine.
type Snapshot interface {
	WriteTo(w io.Writer) (int64, error)
	Close() error
}

// Transport carries bytes between servers. It authenticates both ends: whoever
// can connect can vote.
type Transport interface {
	net.Listener
	// DialServer connects to the server at an address.
	DialServer(ctx context.Context, address string) (net.Conn, error)
}

package consensus

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"
)

// Recovered says what a recovery kept.
type Recovered struct {
	// Index and Term are of the last entry in this server's log: everything up to
	// it counts as agreed on from now on, everything after it is lost.
	Index, Term uint64
	// Before was the last entry that the machine had applied.
	Before  uint64
	Servers []Server
}

// Recover begins the region anew from what this server has, after so many
// servers were lost for good that no majority is left. It works on a server that
// is stopped. Entries that were agreed on and that only the lost servers had are
// lost; entries that were not agreed on and are in this log become so. Run it on
// the survivor whose log goes furthest, best with itself as the only server, and
// let the others join again with empty folders; servers from before the recovery
// are refused from now on, whatever they have.
//
// The machine is brought up to the log's end, through Apply like always; nothing
// that it has is applied again or replaced. If Recover fails the server is as it
// was, except that the machine may have come further, and it can be called again.
func Recover(cfg Config, machine Machine, servers []Server, log *slog.Logger) (_ Recovered, err error) {
	fail := func(err error) (Recovered, error) {
		return Recovered{}, fmt.Errorf("recover server %q: %w", cfg.ID, err)
	}
	if err := validServers(servers, cfg.ID); err != nil {
		return fail(err)
	}
	n, err := open(cfg, machine, log)
	if err != nil {
		return fail(err)
	}
	defer func() {
		n.cancel()
		if e := n.stores.Close(); err == nil && e != nil {
			_, err = fail(e)
		}
	}()
	empty, err := n.empty()
	if err != nil {
		return fail(err)
	}
	if empty {
		return fail(errors.New("there is nothing here to recover from: bootstrap a region instead"))
	}
	out := Recovered{Servers: servers, Before: n.begun}
	if out.Index, out.Term, err = n.end(); err != nil {
		return fail(err)
	}
	conf := cfg.raft()
	conf.Logger = logger{to: n.log}
	// What raft makes of it is a snapshot at the log's end with the new servers in
	// it, and an empty log.
	a := &recovery{fsm: n.fsm}
	err = raft.RecoverCluster(conf, a, n.logs, n.stores.Stable, n.stores.Snapshots, nameOnly{}, theirs(servers))
	if a.taken != nil {
		a.taken.Release() // raft 1.8.0 doesn't, and the machine's store can't close meanwhile
	}
	if err != nil {
		return fail(errors.Join(err, a.err))
	}
	err = n.note.change(func(v *note) error {
		v.Past, v.Joined = past(cfg.ClusterID, v.Past, servers), false
		return nil
	})
	if err != nil {
		return fail(err)
	}
	n.log.Warn("region recovered", "index", out.Index, "term", out.Term, "applied_before", out.Before, "servers", len(servers))
	return out, nil
}

// end is the last entry that this server has.
func (n *Node) end() (index, term uint64, err error) {
	if all, err := n.stores.Snapshots.List(); err != nil {
		return 0, 0, err
	} else if len(all) > 0 {
		index, term = all[0].Index, all[0].Term
	}
	last, err := n.logs.LastIndex()
	if err != nil || last <= index {
		return index, term, err
	}
	var e raft.Log
	if err := n.logs.GetLog(last, &e); err != nil {
		return 0, 0, err
	}
	return e.Index, e.Term, nil
}

// recovery keeps the first error that raft does not listen to, and the snapshot
// that it does not let go.
type recovery struct {
	*fsm
	err   error
	taken raft.FSMSnapshot
}

// Apply implements raft.FSM. Nobody waits for the disk to become well here.
func (a *recovery) Apply(l *raft.Log) any {
	applied, _ := a.machine.Applied()
	if a.err != nil {
		return a.err
	}
	if l.Index > applied && len(l.Data) > 0 {
		_, a.err = a.machine.Apply([]Entry{{Index: l.Index, Term: l.Term, Data: l.Data}})
	}
	if a.err == nil {
		a.advance(l.Index, 0)
	}
	return a.err
}

// Snapshot implements raft.FSM.
func (a *recovery) Snapshot() (raft.FSMSnapshot, error) {
	if a.err != nil {
		return nil, fmt.Errorf("bring the machine up to the log's end: %w", a.err)
	}
	// Of what raft read only commands came here; what the machine has is all.
	index, _ := a.machine.Applied()
	a.advance(index, 0)
	taken, err := a.fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	a.taken = taken
	return taken, nil
}

// nameOnly is all of a transport that writing a snapshot takes.
type nameOnly struct{ raft.Transport }

// EncodePeer implements raft.Transport.
func (nameOnly) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

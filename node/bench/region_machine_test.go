//go:build bench

package bench

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/wire"
)

// raftWay carries raft over a region's port.
type raftWay struct {
	net.Listener
	dialer *wire.Dialer
}

func (w raftWay) DialServer(ctx context.Context, address string) (net.Conn, error) {
	return w.dialer.DialRaft(ctx, wire.Target{Address: address})
}

// keeping is the catalogue as raft's machine.
type keeping struct{ *catalogue.State }

func (k keeping) Apply(batch []consensus.Entry) ([]any, error) {
	entries := make([]catalogue.Entry, len(batch))
	for i, e := range batch {
		entries[i] = catalogue.Entry{Index: e.Index, Term: e.Term, Data: e.Data}
	}
	results, _, err := k.State.Apply(entries)
	out := make([]any, len(results))
	for i, r := range results {
		out[i] = r
	}
	return out, err
}

func (k keeping) Snapshot() (consensus.Snapshot, error)  { return k.State.Snapshot() }
func (k keeping) Restore(r io.Reader, _, _ uint64) error { return k.State.Restore(r) }

// idler is a machine that does nothing.
type idler struct{ index, term atomic.Uint64 }

func (i *idler) Apply(batch []consensus.Entry) ([]any, error) {
	if n := len(batch); n > 0 {
		i.index.Store(batch[n-1].Index)
		i.term.Store(batch[n-1].Term)
	}
	return make([]any, len(batch)), nil
}

func (i *idler) Applied() (index, term uint64) { return i.index.Load(), i.term.Load() }

func (i *idler) Snapshot() (consensus.Snapshot, error) { return empty{}, nil }

func (i *idler) Restore(r io.Reader, index, term uint64) error {
	_, err := io.Copy(io.Discard, r)
	i.index.Store(index)
	i.term.Store(term)
	return err
}

type empty struct{}

func (empty) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write([]byte("nothing"))
	return int64(n), err
}
func (empty) Close() error { return nil }

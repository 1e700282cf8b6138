package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/consensus/internal/storage"
)

// Node is one server's part in its region's agreement. Its methods may be called
// by any number of goroutines; those that take a context wait until Run has
// begun.
type Node struct {
	cfg     Config
	machine Machine
	log     *slog.Logger
	reg     prometheus.Registerer
	metrics *metrics

	stores *storage.Stores
	logs   *checkedLog
	note   *notebook
	fsm    *fsm
	stream *stream
	peers  *peers
	// begun is the applied index at the start; what raft reads up to there the
	// machine has.
	begun uint64

	ctx    context.Context // ends when the node gives up everything
	cancel context.CancelFunc

	life    sync.Mutex // opened, then run or closed
	used    bool
	started chan struct{} // raft is there
	birth   sync.Mutex    // of raft, and of the region
	raft    atomic.Pointer[raft.Raft]
	quit    chan struct{} // closed first when stopping
	failure chan error
	failed  atomic.Bool

	proposals chan *proposal
	reads     chan *read
	intake    sync.RWMutex // held to read while something is put into the two above
	stopped   bool
	calls     sync.WaitGroup // calls of raft that outlive their callers

	health sync.Mutex
	stall  error // why the machine takes nothing
	disk   error // why the log takes nothing

	changes atomic.Uint64
	handed  atomic.Uint64 // the last term in which this server handed leadership over
}

// Open opens the server's folder and checks what lies in it: whose it is, that
// the log and the newest snapshot are whole, and that the machine, the log and
// the snapshots fit together. A machine that lacks what only a snapshot has is
// brought up to it. Nothing is running yet.
//
// It returns ErrLocked, ErrWrongCluster, ErrWrongServer, ErrDamaged or
// ErrLogBehind with what to do about it. The transport is the node's from here
// on, unless Open fails.
func Open(cfg Config, machine Machine, transport Transport, log *slog.Logger, reg prometheus.Registerer) (*Node, error) {
	n, err := open(cfg, machine, log)
	if err != nil {
		return nil, fmt.Errorf("open consensus of server %q: %w", cfg.ID, err)
	}
	n.stream = newStream(n, transport)
	n.reg = reg
	if n.metrics, err = newMetrics(n, reg); err != nil {
		n.cancel()
		return nil, errors.Join(err, n.stores.Close())
	}
	return n, nil
}

func open(cfg Config, machine Machine, log *slog.Logger) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	log = log.With("part", "consensus", "server", string(cfg.ID))
	n := &Node{
		cfg:       cfg,
		machine:   machine,
		log:       log,
		peers:     &peers{seen: map[raft.ServerID]Peer{}},
		started:   make(chan struct{}),
		quit:      make(chan struct{}),
		failure:   make(chan error, 1),
		proposals: make(chan *proposal, queued),
		reads:     make(chan *read, queued),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	var err error
	if n.stores, err = cfg.disk().Open(logger{to: log}); err != nil {
		n.cancel()
		switch {
		case errors.Is(err, storage.ErrLocked):
			return nil, err
		case errors.Is(err, storage.ErrDamaged):
			return nil, fmt.Errorf("%w: %w: %s", ErrDamaged, err, rejoin)
		}
		return nil, fmt.Errorf("%w: if the disk itself is well, %s", err, rejoin)
	}
	n.logs = &checkedLog{LogStore: n.stores.Logs, n: n}
	if err := n.check(); err != nil {
		n.cancel()
		return nil, errors.Join(err, n.stores.Close())
	}
	return n, nil
}

// Close gives back what Open took, for a node that was never Run.
func (n *Node) Close() error {
	n.life.Lock()
	defer n.life.Unlock()
	if n.used {
		return nil
	}
	n.used = true
	close(n.quit)
	n.refuse()
	return n.release(n.stream.under.Close())
}

func (n *Node) release(errs ...error) error {
	n.cancel()
	n.metrics.unregister(n.reg)
	return errors.Join(append(errs, n.stores.Close())...)
}

// Run takes part until ctx ends, then hands leadership over, stops and returns
// nil. It returns an error if the node cannot go on: its log or its machine can
// no longer be trusted, and the error says what to do. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	n.life.Lock()
	if n.used {
		n.life.Unlock()
		return fmt.Errorf("run consensus: %w", ErrStopped)
	}
	n.used = true
	n.life.Unlock()

	conf := n.cfg.raft()
	conf.Logger = logger{to: n.log, said: &said{}}
	net := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  n.stream,
		MaxPool: 3,
		// No pipelines: in raft 1.8.0 one whose reader has given up leaves its
		// writer waiting for ever, and with it a server that hears heartbeats and
		// never gets an entry. Batches make up for it.
		MaxRPCsInFlight: 1,

		Timeout: n.cfg.RPCTimeout,
		Logger:  logger{to: n.log, said: &said{}},

		MsgpackUseNewTimeFormat: true,
	})
	// Whoever leads is known from the first moment on.
	observed := make(chan raft.Observation, 256)
	var applier sync.WaitGroup
	applier.Go(n.fsm.run)
	n.birth.Lock() // raft reads who belongs to it here, and Bootstrap writes that
	r, err := raft.NewRaft(conf, n.fsm, n.logs, patientStable{n.stores.Stable, n, ctx.Done()}, n.stores.Snapshots, watched{net, n.peers})
	if err != nil {
		n.birth.Unlock()
		close(n.quit)
		n.refuse()
		n.fsm.pending.close()
		applier.Wait()
		return n.release(fmt.Errorf("start raft: %w", err), net.Close())
	}
	observer := raft.NewObserver(observed, false, nil)
	r.RegisterObserver(observer)
	n.raft.Store(r)
	n.birth.Unlock()
	close(n.started)
	n.log.InfoContext(ctx, "consensus runs", "address", n.cfg.Address, "applied", n.begun)

	var work, lead sync.WaitGroup
	under := make(chan *proposal, queued)
	work.Go(func() { n.propose(r, under) })
	work.Go(func() { n.collect(under) })
	work.Go(func() { n.answerReads(r) })
	lead.Go(func() { n.watch(r, observed) }) //nolint:contextcheck // it ends with the node, after ctx

	select {
	case <-ctx.Done():
	case err = <-n.failure:
		n.log.ErrorContext(ctx, "consensus cannot go on", "err", err)
	}
	clean := n.stop(r, net, &work, err == nil)
	// Raft hands over nothing more.
	n.fsm.pending.close()
	applier.Wait()
	r.DeregisterObserver(observer)
	lead.Wait()
	if clean {
		n.signOff()
	}
	if e := n.release(); err == nil && e != nil {
		return fmt.Errorf("close consensus: %w", e)
	}
	if err != nil {
		return fmt.Errorf("consensus of server %q: %w", n.cfg.ID, err)
	}
	return nil
}

// stop takes raft down in an order that leaves nobody waiting: raft forgets to
// answer what it holds when it shuts down, so it is let finish first.
func (n *Node) stop(r *raft.Raft, net *raft.NetworkTransport, work *sync.WaitGroup, well bool) bool {
	close(n.quit)
	n.refuse()
	patience := 2*n.cfg.election() + n.cfg.heartbeat()
	idle := make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() {
		work.Wait()
		n.calls.Wait()
		close(idle)
	})
	finished := false
	select {
	case <-idle:
		finished = true
	case <-time.After(patience):
	}
	if well && finished && r.State() == raft.Leader && n.othersVote() {
		n.handed.Store(r.CurrentTerm())
		if err := r.LeadershipTransfer().Error(); err != nil {
			n.log.Info("leadership was not handed over, the others will elect", "err", err)
		}
	}
	n.cancel()
	down := r.Shutdown() // its Error closes the transport, and waits
	closed := make(chan struct{})
	waiter.Go(func() {
		if err := down.Error(); err != nil {
			n.log.Warn("raft did not stop well", "err", err)
		}
		close(closed)
	})
	// Connections that wait for an answer would hold it up.
	net.CloseStreams()
	if err := net.Close(); err != nil {
		n.log.Debug("transport did not close well", "err", err)
	}
	<-closed
	n.stream.taken.Wait()
	if finished {
		waiter.Wait()
	}
	return finished && well
}

// signOff writes down where the log ends, so that the next start notices if it
// has lost its end in between.
func (n *Node) signOff() {
	last, err := n.logs.LastIndex()
	if err == nil {
		err = n.note.change(func(v *note) error { v.Last = last; return nil })
	}
	if err != nil {
		n.log.Info("the log's end was not written down", "err", err)
	}
}

// begin counts a call of raft that may outlive its caller; false once stopped.
func (n *Node) begin() bool {
	n.intake.RLock()
	defer n.intake.RUnlock()
	if n.stopped {
		return false
	}
	n.calls.Add(1)
	return true
}

// handOver lets another server lead, if there is one that can.
func (n *Node) handOver() {
	r := n.raft.Load()
	if r == nil || r.State() != raft.Leader || !n.othersVote() || !n.begin() {
		return
	}
	go func() {
		defer n.calls.Done()
		n.handed.Store(r.CurrentTerm())
		if err := r.LeadershipTransfer().Error(); err != nil {
			n.log.Info("leadership was not handed over", "err", err)
		}
	}()
}

// refuse lets nothing more in.
func (n *Node) refuse() {
	n.intake.Lock()
	defer n.intake.Unlock()
	n.stopped = true
	close(n.proposals)
	close(n.reads)
}

// fail ends Run with an error, the first one.
func (n *Node) fail(err error) {
	n.failed.Store(true)
	select {
	case n.failure <- err:
	default:
	}
}

func (n *Node) running() bool { return n.raft.Load() != nil }

// wait returns raft once Run has begun.
func (n *Node) wait(ctx context.Context) (*raft.Raft, error) {
	select {
	case <-n.quit:
		return nil, ErrStopped
	default:
	}
	select {
	case <-n.started:
		return n.raft.Load(), nil
	case <-n.quit:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for consensus to run: %w", context.Cause(ctx))
	}
}

func (n *Node) setStalled(err error) {
	n.health.Lock()
	was := n.stall
	n.stall = err
	n.health.Unlock()
	switch {
	case err != nil && was == nil:
		n.log.Error("agreed entries cannot be applied, will try again: the error says what is in the way", "err", err)
		n.handOver()
	case err == nil && was != nil:
		n.log.Info("agreed entries can be applied again")
	}
}

func (n *Node) storageFailed(err error) {
	n.health.Lock()
	was := n.disk
	n.disk = err
	n.health.Unlock()
	if was == nil {
		n.log.Error("the log cannot be written, will try again: look at the disk", "err", err)
	}
}

func (n *Node) storageWorks() {
	n.health.Lock()
	was := n.disk
	n.disk = nil
	n.health.Unlock()
	if was != nil {
		n.log.Info("the log can be written again")
	}
}

// ill says what is wrong with this server's disk, nil if nothing is known.
func (n *Node) ill() error {
	n.health.Lock()
	defer n.health.Unlock()
	if n.stall != nil {
		return fmt.Errorf("%w: %w", ErrStalled, n.stall)
	}
	if n.disk != nil {
		return fmt.Errorf("%w: %w", ErrStorage, n.disk)
	}
	return nil
}

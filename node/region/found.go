package region

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/boltkv"
	"preau/replication/wire"
)

// foundWithin is how long a lone server may take to elect itself and write a
// few entries.
const foundWithin = time.Minute

// ErrFounded reports a folder that has founded, or joined, a region already.
var ErrFounded = errors.New("this folder belongs to a region already")

// Founding is what a new region is told at its beginning.
type Founding struct {
	Name   string // for people
	Server string // the first server's
}

// Found makes a region: its authority, its first server in cfg.Data, and its
// first operator's identity in OperatorDir. It may be repeated when it was cut
// off, and leaves no server running.
func Found(ctx context.Context, cfg Config, f Founding, log *slog.Logger) (identity.Region, error) {
	name, err := identity.ParseName(f.Server)
	if err != nil {
		return "", err
	}
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	if old, err := enrol.OpenStore(cfg.identityDir()); err == nil {
		if _, err := enrol.OpenStore(OperatorDir(cfg.Data)); err == nil {
			return "", fmt.Errorf("%w: %s holds server %s of region %s; run it with preau region run, or choose another folder",
				ErrFounded, cfg.Data, old.Identity().Name, old.Identity().Region)
		}
		if len(old.Secret()) == 0 || old.Identity().Name != name {
			return "", fmt.Errorf("%w: %s holds %s", ErrFounded, cfg.Data, old.Identity())
		}
	} else if !errors.Is(err, enrol.ErrNotEnrolled) {
		return "", err
	}
	id := identity.NewRegion()
	me, err := enrol.Found(cfg.identityDir(), id, name, []wire.Target{{Name: name, Address: cfg.address()}}, time.Now())
	if errors.Is(err, enrol.ErrEnrolled) {
		return "", fmt.Errorf("%w: run it with preau region run, or choose another folder (%w)", ErrFounded, err)
	}
	if err != nil {
		return "", err
	}
	id = me.Identity().Region // of the first try, if this is another
	bootstrap := func(g *Region) error {
		err := g.node.Bootstrap([]consensus.Server{{ID: consensus.ServerID(g.name), Address: cfg.address(), Voter: true}})
		return ignore(err, consensus.ErrAlreadyBootstrapped)
	}
	err = briefly(ctx, cfg, log, bootstrap, func(ctx context.Context, g *Region) error {
		if err := g.lead(ctx); err != nil {
			return err
		}
		if err := g.begin(ctx, f.Name); err != nil {
			return err
		}
		return g.firstOperator(ctx)
	})
	return id, err
}

// briefly runs a server for as long as fn takes. What first returns is told
// once it has run, so that it ends like any other.
func briefly(ctx context.Context, cfg Config, log *slog.Logger, first func(*Region) error, fn func(context.Context, *Region) error) error {
	cfg.Admin.Listen, cfg.Admin.MayMove = "127.0.0.1:0", true
	g, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	begun := first(g)
	if begun != nil {
		stop()
	}
	done := make(chan error, 1)
	go func() { done <- g.Run(running) }()
	within, cancel := context.WithTimeoutCause(running, foundWithin, fmt.Errorf("it took more than %v", foundWithin))
	defer cancel()
	if begun == nil {
		err = fn(within, g)
	}
	stop()
	return errors.Join(begun, err, <-done)
}

// lead waits until this server is the leader and has applied all there is.
func (g *Region) lead(ctx context.Context) error {
	for {
		if g.node.IsLeader() {
			if _, err := g.node.ReadIndex(ctx); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait to become the leader: %w", context.Cause(ctx))
		case <-time.After(retryDecision):
		}
	}
}

// begin writes the region's first facts, unless they are there.
func (g *Region) begin(ctx context.Context, name string) error {
	if _, ok, err := get[catalogue.Region](g, catalogue.KindRegion, catalogue.Region{}.RecordID()); err != nil || ok {
		return err
	}
	sealed, err := g.me.Sealed()
	if err != nil {
		return err
	}
	authority, err := g.openAuthority()
	if err != nil {
		return err
	}
	region := catalogue.Region{ID: g.id.Region, Name: name, Epoch: 1, CA: authority.PEM()}
	_, _ = rand.Read(region.MarkKey[:]) // never fails
	var ops []catalogue.Op
	for _, fact := range []catalogue.Fact{
		region, catalogue.Authority{CA: authority.PEM(), Sealed: sealed}, catalogue.Policy{KAnonymity: 5, AllowLapsed: true},
	} {
		op, err := catalogue.NewPut(fact)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	_, err = g.submit(ctx, "server/"+g.name, ops...)
	return err
}

// firstOperator enrols an operator like any other, on the server's own port.
func (g *Region) firstOperator(ctx context.Context) error {
	dir := OperatorDir(g.cfg.Data)
	if _, err := enrol.OpenStore(dir); err == nil {
		return nil
	}
	token, err := enrol.NewToken(g.id.Region, wire.PinOf(g.me.Authority()), []string{g.dialable()})
	if err != nil {
		return err
	}
	op, err := catalogue.NewPut(catalogue.Token{
		ID: token.ID.String(), SecretHash: [32]byte(token.Hash()), Role: identity.Operator,
		NotAfter: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	if _, err := g.submit(ctx, "server/"+g.name, op); err != nil {
		return err
	}
	_, err = enrol.Enrol(ctx, token, dir, enrol.Ask{Role: identity.Operator, Name: identity.Name("first-" + g.name)}, wire.DefaultDialConfig())
	return err
}

// dialable is where this machine reaches the server's own port, which its
// advertised address need not lead to from inside.
func (g *Region) dialable() string { return loopback(g.listener.Addr()) }

// Join makes this folder's server a member of a region: it gets its identity
// now, and is taken in when it runs.
func Join(ctx context.Context, cfg Config, token, name string) (identity.Identity, error) {
	server, err := identity.ParseName(name)
	if err != nil {
		return identity.Identity{}, err
	}
	if err := cfg.Validate(); err != nil {
		return identity.Identity{}, err
	}
	t, err := enrol.ParseToken(token)
	if err != nil {
		return identity.Identity{}, err
	}
	me, err := enrol.Enrol(ctx, t, cfg.identityDir(), enrol.Ask{Role: identity.Server, Name: server}, wire.DefaultDialConfig())
	if errors.Is(err, enrol.ErrEnrolled) {
		return identity.Identity{}, fmt.Errorf("%w: run it with preau region run, or choose another folder (%w)", ErrFounded, err)
	}
	if err != nil {
		return identity.Identity{}, err
	}
	return me.Identity(), nil
}

// Recovered tells what a recovery has kept.
type Recovered struct {
	Index uint64
	Epoch uint64
}

// Recover makes this folder's server the only one of its region, with all that
// it has, when most of the others are lost for good. The region's epoch goes
// up, by which boxes know that what they saw last may be undone. Servers that
// remain of the old region must be Reset before they run again.
func Recover(ctx context.Context, cfg Config, log *slog.Logger) (Recovered, error) {
	var out Recovered
	if err := cfg.Validate(); err != nil {
		return out, err
	}
	me, err := enrol.OpenStore(cfg.identityDir())
	if err != nil {
		return out, err
	}
	if err := recoverRaft(cfg, me, log); err != nil {
		return out, err
	}
	nothing := func(*Region) error { return nil }
	// Nobody finds this server until it has said that all began anew: a box that
	// did would follow what is undone a moment later, be sent away, and then wait
	// up to a minute, as it does when no server is left.
	hidden := cfg
	hidden.Advertise, hidden.Listen = cfg.address(), "127.0.0.1:0"
	err = briefly(ctx, hidden, log, nothing, func(ctx context.Context, g *Region) error {
		if err := g.lead(ctx); err != nil {
			return err
		}
		region, ok, err := get[catalogue.Region](g, catalogue.KindRegion, catalogue.Region{}.RecordID())
		if err != nil {
			return err
		}
		if !ok {
			return errNoRegion
		}
		region.Epoch++
		op, err := catalogue.NewPut(region)
		if err != nil {
			return err
		}
		ops := []catalogue.Op{op}
		for _, s := range g.servers() {
			if s.Name != g.name {
				ops = append(ops, catalogue.Op{Delete: &catalogue.Delete{Kind: catalogue.KindServer, ID: s.Name, Missing: true}})
			}
		}
		result, err := g.submit(ctx, "server/"+g.name, ops...)
		out = Recovered{Index: result.Index, Epoch: region.Epoch}
		return err
	})
	return out, err
}

func recoverRaft(cfg Config, me *enrol.Store, log *slog.Logger) (err error) {
	store, err := boltkv.Open(cfg.catalogue(), boltkv.DefaultConfig())
	if err != nil {
		return fmt.Errorf("open catalogue: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	state, err := catalogue.Open(store)
	if err != nil {
		return fmt.Errorf("open catalogue: %w", err)
	}
	name := consensus.ServerID(me.Identity().Name)
	m := &machine{state: state, changed: func(uint64, []catalogue.Record) {}, replaced: func(uint64) {}}
	kept, err := consensus.Recover(cfg.consensus(string(name), string(me.Identity().Region)), m,
		[]consensus.Server{{ID: name, Address: cfg.address(), Voter: true}}, log)
	if err != nil {
		return err
	}
	log.Info("recovered", "index", kept.Index, "applied_before", kept.Before)
	return nil
}

// mendable adds to what is said of damage how one server of several mends it.
func (c Config) mendable(err error) error {
	if errors.Is(err, kv.ErrDamaged) || errors.Is(err, consensus.ErrDamaged) || errors.Is(err, consensus.ErrLogBehind) {
		return fmt.Errorf("%w; where the region's other servers are well, it can take all from them: preau region reset --data %s", err, c.Data)
	}
	return err
}

// Reset makes a server forget its part of the region's memory, but not who it
// is: when it runs again it takes everything from the others, like a new one.
func Reset(cfg Config) error {
	if _, err := enrol.OpenStore(cfg.identityDir()); err != nil {
		return fmt.Errorf("%w\n%s is not the folder of a region's server", err, cfg.Data)
	}
	var errs []error
	for _, path := range []string{cfg.raftDir(), cfg.catalogue()} {
		if err := os.RemoveAll(path); err != nil {
			errs = append(errs, fmt.Errorf("forget: %w", err))
		}
	}
	return errors.Join(errs...)
}

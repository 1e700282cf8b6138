// Package central is the role of the ministry's gateway: it stands beside the
// object store, tells regions what is in the watched buckets, gives them the
// bytes, and puts the schools' deposits into the store.
//
// It puts the parts together and keeps nothing of its own but who it is: what
// must be remembered lies in the object store, so several gateways can stand
// behind one name. Regions come to it; it goes to a region only to renew its
// certificate there. It decides nothing about who may see what: audiences are in
// the objects' metadata, and regions keep to them.
package central

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/lifecycle"
	"preau/node/locate"
	"preau/node/obs"
	"preau/replication/central"
	"preau/replication/central/deposit"
	"preau/replication/central/dirstore"
	"preau/replication/central/publish"
	"preau/replication/central/s3store"
	"preau/replication/central/store"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// readyWithin is how long the object store may take to say that it is there.
	readyWithin = 5 * time.Second
	// openAgain is the pause between looks at an object store that is away.
	openAgain = 5 * time.Second
)

// Central is a gateway that is ready to run.
type Central struct {
	cfg      Config
	log      *slog.Logger
	reg      *prometheus.Registry
	group    *lifecycle.Group
	admin    *obs.Admin
	store    store.Store
	key      ed25519.PrivateKey
	members  []*enrol.Store
	listener *wire.Listener
	inbox    *locate.Inbox // of where boxes are; nil: devices are not sent to any
}

// Run makes a gateway and runs it until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	c, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// New opens what the gateway needs, its port among it. The object store need not
// answer yet. A gateway that is made must be run: Run closes everything.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Central, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("central configuration: %w", err)
	}
	c := &Central{cfg: cfg, log: log, group: lifecycle.New(log)}
	if c.reg, err = obs.NewRegistry(obs.ReadBuild()); err != nil {
		return nil, err
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range undo {
				err = errors.Join(err, f())
			}
		}
	}()
	keep := func(closes func() error) { undo = append([]func() error{closes}, undo...) }
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the gateway's folder: %w", err)
	}
	if c.key, err = publish.LoadKey(cfg.keyFile()); err != nil {
		return nil, err
	}
	if c.members, err = members(cfg.regionsDir(), log); err != nil {
		return nil, err
	}
	if err := c.openAdmin(ctx, keep); err != nil {
		return nil, err
	}
	if err := c.openStore(keep); err != nil { //nolint:contextcheck // what it begins outlives the opening
		return nil, err
	}
	pc := publish.DefaultConfig()
	pc.Buckets, pc.System, pc.Every = cfg.Buckets, cfg.System, cfg.Every.Std()
	pc.Gateway = gatewayName(cfg.Data)
	publisher, err := publish.New(pc, c.store, c.key, log, c.reg)
	if err != nil {
		return nil, err
	}
	var deposits central.Depository
	if cfg.Deposits != "" {
		deposits, err = deposit.New(deposit.Config{Bucket: cfg.Deposits, System: cfg.System}, c.store, log, c.reg)
		if err != nil {
			return nil, err
		}
	}
	c.admin.Handle("POST /hints", publisher.Hints())
	c.admin.Handle("GET /held", publisher.HeldList())
	if cfg.Directory != "" {
		c.folder(publisher.Hints())
	}
	server, err := central.NewServer(central.About{Version: obs.ReadBuild().Version}, publisher, deposits, wire.IdentityOf, log)
	if err != nil {
		return nil, err
	}
	if err := c.openLocate(ctx, keep); err != nil {
		return nil, err
	}
	if err := c.openWire(ctx, keep, server); err != nil {
		return nil, err
	}
	c.group.Add("publishing", 20*time.Second, func(ctx context.Context) error {
		if !c.prepare(ctx) {
			return nil
		}
		return publisher.Run(ctx)
	})
	return c, nil
}

// Run serves until ctx ends.
func (c *Central) Run(ctx context.Context) error {
	c.log.InfoContext(ctx, "serving", "address", c.listener.Addr().String(), "regions", len(c.members), "buckets", c.cfg.Buckets)
	return c.group.Run(ctx)
}

// Addr is where regions connect.
func (c *Central) Addr() net.Addr { return c.listener.Addr() }

// members are the gateway's identities, one for each region.
func members(dir string, log *slog.Logger) ([]*enrol.Store, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the gateway's regions: %w", err)
	}
	var out []*enrol.Store
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		me, err := enrol.OpenStore(filepath.Join(dir, e.Name()))
		if errors.Is(err, enrol.ErrNotEnrolled) {
			continue // an enrolment that was cut off
		}
		if err != nil {
			// The other regions must not wait for this one to be mended.
			log.Error("the gateway's identity in a region can't be read: enrol it anew with preau central enrol --replace", "folder", e.Name(), "err", err)
			continue
		}
		if id := me.Identity(); id.Role != identity.Central {
			log.Error("this is no identity of a gateway", "folder", e.Name(), "identity", id.String())
			continue
		}
		out = append(out, me)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no identity in any region: ask for an invitation there (preau region token --central) and use it here (preau central enrol --token TOKEN)", dir)
	}
	return out, nil
}

func (c *Central) openAdmin(ctx context.Context, keep func(func() error)) error {
	var err error
	if c.admin, err = obs.OpenAdmin(ctx, c.cfg.Admin.Listen, c.cfg.Admin.MayMove, c.reg, c.log); err != nil {
		return err
	}
	keep(c.admin.Close)
	c.admin.Ready("store", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		return c.store.Ready(ctx, c.cfg.System)
	})
	c.group.Add("admin", 2*time.Second, c.admin.Run)
	return nil
}

func (c *Central) openStore(keep func(func() error)) error {
	if c.cfg.Directory != "" {
		dir, err := dirstore.Open(c.cfg.Directory, c.log)
		if err != nil {
			return err
		}
		keep(dir.Close)
		c.store = dir
		c.group.Add("store", 10*time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return dir.Close()
		})
		return nil
	}
	sc := s3store.DefaultConfig()
	sc.Endpoint, sc.Region, sc.CAFile = c.cfg.S3.Endpoint, c.cfg.S3.Region, c.cfg.S3.CAFile
	sc.Keys = func(context.Context) (s3store.Key, error) { return readKeys(c.cfg.S3.KeyFile) }
	s3, err := s3store.New(sc, c.log)
	if err != nil {
		return err
	}
	keep(s3.Close)
	c.store = s3
	c.group.Add("store", 10*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		return s3.Close()
	})
	return nil
}

// readKeys reads the two lines of a key file.
func readKeys(file string) (s3store.Key, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return s3store.Key{}, fmt.Errorf("read the object store's keys: %w", err)
	}
	lines := strings.Fields(string(raw))
	if len(lines) != 2 {
		return s3store.Key{}, fmt.Errorf("%s must have the access key on its first line and the secret key on its second, and nothing else", file)
	}
	return s3store.Key{ID: lines[0], Secret: lines[1]}, nil
}

// prepare waits until the buckets are there, and makes them if it may. It is
// false if ctx ended first.
func (c *Central) prepare(ctx context.Context) bool {
	need := append([]string{c.cfg.System}, c.cfg.Buckets...)
	if c.cfg.Deposits != "" {
		need = append(need, c.cfg.Deposits)
	}
	for {
		err := c.haveBuckets(ctx, need)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		c.log.WarnContext(ctx, "the object store is not ready, and is looked at again", "again_in", openAgain, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(openAgain):
		}
	}
}

func (c *Central) haveBuckets(ctx context.Context, buckets []string) error {
	for _, b := range buckets {
		err := c.store.Ready(ctx, b)
		if errors.Is(err, store.ErrNotFound) && (c.cfg.MakeThem || b == c.cfg.System || b == c.cfg.Deposits) {
			err = c.store.MakeBucket(ctx, b)
		}
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("bucket %s is not there: make it with any S3 tool, or set make_buckets = true (%w)", b, err)
		}
		if err != nil {
			return fmt.Errorf("bucket %s: %w", b, err)
		}
	}
	return nil
}

// openWire opens the port, for every region that the gateway is enrolled in.
func (c *Central) openWire(ctx context.Context, keep func(func() error), server *central.Server) error {
	var creds []wire.Credentials
	for _, me := range c.members {
		creds = append(creds, me.Credentials())
		if err := c.renew(me); err != nil {
			return err
		}
	}
	var err error
	c.listener, err = wire.ListenFor(ctx, c.cfg.Listen, creds, wire.DefaultConfig(), c.log, c.reg)
	if err != nil {
		return err
	}
	keep(c.listener.Close)
	mux := http.NewServeMux()
	server.Register(mux)
	if c.inbox != nil {
		mux.Handle("PUT "+locate.GatewayPath, wire.Only(c.inbox, identity.Server))
	}
	c.group.Add("listener on "+c.listener.Addr().String(), 15*time.Second, func(ctx context.Context) error {
		return c.listener.Run(ctx, wire.Service{Handler: mux})
	})
	return nil
}

// renew keeps the gateway's certificate in a region valid.
func (c *Central) renew(me *enrol.Store) error {
	dialer, err := wire.NewDialer(me.Credentials(), wire.DefaultDialConfig())
	if err != nil {
		return err
	}
	region := string(me.Identity().Region)
	renewer, err := enrol.NewRenewer(me, dialer, enrol.DefaultRenewConfig(), c.log.With("region", region),
		prometheus.WrapRegistererWith(prometheus.Labels{"region": region}, c.reg))
	if err != nil {
		return err
	}
	c.group.Add("certificate in region "+region, 5*time.Second, renewer.Run)
	return nil
}

// gatewayName tells this gateway from others behind the same name: by its machine
// and its folder, of which no two gateways have both. It is empty if that can't
// be told.
func gatewayName(data string) string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	abs, err := filepath.Abs(data)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(host + "\n" + abs))
	return hex.EncodeToString(sum[:8])
}

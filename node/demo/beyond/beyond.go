package beyond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"preau/node/central"
	"preau/node/config"
	"preau/node/control"
	"preau/node/region"
)

const (
	// Bucket is the bucket of the centre whose documents reach the box.
	Bucket = "lessons"
	// Deposits is the bucket that takes what is added at the box.
	Deposits = "preau-deposits"
	// School is the code of the demonstration's school, and boxName its box's name.
	School  = "0690001A"
	boxName = "box"

	budget = 64 * config.MiB // of the region's copies of web sites, of which it has none
	// enrolWithin is how long a machine may take to be enrolled.
	enrolWithin = time.Minute
	askAgain    = 100 * time.Millisecond
)

// Config says where the parts are. All addresses have a port that is free.
type Config struct {
	Data   string // a folder; the region and the centre each have one in it
	Region string // where the region's server listens
	Way    string // where boxes reach it: the near end of the line to it
	Centre string // where the gateway listens
	Admin  string // where the gateway takes files for its buckets
	Log    *slog.Logger
}

// Beyond is the region and the centre, ready to run.
type Beyond struct {
	cfg   Config
	ready chan struct{}

	mu       sync.Mutex
	operator *control.Client // nil while there is no region
	put      bool            // the gateway takes files
	kept     map[string]bool // collections that boxes keep
}

// New makes them; Run starts them.
func New(cfg Config) *Beyond {
	return &Beyond{cfg: cfg, ready: make(chan struct{}), kept: map[string]bool{}}
}

// Ready is closed once the region takes boxes and the centre takes files.
func (b *Beyond) Ready() <-chan struct{} { return b.ready }

// Admin is where the gateway takes files for its buckets.
func (b *Beyond) Admin() string { return b.cfg.Admin }

// Buckets is the folder in which the centre keeps its buckets.
func (b *Beyond) Buckets() string { return filepath.Join(b.cfg.Data, "buckets") }

// Run founds the region unless that was done before, and runs it and the centre
// until ctx ends or one of them fails.
func (b *Beyond) Run(ctx context.Context) (err error) {
	regional := b.regional()
	_, err = region.Found(ctx, regional, region.Founding{Name: "Démonstration", Server: "s1"}, b.cfg.Log)
	if err != nil && !errors.Is(err, region.ErrFounded) {
		return fmt.Errorf("found the region: %w", err)
	}
	server, err := region.New(ctx, regional, b.cfg.Log)
	if err != nil {
		return fmt.Errorf("open the region: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	var mu sync.Mutex
	var failed error
	start := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			err := run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("it stopped by itself")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
			stop(err)
		})
	}
	defer func() {
		stop(nil)
		parts.Wait()
		err = errors.Join(err, failed)
	}()
	start("the region", server.Run)

	operator, err := control.Open(region.OperatorDir(regional.Data), []string{regional.Listen})
	if err != nil {
		return fmt.Errorf("open the operator's identity: %w", err)
	}
	b.set(operator, false)
	defer func() {
		b.set(nil, false)
		err = errors.Join(err, operator.Close())
	}()
	gateway, err := b.centre(ctx, operator)
	if err != nil {
		if failed := context.Cause(ctx); ctx.Err() != nil && !errors.Is(failed, context.Canceled) {
			return nil // what has failed says so
		}
		return err
	}
	start("the centre", gateway.Run)
	b.set(operator, true)
	close(b.ready)
	<-ctx.Done()
	return nil
}

func (b *Beyond) set(operator *control.Client, put bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.operator, b.put = operator, put
}

func (b *Beyond) regional() region.Config {
	cfg := region.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Advertise = filepath.Join(b.cfg.Data, "region"), b.cfg.Region, b.cfg.Way
	cfg.Budget, cfg.Admin, cfg.Central.Address = budget, region.Admin{Listen: "127.0.0.1:0"}, b.cfg.Centre
	return cfg
}

// centre enrols the gateway in the region unless that was done before, and opens it.
func (b *Beyond) centre(ctx context.Context, operator *control.Client) (*central.Central, error) {
	cfg := central.DefaultConfig()
	cfg.Data, cfg.Directory = filepath.Join(b.cfg.Data, "central"), b.Buckets()
	cfg.Listen, cfg.Admin = b.cfg.Centre, central.Admin{Listen: b.cfg.Admin}
	cfg.Buckets, cfg.Deposits, cfg.MakeThem = []string{Bucket}, Deposits, true
	dir := central.RegionDir(cfg.Data, operator.Region())
	if err := b.enrol(ctx, operator, control.TokenRequest{Role: "central"}, "central", dir); err != nil {
		return nil, fmt.Errorf("enrol the centre: %w", err)
	}
	gateway, err := central.New(ctx, cfg, b.cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open the centre: %w", err)
	}
	return gateway, nil
}

// EnrolBox has the region invite the box, and the box accept: its identity is in
// dir then. It is all one if that was done before.
func (b *Beyond) EnrolBox(ctx context.Context, dir string) error {
	operator, err := b.asked()
	if err != nil {
		return err
	}
	if err := b.enrol(ctx, operator, control.TokenRequest{Role: "box", School: School}, boxName, dir); err != nil {
		return fmt.Errorf("enrol the box: %w", err)
	}
	return nil
}

// enrol makes an identity in dir. A server that has no leader yet is asked again.
func (b *Beyond) enrol(ctx context.Context, operator *control.Client, q control.TokenRequest, name, dir string) error {
	if control.HasIdentity(dir) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, enrolWithin, fmt.Errorf("it took more than %v", enrolWithin))
	defer cancel()
	for {
		token, err := operator.Token(ctx, q)
		if err == nil {
			// The straight way: a line that is cut in these seconds is no reason to fail.
			_, err = control.Enrol(ctx, control.Enrolment{Token: token.Token, Role: q.Role, Name: name, Dir: dir, Servers: []string{b.cfg.Region}})
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(askAgain):
		}
	}
}

//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/central"
	"preau/node/control"
	centre "preau/replication/central"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/wire"
)

// watched is the bucket that the gateway of a run publishes.
const watched = "lecons"

// gateway is the ministry's gateway in a process of its own, and a server of a
// region that asks it.
type gateway struct {
	*process
	cfg    central.Config
	region identity.Region
	client *centre.Client // as a region's server asks and brings up
	bulk   *centre.Client // as it gets blocks
}

// gateway starts a gateway that is enrolled in the stage's region, and waits
// until its store is ready. It ends with the subtest.
func (b *bench) gateway(t *testing.T, s *regionStage, change func(*central.Config)) *gateway {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	g := &gateway{cfg: central.DefaultConfig(), region: s.id}
	var err1, err2 error
	g.cfg.Data, g.cfg.Buckets, g.cfg.MakeThem = filepath.Join(s.dir, "gateway"), []string{watched}, true
	g.cfg.Listen, err1 = freeAddr()
	g.cfg.Admin.Listen, err2 = freeAddr()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	change(&g.cfg)
	if err := g.start(ctx, s); err != nil {
		t.Fatalf("the gateway does not come up: %v", err)
	}
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("gateway: %v", err)
		}
		if t.Failed() {
			t.Logf("end of the gateway's log: %s", g.tail())
		}
	})
	target := wire.Target{Address: g.cfg.Listen, Role: identity.Central}
	me, err1 := issue(s.authority, identity.Identity{Region: s.id, Role: identity.Server, Name: "bench"})
	dial := wire.DefaultDialConfig()
	dial.Near = wire.DefaultNear // as a region's server dials
	way, err2 := wire.NewDialer(me.credentials(s.authority), dial)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	control, bulk := way.Transport(target), way.Bulk(target)
	t.Cleanup(func() { _ = errors.Join(control.Close(), bulk.Close()) }) // only connections
	if g.client, err1 = centre.NewClient("https://central.invalid", control); err1 == nil {
		g.bulk, err1 = centre.NewClient("https://central.invalid", bulk)
	}
	if err1 != nil {
		t.Fatal(err1)
	}
	err := patiently(ctx, func() error {
		_, err := g.client.Changes(ctx, watched, centre.Cursor{}, 1, 0)
		return err
	})
	if err == nil {
		err = patiently(ctx, func() error { return g.deposit(ctx, "first", []byte("first"), block.Sum([]byte("first"))) })
	}
	if err != nil {
		t.Fatalf("the gateway does not answer: %v: %s", err, g.tail())
	}
	return g
}

func (g *gateway) start(ctx context.Context, s *regionStage) error {
	var token control.Token
	err := patiently(ctx, func() (err error) {
		token, err = s.operator.Token(ctx, control.TokenRequest{Role: "central"})
		return err
	})
	if err != nil {
		return err
	}
	if _, err := control.Enrol(ctx, control.Enrolment{
		Token: token.Token, Role: "central", Name: "central", Dir: central.RegionDir(g.cfg.Data, string(s.id)),
	}); err != nil {
		return err
	}
	if g.process, err = startRegion("central", g.cfg.Data+".log", g.cfg); err != nil {
		return err
	}
	return g.ready(ctx, g.cfg.Listen)
}

// centralMain is the gateway, until it is told to end.
func centralMain(spec string) error {
	var cfg central.Config
	if err := json.Unmarshal([]byte(spec), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return central.Run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
}

// deposit brings a file up, as a region's server does, until the centre keeps it.
func (g *gateway) deposit(ctx context.Context, id string, p []byte, sum block.Digest) error {
	state, err := g.client.Push(ctx, centre.Deposit{
		ID: id, Region: g.region, School: "0690001A", Box: "bench", Name: id + ".bin", Length: int64(len(p)), SHA256: sum,
		At: time.Now().UTC().Truncate(time.Millisecond),
	}, func(_ context.Context, off int64, n int) ([]byte, error) { return p[off : off+int64(n)], nil }, nil)
	if err == nil && !state.Kept {
		err = errors.New("it is not kept")
	}
	return err
}

// put adds an object to a gateway's folder, as preau central put does.
func (g *gateway) put(ctx context.Context, key string, p []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+g.cfg.Admin.Listen+"/store/"+watched+"/"+key, bytes.NewReader(p))
	if err != nil {
		return err
	}
	resp, err := regionClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("put %s: %s: %s %w", key, resp.Status, text, err)
	}
	return nil
}

// published waits until the gateway has published n objects in all, and returns
// those of the keys that are wanted, in their order.
func (g *gateway) published(ctx context.Context, keys []string) ([]centre.Object, error) {
	about, err := g.client.About(ctx)
	if err != nil {
		return nil, err
	}
	found, cur := make([]centre.Object, len(keys)), centre.Cursor{}
	for left := len(keys); left > 0; {
		changes, err := g.client.Changes(ctx, watched, cur, 500, 5*time.Second)
		if err != nil {
			return nil, err
		}
		for _, c := range changes.Changes {
			o, err := centre.Verify(about.Key, c)
			if err != nil {
				return nil, err
			}
			if i := slices.Index(keys, o.Key); i >= 0 && !c.Deleted {
				if found[i].Key == "" {
					left--
				}
				found[i] = o
			}
			cur.Seq = c.Seq
		}
		cur.Epoch = changes.Epoch
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%d objects are not published: %w", left, err)
		}
	}
	return found, nil
}

// fetching is how many blocks of a file are asked for at once, as boxes do.
const fetching = 8

// fetch gets an object as a region's server does: its list, unless it needs none,
// then the blocks in runs. each is called with every block, by several at once.
func (g *gateway) fetch(ctx context.Context, o centre.Object, each func(off int64, p []byte)) error {
	_, entries, ok := hold.OnlyBlock(o.SHA256, o.List, o.Length)
	if !ok {
		raw, err := g.bulk.List(ctx, o.Bucket, o.List)
		if err != nil {
			return err
		}
		if entries, err = hold.DecodeList(raw, o.Length); err != nil {
			return err
		}
	}
	runs := centre.Runs(entries)
	return atOnce(centre.Running, len(runs), func(i int) error {
		at := runs[i].Off
		return g.bulk.Blocks(ctx, o.Bucket, o.Key, o.List, at, runs[i].Blocks, func(_ int, p []byte) error {
			each(at, p)
			at += int64(len(p))
			return nil
		})
	})
}

// atOnce calls fn for 0 to n-1, so many at once.
func atOnce(workers, n int, fn func(i int) error) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next int
	)
	take := func(err error) (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		next++
		return next - 1, next <= n && len(errs) == 0
	}
	for range min(workers, n) {
		wg.Go(func() {
			for i, ok := take(nil); ok; i, ok = take(fn(i)) {
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

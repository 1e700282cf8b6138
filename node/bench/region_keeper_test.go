//go:build bench

package bench

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	keptobject "preau/cache/object"
	"preau/cache/object/badgermeta"
	"preau/node/follow"
	"preau/node/lifecycle"
	"preau/replication/enrol"
	"preau/replication/feed"
	"preau/replication/kv"
	"preau/replication/wire"
)

// keeper is what a process with a box is told: where its folder is, and when
// it has enough.
type keeper struct {
	Data     string
	Upto     uint64
	Profiles string // folder, or empty for none
}

// boxHeap is the bound that the box's role sets on its heap.
const boxHeap = 88 << 20

func readKeeper(spec string) (k keeper, log *slog.Logger, err error) {
	debug.SetMemoryLimit(boxHeap)
	log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return k, log, json.Unmarshal([]byte(spec), &k)
}

// profile keeps a profile of the memory, again and again until ctx ends, if it
// was asked for.
func (k keeper) profile(ctx context.Context, name string) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for k.Profiles != "" {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var text bytes.Buffer
		err := pprof.Lookup("heap").WriteTo(&text, 0)
		if err == nil {
			err = os.WriteFile(filepath.Join(k.Profiles, name+"-heap.pb.gz"), text.Bytes(), 0o600)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}
}

// copyMain keeps a copy of what the region tells, in Badger, until it has all.
func copyMain(spec string) error {
	k, log, err := readKeeper(spec)
	if err != nil {
		return err
	}
	me, err := enrol.OpenStore(follow.IdentityDir(k.Data))
	if err != nil {
		return err
	}
	disk, _, lost, err := badgermeta.Open(badgermeta.DefaultConfig(filepath.Join(k.Data, "region")), log)
	if err != nil {
		return err
	}
	if lost != nil {
		return errors.Join(lost, disk.Close())
	}
	held, err := feed.OpenCopy(copyDisk{disk})
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	dialer, err := wire.NewDialer(me.Credentials(), wire.DefaultDialConfig())
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	cfg := feed.DefaultFollowerConfig()
	cfg.Box, cfg.Version = me.Identity(), "bench"
	f, err := feed.NewFollower(cfg, held, copyRegion{me: me, to: dialer.Transport(me.Servers()[0])}, log, prometheus.NewRegistry())
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	diskCtx, closeDisk := context.WithCancel(context.WithoutCancel(ctx))
	var disks, all sync.WaitGroup
	disks.Go(func() { err = disk.Run(diskCtx) })
	var ran error
	all.Go(func() { ran = f.Run(ctx) })
	all.Go(func() { k.profile(ctx, "copy") })
	for ctx.Err() == nil {
		if cursor, _ := held.Cursor(); held.Whole() && cursor.Index >= k.Upto {
			stop()
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	all.Wait()
	closeDisk()
	disks.Wait()
	return errors.Join(ran, err, disk.Close())
}

// followMain is all that a box does with its region, until it has all.
func followMain(spec string) error {
	k, log, err := readKeeper(spec)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	f, err := follow.New(follow.DefaultConfig(k.Data), log, reg)
	if err != nil {
		return err
	}
	group := lifecycle.New(log)
	f.Add(group)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	group.Add("profile", time.Second, func(ctx context.Context) error {
		k.profile(ctx, "follow")
		<-ctx.Done()
		return nil
	})
	group.Add("enough", time.Second, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if gauge(reg, "preau_feed_box_index") >= float64(k.Upto) {
				stop()
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	})
	return group.Run(ctx)
}

func gauge(reg *prometheus.Registry, name string) float64 {
	families, err := reg.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}

// copyDisk is the box's Badger as a copy needs it.
type copyDisk struct{ *badgermeta.Store }

func (d copyDisk) Get(key []byte) ([]byte, error) {
	v, err := d.Store.Get(key)
	if errors.Is(err, keptobject.ErrNotFound) {
		return nil, kv.ErrNotFound
	}
	return v, err
}

func (d copyDisk) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	return d.ScanAfter(prefix, after, fn)
}

func (d copyDisk) Write(changes []feed.Change) error {
	batch := make([]keptobject.Change, len(changes))
	for i, c := range changes {
		batch[i] = keptobject.Change{Key: c.Key, Value: c.Value, Delete: c.Delete}
	}
	if err := d.Store.Write(batch); err != nil {
		return fmt.Errorf("keep the copy: %w", err)
	}
	return d.Sync()
}

// copyRegion is the one server that a copy is of.
type copyRegion struct {
	me *enrol.Store
	to *wire.Transport
}

func (r copyRegion) Servers() []feed.Target {
	s := r.me.Servers()[0]
	return []feed.Target{{Name: s.Name, URL: "https://" + s.Address}}
}

func (r copyRegion) Client(feed.Target) http.RoundTripper { return r.to }

func (r copyRegion) Trust() (*x509.CertPool, time.Time) {
	pool := x509.NewCertPool()
	pool.AddCert(r.me.Authority())
	return pool, time.Now()
}

func (r copyRegion) Held() feed.Held { return feed.Held{} }

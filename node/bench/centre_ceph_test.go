//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/central"
	centre "preau/replication/central"
	"preau/replication/central/cephtest"
	"preau/replication/central/s3store"
	"preau/replication/central/s3store/plain"
	"preau/replication/central/store"
)

// centreScale is what goes to the centre and back in each round.
type centreScale struct {
	rounds             int
	large, largeSize   int // files, and the bytes of one
	small, smallSize   int
	largeAtOnce, crowd int // files on their way at once, of either kind
}

var ( // values, never changed
	normalCentre = centreScale{rounds: 3, large: 3, largeSize: 64 << 20, small: 300, smallSize: 64 << 10, largeAtOnce: 1, crowd: 8}
	quickCentre  = centreScale{rounds: 1, large: 1, largeSize: 64 << 20, small: 50, smallSize: 64 << 10, largeAtOnce: 1, crowd: 8}
)

// wantOfPlain is the part of what minio-go brings alone that the gateway must bring.
const wantOfPlain = 0.7

// centreScenarios are the sections about the gateway and its buckets.
func (b *bench) centreScenarios() []scenario {
	c := b.scale.centre
	return []scenario{
		{
			key: "central-ceph", title: "To Ceph and back through the gateway, beside minio-go alone",
			notes: []string{fmt.Sprintf("A real Ceph on the same machine (a monitor, an OSD in a file, radosgw), the gateway in a process of its own, and a region's server that asks it with mutual TLS; all on loopback. "+
				"%d rounds in turn, each %d files of %d MiB one after the other, and %d of %d KiB, %d at once; medians, and the gateway against minio-go round by round. "+
				"Of every deposit the gateway makes the SHA-256 and the parts' MD5s before it acknowledges it, and writes down whose it is; of what comes down every block's SHA-256 is compared. "+
				"minio-go alone does neither; the rows without a target show it doing as much, and those of the gateway's store alone the hop to Ceph with no region behind it. "+
				"CPU is that of the processes beside Ceph.", c.rounds, c.large, c.largeSize>>20, c.small, c.smallSize>>10, c.crowd)},
			head:  []string{"", "minio-go alone", "through the gateway", "gateway / minio-go, min / med / max", "target", "", "CPU s/GB: minio-go; gateway; region's side"},
			alone: true, all: b.benchCentralCeph,
		},
		{
			key: "delta", title: "A new version of a published file",
			notes: []string{fmt.Sprintf("%d MB, published from a folder, with a region's server that holds the version before. Every block of the new version is then asked for at that server. "+
				"Counted is all that crosses the line from the gateway to the region, TLS and questions for news included.", b.scale.delta/1_000_000)},
			head: []string{"", "measured", "target", ""}, alone: true, all: b.benchDelta,
		},
	}
}

// cephRun is what the rounds work on.
type cephRun struct {
	centreScale
	plain *plain.Client
	store store.Store // as the gateway has it
	g     *gateway
	files [2][]cephFile // large, small
	pubs  [2][]centre.Object
	label string // of the round
}

type cephFile struct {
	name string
	p    []byte
	sum  block.Digest
}

func (b *bench) benchCentralCeph(t *testing.T, out *table) {
	ceph := cephtest.Start(t, 1)
	r := cephRun{centreScale: b.scale.centre}
	var err error
	if r.plain, err = plain.New(ceph.Endpoint, ceph.Region, ceph.AccessKey, ceph.SecretKey); err != nil {
		t.Fatal(err)
	}
	storing := s3store.DefaultConfig()
	storing.Endpoint, storing.Region = ceph.Endpoint, ceph.Region
	storing.Keys = func(context.Context) (s3store.Key, error) {
		return s3store.Key{ID: ceph.AccessKey, Secret: ceph.SecretKey}, nil
	}
	if r.store, err = s3store.New(storing, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	r.make()
	s := b.regionStage(t, 1)
	// What is there when the gateway comes is published by its first pass.
	var keys [2][]string
	for _, bucket := range []string{watched, "plain"} {
		if err := r.plain.MakeBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	for kind, files := range r.files {
		for _, f := range files {
			if err := r.plain.Put(t.Context(), watched, f.name, f.p); err != nil {
				t.Fatal(err)
			}
			keys[kind] = append(keys[kind], f.name)
		}
	}
	keyFile := filepath.Join(s.dir, "keys")
	if err := os.WriteFile(keyFile, []byte(ceph.AccessKey+"\n"+ceph.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.g = b.gateway(t, s, func(c *central.Config) {
		c.S3.Endpoint, c.S3.Region, c.S3.KeyFile = ceph.Endpoint, ceph.Region, keyFile
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for kind := range keys {
		if r.pubs[kind], err = r.g.published(ctx, keys[kind]); err != nil {
			t.Fatal(err)
		}
	}
	r.measure(t, out)
}

func (r *cephRun) make() {
	random := rand.NewChaCha8([32]byte{7})
	for i := range r.large + r.small {
		f := cephFile{name: fmt.Sprintf("large-%d", i), p: make([]byte, r.largeSize)}
		kind := 0
		if i >= r.large {
			f, kind = cephFile{name: fmt.Sprintf("small-%d", i), p: make([]byte, r.smallSize)}, 1
		}
		_, _ = random.Read(f.p) // never fails
		f.sum = block.Sum(f.p)
		r.files[kind] = append(r.files[kind], f)
	}
}

// anew makes other files of all, so that no deposit is known already.
func (r *cephRun) anew(round int) {
	r.label = fmt.Sprintf("r%d", round)
	for _, files := range r.files {
		for i := range files {
			binary.BigEndian.PutUint64(files[i].p, uint64(round)+1)
			files[i].sum = block.Sum(files[i].p)
		}
	}
}

// effort is what one way of doing something took.
type effort struct {
	took            time.Duration
	self, gatewayed float64 // CPU seconds of this process and of the gateway
}

func (r *cephRun) take(fn func() error) (effort, error) {
	self, far, began := selfCPU(), r.g.cpuSeconds(), time.Now()
	err := fn()
	return effort{time.Since(began), selfCPU() - self, r.g.cpuSeconds() - far}, err
}

// profile keeps a profile of three seconds of the gateway, if it was asked for.
func (r *cephRun) profile(ctx context.Context, contest, way int) (wait func()) {
	if *profFlag == "" || way == 0 {
		return func() {}
	}
	var all sync.WaitGroup
	all.Go(func() {
		file := filepath.Join(*profFlag, fmt.Sprintf("gateway-%d.pb.gz", contest))
		if err := keep(ctx, r.g.cfg.Admin.Listen, "debug/pprof/profile?seconds=3", file); err != nil {
			fmt.Fprintln(os.Stderr, "profile of the gateway:", err)
		}
	})
	return all.Wait
}

func selfCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// contest is one thing that is done in several ways: first minio-go alone, then
// through the gateway.
type contest struct {
	what   string
	kind   int
	target bool
	ways   [2]func(ctx context.Context) error
}

func (r *cephRun) measure(t *testing.T, out *table) {
	t.Helper()
	each := func(kind int, fn func(ctx context.Context, i int) error) func(context.Context) error {
		workers := []int{r.largeAtOnce, r.crowd}[kind]
		return func(ctx context.Context) error {
			return atOnce(workers, len(r.files[kind]), func(i int) error { return fn(ctx, i) })
		}
	}
	var all []contest
	for kind, name := range []string{fmt.Sprintf("%d MiB", r.largeSize>>20), fmt.Sprintf("%d KiB", r.smallSize>>10)} {
		put := func(ctx context.Context, i int) error {
			f := r.files[kind][i]
			return r.plain.Put(ctx, "plain", r.label+f.name, f.p)
		}
		got := func(ctx context.Context, bucket, key string, size int, check func([]byte) error) error {
			buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
			err := r.plain.Get(ctx, bucket, key, 0, -1, buf)
			if err == nil && buf.Len() != size {
				err = fmt.Errorf("%s: %d bytes of %d", key, buf.Len(), size)
			}
			if err == nil && check != nil {
				err = check(buf.Bytes())
			}
			return err
		}
		deposit := func(ctx context.Context, i int) error {
			f := r.files[kind][i]
			return r.g.deposit(ctx, r.label+"-"+f.name, f.p, f.sum)
		}
		fetch := func(ctx context.Context, i int) error {
			p := make([]byte, len(r.files[kind][i].p))
			return r.g.fetch(ctx, r.pubs[kind][i], func(off int64, b []byte) { copy(p[off:], b) })
		}
		storePut := func(ctx context.Context, i int) error {
			f := r.files[kind][i]
			_, err := r.store.Put(ctx, "plain", r.label+"s"+f.name, bytes.NewReader(f.p), int64(len(f.p)), store.Options{}, store.Condition{})
			return err
		}
		storeGet := func(ctx context.Context, i int) error {
			o := r.pubs[kind][i]
			body, _, err := r.store.Get(ctx, watched, o.Key, 0, -1, o.ETag)
			if err != nil {
				return err
			}
			buf := bytes.NewBuffer(make([]byte, 0, int(o.Length)+bytes.MinRead))
			_, err = io.Copy(buf, body)
			if err = errors.Join(err, body.Close()); err == nil && int64(buf.Len()) != o.Length {
				err = fmt.Errorf("%s: %d bytes of %d", o.Key, buf.Len(), o.Length)
			}
			return err
		}
		all = append(all,
			contest{name + ", up, the gateway's store alone", kind, true, [2]func(context.Context) error{each(kind, put), each(kind, storePut)}},
			contest{name + ", down, the gateway's store alone", kind, true, [2]func(context.Context) error{
				each(kind, func(ctx context.Context, i int) error {
					return got(ctx, watched, r.pubs[kind][i].Key, len(r.files[kind][i].p), nil)
				}), each(kind, storeGet),
			}},
			contest{name + ", up", kind, true, [2]func(context.Context) error{each(kind, put), each(kind, deposit)}},
			contest{name + ", up, and minio-go reads back too", kind, false, [2]func(context.Context) error{
				each(kind, func(ctx context.Context, i int) error {
					f := r.files[kind][i]
					if err := put(ctx, i); err != nil {
						return err
					}
					return got(ctx, "plain", r.label+f.name, len(f.p), nil)
				}), nil,
			}},
			contest{name + ", down", kind, true, [2]func(context.Context) error{
				each(kind, func(ctx context.Context, i int) error {
					return got(ctx, watched, r.pubs[kind][i].Key, len(r.files[kind][i].p), nil)
				}), each(kind, fetch),
			}},
			contest{name + ", down, and minio-go's is hashed too", kind, false, [2]func(context.Context) error{
				each(kind, func(ctx context.Context, i int) error {
					o := r.pubs[kind][i]
					return got(ctx, watched, o.Key, int(o.Length), func(p []byte) error {
						if block.Sum(p) != o.SHA256 {
							return fmt.Errorf("%s is another file", o.Key)
						}
						return nil
					})
				}), nil,
			}},
		)
	}
	// The first time of everything is for nothing: connections, code, Ceph's caches.
	samples := make([][2][]effort, len(all))
	for round := -1; round < r.rounds; round++ {
		for c, is := range all {
			r.anew(round*len(all) + c + len(all))
			for i := range is.ways {
				w := (i + max(round, 0)) % 2
				if is.ways[w] == nil {
					continue
				}
				ended := r.profile(t.Context(), c, w)
				s, err := r.take(func() error { return is.ways[w](t.Context()) })
				ended()
				if err != nil {
					t.Fatalf("%s: %v", is.what, err)
				}
				if round >= 0 {
					samples[c][w] = append(samples[c][w], s)
				}
			}
		}
	}
	for c, is := range all {
		ours := samples[c][1]
		if is.ways[1] == nil {
			ours = samples[c-1][1] // of the row above
		}
		r.row(t, out, is, samples[c][0], ours)
	}
}

func (r *cephRun) row(t *testing.T, out *table, is contest, alone, ours []effort) {
	t.Helper()
	files := r.files[is.kind]
	size := float64(len(files) * len(files[0].p))
	rate := func(all []effort) string {
		took := middle(all, func(s effort) float64 { return s.took.Seconds() })
		if is.kind == 1 {
			return fmt.Sprintf("%.0f files/s", float64(len(files))/took)
		}
		return fmt.Sprintf("%.0f MB/s", size/1e6/took)
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = alone[i].took.Seconds() / ours[i].took.Seconds()
	}
	med := middle(ratios, func(f float64) float64 { return f })
	perGB := func(all []effort, of func(effort) float64) float64 { return middle(all, of) / (size / 1e9) }
	target, verdict := "", ""
	if is.target {
		target, verdict = fmt.Sprintf("≥ %.2f", wantOfPlain), metOrMissed(med >= wantOfPlain)
	}
	cells := []string{
		is.what, rate(alone), rate(ours), fmt.Sprintf("%.2f / %.2f / %.2f", slices.Min(ratios), med, slices.Max(ratios)), target, verdict,
		fmt.Sprintf("%.1f; %.1f; %.1f", perGB(alone, func(s effort) float64 { return s.self }),
			perGB(ours, func(s effort) float64 { return s.gatewayed }), perGB(ours, func(s effort) float64 { return s.self })),
	}
	t.Log(cells)
	out.row(cells...)
}

// middle is the median of what of says.
func middle[T any](all []T, of func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, v := range all {
		values[i] = of(v)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

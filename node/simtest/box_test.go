package simtest_test

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/consensus/consensustest"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

// box is a box in a school with what it keeps when it dies.
type box struct {
	w        *world
	id       identity.Identity
	endpoint *consensustest.Endpoint
	mem      *kvtest.Memory
	due      int // round in which it starts again
	run      *following

	mu      sync.Mutex
	objects map[object]stored // what it serves
	gone    map[object]int    // versions that it has acknowledged the purge of
	doubted time.Time         // the doubt that it has acted upon
	dead    bool
	seq     feed.Seq
	epoch   uint64
	last    map[key]uint64 // index of what it was told last
}

// stored is an object on a box's disk.
type stored struct {
	version int
	at      time.Time
}

// following is one life of a box.
type following struct {
	disk     disk
	copy     *feed.Copy
	follower *feed.Follower
	stop     context.CancelFunc
	end      chan error
}

// disk is a box's store as a feed's copy needs it.
type disk struct{ mem *kvtest.Memory }

// Get implements kv.Reader.
func (d disk) Get(key []byte) (value []byte, err error) {
	v, err := d.mem.View()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Get(key)
}

// Scan implements kv.Reader.
func (d disk) Scan(prefix, after []byte, fn func(key, value []byte) bool) (err error) {
	v, err := d.mem.View()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Scan(prefix, after, fn)
}

// Write implements feed.Store.
func (d disk) Write(changes []feed.Change) error {
	return d.mem.Update(func(tx kv.Tx) error {
		for _, c := range changes {
			var err error
			if c.Delete {
				err = tx.Delete(c.Key)
			} else {
				err = tx.Put(c.Key, c.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// keyActed is where the number of the latest change that was acted upon lies.
var keyActed = []byte("node/acted")

func newBox(w *world, name string, school identity.School) *box {
	return &box{
		w: w, id: identity.Identity{Region: here, Role: identity.Box, Name: identity.Name(name), School: school},
		endpoint: w.net.Endpoint(name), mem: kvtest.NewMemory(), objects: map[object]stored{}, gone: map[object]int{}, last: map[key]uint64{},
	}
}

// Servers implements feed.Region.
func (b *box) Servers() []feed.Target {
	var out []feed.Target
	for _, s := range b.w.servers {
		out = append(out, feed.Target{Name: identity.Name(s.name), URL: "http://" + httpAt(s.name)})
	}
	return out
}

// Client implements feed.Region.
func (b *box) Client(feed.Target) http.RoundTripper {
	return transport(b.endpoint)
}

// Trust implements feed.Region.
func (b *box) Trust() (*x509.CertPool, time.Time) { return b.w.ca.pool, time.Now() }

// Held implements feed.Region.
func (b *box) Held() feed.Held { return feed.Held{} }

// start brings the box up. What it was told of and had not done is done before
// anything is served.
func (b *box) start() {
	if b.run != nil {
		return
	}
	b.w.uncut(string(b.id.Name))
	r := &following{disk: disk{b.mem}, end: make(chan error, 1)}
	var err error
	if r.copy, err = feed.OpenCopy(r.disk); err != nil {
		b.w.t.Fatalf("open copy of %s: %v", b.id.Name, err)
	}
	b.mu.Lock()
	b.dead = false
	b.mu.Unlock()
	var todo []catalogue.Record
	upto := r.acted()
	err = r.copy.Changes(upto, func(rec catalogue.Record, seq feed.Seq) bool {
		todo, upto = append(todo, rec), seq
		return true
	})
	if err != nil {
		b.w.t.Fatalf("changes of %s: %v", b.id.Name, err)
	}
	b.act(r, todo, upto)
	if err := r.copy.Forget(upto); err != nil && !errors.Is(err, kv.ErrFull) {
		b.w.t.Fatalf("forget of %s: %v", b.id.Name, err)
	}
	r.copy.OnChange(func(changes []catalogue.Record, upto feed.Seq) { b.onChange(r, changes, upto) })
	cfg := feed.DefaultFollowerConfig()
	cfg.Box, cfg.Version, cfg.Home = b.id, "1.0", b.w.home
	if r.follower, err = feed.NewFollower(cfg, r.copy, b, quiet, prometheus.NewRegistry()); err != nil {
		b.w.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.end <- r.follower.Run(ctx) }()
	b.run = r
}

// acted is the number of the latest change that was acted upon.
func (r *following) acted() feed.Seq {
	v, err := r.disk.Get(keyActed)
	if err != nil || len(v) != 8 {
		return 0
	}
	return feed.Seq(binary.BigEndian.Uint64(v))
}

// halt stops the box in order.
func (b *box) halt() {
	if b.run == nil {
		return
	}
	b.run.stop()
	b.w.check(<-b.run.end, "follower of "+string(b.id.Name))
	b.run = nil
}

// die is kill -9.
func (b *box) die() {
	if b.run == nil {
		return
	}
	b.mu.Lock()
	b.dead = true
	b.mu.Unlock()
	b.w.isolate(string(b.id.Name))
	b.mem = b.mem.Crash()
	b.halt()
}

// onChange is what the node does about changes before they count as
// acknowledged.
func (b *box) onChange(r *following, changes []catalogue.Record, upto feed.Seq) {
	cursor, _ := r.copy.Cursor()
	b.mu.Lock()
	if b.dead {
		b.mu.Unlock()
		return
	}
	if upto < b.seq {
		b.w.fail("%s was told of change %d after %d", b.id.Name, upto, b.seq)
	}
	b.seq = upto
	if cursor.Epoch != b.epoch {
		b.epoch = cursor.Epoch
		clear(b.last)
	}
	for _, rec := range changes {
		k := key{rec.Kind, rec.ID}
		if rec.Index < b.last[k] {
			b.w.fail("%s was told of %s at %d after %d", b.id.Name, k, rec.Index, b.last[k])
		}
		b.last[k] = rec.Index
	}
	b.mu.Unlock()
	b.w.count("changes told", len(changes))
	for _, rec := range changes {
		b.w.oracle.told(b, rec)
	}
	b.act(r, changes, upto)
}

// act drops what purges name and, after the region has forgotten purges, all
// that they may have named.
func (b *box) act(r *following, changes []catalogue.Record, upto feed.Seq) {
	doubt := r.copy.Doubt()
	b.mu.Lock()
	if b.dead {
		b.mu.Unlock()
		return
	}
	if doubt.After(b.doubted) {
		b.doubted = doubt
		for o, s := range b.objects {
			if s.at.Before(doubt.Add(skew)) {
				delete(b.objects, o)
				b.w.count("objects dropped in doubt", 1)
			}
		}
	}
	for _, rec := range changes {
		if rec.Kind != catalogue.KindPurge || rec.Deleted {
			continue
		}
		p, err := catalogue.Body[catalogue.Purge](rec)
		if err != nil {
			b.w.fail("%s: purge %s: %v", b.id.Name, rec.ID, err)
			continue
		}
		for o := range b.objects {
			if o.named(p) {
				delete(b.objects, o)
				b.w.count("objects purged", 1)
			}
		}
		for o, v := range b.w.origin.purge(p.ID) {
			b.gone[o] = max(b.gone[o], v)
		}
	}
	b.mu.Unlock()
	// A disk that takes nothing has it done again at the next start.
	err := r.disk.Write([]feed.Change{{Key: keyActed, Value: binary.BigEndian.AppendUint64(nil, uint64(upto))}})
	if err != nil {
		b.w.count("acts not noted", 1)
	}
}

// use is what devices do: they ask for objects, which the box serves or fetches.
func (b *box) use(rng *rand.Rand) {
	for range 3 {
		o := objects[rng.IntN(len(objects))]
		b.mu.Lock()
		if s, ok := b.objects[o]; !ok {
			b.objects[o] = stored{b.w.origin.get(o), time.Now()}
		} else if s.version < b.gone[o] {
			b.w.fail("%s serves %v in version %d, and has acknowledged its purge at version %d", b.id.Name, o, s.version, b.gone[o])
		}
		b.mu.Unlock()
	}
}

// without checks that the box has nothing that a purge named.
func (b *box) without(p purged, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for o, v := range p.versions {
		if s, ok := b.objects[o]; ok && s.version < v {
			b.w.fail("%s has %v in version %d after purge %s at %d (version %d): %s", b.id.Name, o, s.version, p.id, p.index, v, why)
		}
	}
}

// connected is which server the box follows, and since when.
func (b *box) connected() string {
	if b.run == nil {
		return ""
	}
	server, since := b.run.follower.Connected()
	if server == "" {
		return ""
	}
	return fmt.Sprint(server, since.UnixNano())
}

// holds is what the box's copy has.
func (b *box) holds() (map[key]string, error) {
	out := map[key]string{}
	for k := catalogue.Kind(1); k < 255; k++ {
		err := b.run.copy.List(k, func(r catalogue.Record) bool {
			out[key{r.Kind, r.ID}] = fmt.Sprintf("%d %d %x", r.Index, r.At.UnixMilli(), r.Body)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

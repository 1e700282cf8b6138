package publish_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
	"preau/replication/hold"
)

const (
	maps   = "maps"
	system = "preau-central"
)

func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func testPub() ed25519.PublicKey { return testKey().Public().(ed25519.PublicKey) }

// small is a configuration in which a few objects make many pages, folds and
// batches.
func small() publish.Config {
	c := publish.DefaultConfig()
	c.Buckets, c.System = []string{maps}, system
	c.PageRows, c.FoldRows, c.TailBytes, c.Workers, c.Spare = 4, 6, 2000, 3, 10
	return c
}

// world is a store with a bucket. Its gateways run until they are stopped.
type world struct {
	t  *testing.T
	st *storetest.Memory
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, st: storetest.NewMemory()}
	if err := w.st.MakeBucket(t.Context(), maps); err != nil {
		t.Fatal(err)
	}
	return w
}

type gateway struct {
	*publish.Publisher
	stop func()
}

// start starts a gateway on st. Its error is the test's.
func (w *world) start(st store.Store, c publish.Config) *gateway {
	w.t.Helper()
	return w.startWith(st, c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

func (w *world) startWith(st store.Store, c publish.Config, log *slog.Logger, reg prometheus.Registerer) *gateway {
	w.t.Helper()
	p, err := publish.New(c, st, testKey(), log, reg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	return &gateway{Publisher: p, stop: func() { cancel(); wg.Wait() }}
}

func (w *world) put(key, body string, meta ...string) store.Info {
	w.t.Helper()
	o := store.Options{Meta: map[string]string{}}
	for i := 0; i+1 < len(meta); i += 2 {
		o.Meta[meta[i]] = meta[i+1]
	}
	info, err := w.st.Put(w.t.Context(), maps, key, bytes.NewReader([]byte(body)), int64(len(body)), o, store.Condition{})
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) remove(key string) {
	w.t.Helper()
	if err := w.st.Delete(w.t.Context(), maps, key); err != nil {
		w.t.Fatal(err)
	}
}

// follower is a region that has read a history so far.
type follower struct {
	t      *testing.T
	cursor central.Cursor
	now    map[string]central.Object
	log    []central.Object // of deletions, Bucket and Key only
}

func (w *world) follower() *follower { return &follower{t: w.t, now: map[string]central.Object{}} }

// read reads all that p has to tell.
func (f *follower) read(p central.Publications, limit int) {
	f.t.Helper()
	for {
		got, err := p.Changes(f.t.Context(), maps, f.cursor, limit, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		if got.Epoch != f.cursor.Epoch {
			f.cursor, f.now, f.log = central.Cursor{Epoch: got.Epoch}, map[string]central.Object{}, nil
		}
		if len(got.Changes) == 0 {
			return
		}
		if len(got.Changes) > limit {
			f.t.Fatalf("%d changes, want at most %d", len(got.Changes), limit)
		}
		for _, c := range got.Changes {
			if c.Seq != f.cursor.Seq+1 || c.Seq > got.Head {
				f.t.Fatalf("change %d comes after %d, head %d", c.Seq, f.cursor.Seq, got.Head)
			}
			f.cursor.Seq = c.Seq
			o, err := central.Verify(testPub(), c)
			if err != nil {
				f.t.Fatal(err)
			}
			f.log = append(f.log, o)
			if c.Deleted {
				delete(f.now, o.Key)
			} else {
				f.now[o.Key] = o
			}
		}
	}
}

// agrees checks that what a region has read is what lies in the bucket, but for
// keys that are held, and that p hands out all of it.
func (w *world) agrees(p central.Publications, now map[string]central.Object, held ...string) {
	w.t.Helper()
	want := map[string]bool{}
	page, err := w.st.List(w.t.Context(), maps, "", "", store.MaxPage)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, listed := range page.Objects {
		want[listed.Key] = true
	}
	for _, key := range held {
		delete(want, key)
	}
	for key := range now {
		if !want[key] {
			w.t.Errorf("%q is published, and is not there", key)
		}
	}
	for key := range want {
		o, ok := now[key]
		if !ok {
			w.t.Errorf("%q is not published", key)
			continue
		}
		info, body := w.get(key)
		sum := block.Sum(body)
		if o.ETag != info.ETag || o.Length != info.Size || !o.Modified.Equal(central.Milli(info.Modified)) || o.SHA256 != sum || o.Meta.Title != info.Meta["title"] {
			w.t.Errorf("%q is published as %+v, want %+v, SHA-256 %s", key, o, info, sum)
			continue
		}
		if o.Length > 0 {
			w.handsOut(p, o, body)
		}
	}
}

func (w *world) get(key string) (store.Info, []byte) {
	w.t.Helper()
	rc, info, err := w.st.Get(w.t.Context(), maps, key, 0, -1, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return info, slurp(w.t, rc)
}

func slurp(t *testing.T, rc io.ReadCloser) []byte {
	t.Helper()
	p, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	return p
}

// handsOut checks list and blocks of an object.
func (w *world) handsOut(p central.Publications, o central.Object, body []byte) {
	w.t.Helper()
	list, err := p.List(w.t.Context(), maps, o.List)
	if err != nil {
		w.t.Errorf("list of %q: %v", o.Key, err)
		return
	}
	entries, err := hold.DecodeList(list, o.Length)
	if err != nil || block.Sum(list) != o.List {
		w.t.Errorf("list of %q: %v", o.Key, err)
		return
	}
	whole, off := sha256.New(), int64(0)
	for _, e := range entries {
		rc, err := p.Body(w.t.Context(), maps, o.List, off, int64(e.Length))
		if err != nil {
			w.t.Errorf("body of %q at %d: %v", o.Key, off, err)
			return
		}
		got := slurp(w.t, rc)
		if block.Sum(got) != e.Digest {
			w.t.Errorf("body of %q at %d is another one", o.Key, off)
		}
		whole.Write(got)
		off += int64(e.Length)
	}
	if block.Digest(whole.Sum(nil)) != o.SHA256 || off != int64(len(body)) {
		w.t.Errorf("body of %q is another one", o.Key)
	}
}

func bubble(t *testing.T, fn func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(newWorld(t)) })
}

// settle lets time pass, and all that is to happen in it.
func settle(d time.Duration) {
	<-time.After(d + 7*time.Millisecond)
	synctest.Wait()
}

func TestWhatIsPutIsPublished(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("été/atlas.zim", string(storetest.Bytes(1, 3<<19)), "title", "Atlas")
		w.put("empty.txt", "")
		w.put("folder/", "")
		for i := range 30 {
			w.put(fmt.Sprintf("page-%02d", i), fmt.Sprint("page ", i))
		}
		g := w.start(w.st, small())
		settle(20 * time.Second)
		f := w.follower()
		f.read(g, 7)
		w.remove("folder/")
		w.agrees(g, f.now)

		// Everything else is found by the next pass.
		w.put("page-03", "another page")
		w.put("page-04", "page 4", "title", "the same content with a title")
		w.remove("page-05")
		settle(12 * time.Minute)
		f.read(g, 1000)
		w.agrees(g, f.now)
		if n := len(f.log); n != 32+3 {
			t.Errorf("%d changes, want 35", n)
		}

		// A quiet bucket makes no changes, nor does another gateway.
		g.stop()
		g = w.start(w.st, small())
		settle(30 * time.Minute)
		again := w.follower()
		again.read(g, 3)
		if diff := cmp.Diff(f.log, again.log); diff != "" {
			t.Error(diff)
		}
		g.stop()
	})
}

func TestOldVersionsAreGone(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("a", "one")
		w.put("b", "one")
		g := w.start(w.st, small())
		defer g.stop()
		settle(20 * time.Second)
		f := w.follower()
		f.read(g, 10)
		old := f.now["a"]
		if old.List != f.now["b"].List {
			t.Fatal("the same content has two lists")
		}
		w.put("a", "two")
		settle(12 * time.Minute)
		f.read(g, 10)
		w.agrees(g, f.now) // b has its list and its body yet
		w.remove("b")
		settle(12 * time.Minute)
		if _, err := g.Body(t.Context(), maps, old.List, 0, 3); !errors.Is(err, central.ErrGone) {
			t.Errorf("the body of a version that is gone: %v", err)
		}
		if _, err := g.List(t.Context(), maps, old.List); !errors.Is(err, block.ErrNotFound) {
			t.Errorf("the list of a version that is gone: %v", err)
		}
		if _, err := g.Body(t.Context(), maps, f.now["a"].List, 2, 5); !errors.Is(err, central.ErrInvalid) {
			t.Errorf("a range beyond the end: %v", err)
		}
		if _, err := g.Body(t.Context(), "other", old.List, 0, 3); !errors.Is(err, central.ErrNoBucket) {
			t.Errorf("another bucket: %v", err)
		}
	})
}

package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/replication/catalogue"
	"preau/replication/hold"
)

// shop gives the blocks that it has, to the shelf and for lists.
type shop struct {
	blocks map[block.Digest][]byte
	given  int // bytes
	of     map[string]bool
}

func (s *shop) get(of string, d block.Digest) ([]byte, error) {
	s.of[of] = true
	p, ok := s.blocks[d]
	if !ok {
		return nil, block.ErrNotFound
	}
	s.given += len(p)
	return p, nil
}

func (s *shop) publish(t *testing.T, id string, content []byte) catalogue.Resource {
	t.Helper()
	put := make(chan struct{}, 1)
	cut, err := hold.SplitContent(t.Context(), bytes.NewReader(content), int64(len(content)), func(_ context.Context, d block.Digest, p []byte) error {
		put <- struct{}{}
		s.blocks[d] = slices.Clone(p)
		<-put
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hold.EncodeList(cut.Entries)
	if err != nil {
		t.Fatal(err)
	}
	s.blocks[block.Sum(raw)] = raw
	r := resourceOf(id, "geo", cut.Length)
	r.SHA256, r.Blocks, r.Manifest, r.Listed = cut.SHA256, nil, block.Sum(raw), true
	return r
}

// one asks a shop as one server at a time.
type one struct {
	turn chan struct{}
	*shop
}

func (o one) Block(_ context.Context, req shelf.Request) (shelf.Given, error) {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	p, err := o.get(req.Of, req.Digest)
	return shelf.Given{ReadCloser: io.NopCloser(bytes.NewReader(p)), From: shelf.FromRegion}, err
}

// delta is a follower with a disk and a shop.
func delta(t *testing.T) (*Follower, *fakeCopy, *shop) {
	t.Helper()
	f, c := opened(t)
	shop := &shop{blocks: map[block.Digest][]byte{}, of: map[string]bool{}}
	src := one{make(chan struct{}, 1), shop}
	log := slog.New(slog.DiscardHandler)
	var err error
	if f.shelf, err = shelf.New(shelf.DefaultConfig(), published{f}, f.storage.Load, src, log, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	f.stock = f.shelf
	f.block = func(ctx context.Context, d block.Digest) ([]byte, error) {
		src.turn <- struct{}{}
		defer func() { <-src.turn }()
		of, _ := ctx.Value(ofKey{}).(string)
		return shop.get(of, d)
	}
	st, err := storage.Open(storage.DefaultConfig(t.TempDir(), 256<<20), log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := f.Opened(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	return f, c, shop
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func fetched(t *testing.T, f *Follower, id string, want []byte) {
	t.Helper()
	if err := f.shelf.Fetch(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	it, err := published{f}.Item(id)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.shelf.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, it.Path(), nil))
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), want) {
		t.Fatalf("%d with %d bytes, want %d", w.Code, w.Body.Len(), len(want))
	}
}

// What a new version of a published file costs the line: what changed, and the
// list of its blocks.
func TestANewVersionCostsWhatChanged(t *testing.T) {
	size, most := 20<<20, 10 // in per cent
	if testing.Short() {
		size, most = 5<<20, 33 // a block or two more are a larger part of it
	}
	content := random(size, 1)
	changed := slices.Clone(content)
	copy(changed[size/2:size/2+size/20], random(size/20, 2))
	for name, next := range map[string][]byte{
		"5 % in the middle": changed,
		"an insertion":      slices.Concat(content[:4096], []byte("something that was not there"), content[4096:]),
	} {
		t.Run(name, func(t *testing.T) {
			f, c, shop := delta(t)
			c.apply(t, record(t, shop.publish(t, "film", content)))
			fetched(t, f, "film", content)
			all := shop.given
			c.apply(t, record(t, shop.publish(t, "film", next)))
			shop.given = 0
			fetched(t, f, "film", next)
			t.Logf("%d bytes the first time, %d for the new version: %.1f %%", all, shop.given, 100*float64(shop.given)/float64(all))
			if shop.given > all*most/100 {
				t.Errorf("%d bytes were fetched, %d the first time", shop.given, all)
			}
			if len(shop.of) != 1 || !shop.of["film"] {
				t.Errorf("blocks of %v were asked for", shop.of)
			}
		})
	}
}

// What the region has purged since is not sent for what is published after it.
func TestNothingOfBeforeAPurgeIsKept(t *testing.T) {
	for name, purge := range map[string]catalogue.Purge{
		"":               {ID: "p", Scope: catalogue.ScopeResource, Target: "other"},
		"a resource":     {ID: "p", Scope: catalogue.ScopeResource, Target: "film"},
		"its collection": {ID: "p", Scope: catalogue.ScopeCollection, Target: "geo"},
	} {
		t.Run("purge of "+name, func(t *testing.T) {
			f, c, shop := delta(t)
			content := random(2<<20, 3)
			c.apply(t, record(t, shop.publish(t, "film", content)))
			fetched(t, f, "film", content)
			// All of it in one batch, as to a box that was away.
			next := shop.publish(t, "film", random(2<<20, 4))
			clear(shop.blocks)
			c.apply(t, record(t, purge), record(t, next))
			keeps, err := published{f}.Keeps(shelf.Item{ID: "film"}, time.Now())
			if err != nil || keeps != (name == "") {
				t.Errorf("keeps %v, %v", keeps, err)
			}
			w := httptest.NewRecorder()
			f.shelf.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/r/film/film.pdf", nil))
			if sent := w.Code == http.StatusOK && bytes.Equal(w.Body.Bytes(), content); sent != (name == "") {
				t.Errorf("status %d, the version before was sent: %v", w.Code, sent)
			}
		})
	}
	f, _ := opened(t)
	if _, err := (published{f}).Keeps(shelf.Item{ID: "nothing"}, time.Now()); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("error %v", err)
	}
}

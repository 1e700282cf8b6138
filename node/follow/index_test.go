package follow

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/kv"
)

// indexed is all that the index has.
func indexed(t *testing.T, x *index) (out []string) {
	t.Helper()
	for at := (entry{}); ; {
		entries, err := x.page("", at, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, at = range entries {
			out = append(out, at.collection+"/"+at.id)
		}
		if len(entries) < 2 {
			return out
		}
	}
}

func TestTheIndexFollowsTheCopy(t *testing.T) {
	dir := t.TempDir()
	f, c := open(t, dir)
	long := resourceOf("film", "geo", 20<<20)
	c.apply(t, record(t, resourceOf("atlas", "geo", 10)), record(t, resourceOf("song", "music", 10)), record(t, long),
		record(t, resourceOf("song", "art", 10))) // twice in one batch
	c.apply(t, record(t, resourceOf("atlas", "art", 10)), gone(catalogue.KindResource, "film"), gone(catalogue.KindResource, "never"))
	want := []string{"art/atlas", "art/song"}
	check := func(when string, n int, want []string) {
		t.Helper()
		seq, got, _ := f.index.state()
		if list := indexed(t, f.index); !slices.Equal(list, want) || got != n || seq != c.seq {
			t.Errorf("%s: %v, %d resources, at %d of %d; want %v", when, list, got, seq, c.seq, want)
		}
	}
	check("as it went", 2, want)
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}

	f, c = open(t, dir)
	defer func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	}()
	check("after a restart", 2, want)
	if !f.known.recorded.Equal(noon) {
		t.Errorf("the latest time of a record is %v", f.known.recorded)
	}
	// What it was not told of, it reads.
	told := c.fns
	c.fns = nil
	var many []catalogue.Record
	for i := range 2*indexRecords + 7 {
		many = append(many, record(t, resourceOf(fmt.Sprintf("r%05d", i), "many", 10)))
	}
	c.apply(t, many...)
	c.fns = told
	c.apply(t, gone(catalogue.KindResource, "song")) // does not follow on
	if seq, _, _ := f.index.state(); seq == c.seq {
		t.Error("the index jumped over what it was not told of")
	}
	if err := f.forget(); err != nil || c.upto >= c.seq {
		t.Errorf("marks up to %d are forgotten (%v), and the index has not seen them", c.upto, err)
	}
	if err := f.index.catchUp(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if list := indexed(t, f.index); len(list) != len(many)+1 || list[0] != "art/atlas" {
		t.Errorf("%d resources, the first %s", len(list), list[0])
	}
	if _, n, _ := f.index.state(); n != len(many)+1 {
		t.Errorf("%d are counted", n)
	}
}

func TestPublishedIsLookedUp(t *testing.T) {
	f, c := opened(t)
	over := resourceOf("exam", "maths", 10)
	over.Expires = noon.AddDate(0, 0, -1)
	c.apply(t, record(t, catalogue.Collection{ID: "geo", Title: "Géographie"}),
		record(t, resourceOf("atlas", "geo", 10)), record(t, over), record(t, resourceOf("map", "geo", 10)), record(t, resourceOf("zoo", "zoo", 10)))
	p := published{f}
	if it, err := p.Item("atlas"); err != nil || it.Filename != "atlas.pdf" || len(it.Blocks) != 1 {
		t.Errorf("%+v, %v", it, err)
	}
	if _, err := p.Item("nothing"); !errors.Is(err, shelf.ErrUnknown) || errors.Is(err, shelf.ErrGone) {
		t.Errorf("what never was: %v", err)
	}
	if _, err := p.Item("exam"); !errors.Is(err, shelf.ErrGone) {
		t.Errorf("what has expired: %v", err)
	}
	var pages []string
	for after, more := "", true; more; {
		items, next, err := p.Page(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, it := range items {
			ids = append(ids, it.Collection+":"+it.ID)
		}
		pages = append(pages, strings.Join(ids, " "))
		after, more = next, next != ""
	}
	if want := []string{"Géographie:atlas Géographie:map", "zoo:zoo"}; !slices.Equal(pages, want) {
		t.Errorf("pages %q, want %q", pages, want)
	}
	for _, odd := range []string{"/", "zzz", "\x00", "a/b/c", strings.Repeat("x", 5000)} {
		if _, _, err := p.Page(t.Context(), odd, 2); err != nil {
			t.Errorf("after %q: %v", odd, err)
		}
	}
	// Taken back, it is gone before the region hears that the box knows.
	c.apply(t, gone(catalogue.KindResource, "atlas"))
	if _, err := p.Item("atlas"); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("what was taken back: %v", err)
	}
	if p.Len() != 3 {
		t.Errorf("%d are published", p.Len())
	}
}

func TestALongResourcesListIsKeptAsLongAsItIsPublished(t *testing.T) {
	f, c := opened(t)
	r := resourceOf("film", "geo", 20<<20)
	var blocks []block.Digest
	for i := range 20 {
		blocks = append(blocks, block.Sum([]byte{byte(i)}))
	}
	raw, err := hold.EncodeManifest(blocks)
	if err != nil {
		t.Fatal(err)
	}
	r.Manifest = block.Sum(raw)
	c.apply(t, record(t, r))
	p := published{f}
	it, err := p.Item("film")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pieces(t.Context(), it); !errors.Is(err, errNoServers) {
		t.Errorf("without a region: %v", err)
	}
	asked := 0
	f.block = func(context.Context, block.Digest) ([]byte, error) { asked++; return raw, nil }
	for range 3 {
		got, err := p.Pieces(t.Context(), it)
		if err != nil || !slices.EqualFunc(got, blocks, func(p shelf.Piece, d block.Digest) bool { return p == shelf.Piece{Digest: d, Length: 1 << 20} }) {
			t.Errorf("%d blocks, %v", len(got), err)
		}
	}
	if asked != 1 {
		t.Errorf("the list was fetched %d times", asked)
	}
	c.apply(t, gone(catalogue.KindResource, "film"))
	if _, err := f.manifest(r.Manifest); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("the list of what is not published any more: %v", err)
	}
}

// A box keeps nothing in memory of what it does not want: the heap is measured
// once the store, whose caches are bounded by themselves, is closed.
func TestMemoryDoesNotGrowWithTheCatalogue(t *testing.T) {
	heap := func(resources int) (used uint64, kept int) {
		f, c := open(t, t.TempDir())
		c.apply(t, record(t, catalogue.Subscription{ID: "s", Collection: "wanted"}))
		var batch []catalogue.Record
		for i := range 50 {
			batch = append(batch, record(t, resourceOf(fmt.Sprintf("wanted%d", i), "wanted", 10)))
		}
		c.apply(t, batch...)
		batch = nil
		for i := range resources {
			if batch = append(batch, record(t, resourceOf(fmt.Sprintf("resource-%06d", i), fmt.Sprint("c", i/500), 1<<20))); len(batch) == 500 {
				c.apply(t, batch...)
				batch = nil
			}
		}
		f.prefetch(t.Context(), true)
		if _, n, _ := f.index.state(); n != resources+50 {
			t.Fatalf("%d resources are known", n)
		}
		if err := f.store.Close(); err != nil {
			t.Fatal(err)
		}
		f.store, f.index.store, f.copy, c.store = store{}, nil, nil, store{}
		for range 3 { // what pools hold goes at the second
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		kept = len(f.known.near)
		runtime.KeepAlive(f)
		return m.HeapAlloc, kept
	}
	heap(500) // what is made once
	before, _ := heap(500)
	more := 5000
	if testing.Short() {
		more = 2000
	}
	after, kept := heap(500 + more)
	t.Logf("%d bytes with 500 resources, %d with %d more", before, after, more)
	if grown := int64(after) - int64(before); grown > 100_000 {
		t.Errorf("%d unwanted resources take %d bytes of memory", more, grown)
	}
	if kept != 50 {
		t.Errorf("%d resources are in memory, want those that are wanted", kept)
	}
}

// Whatever the index is told, and however often, it comes to the same.
func TestTheIndexIsTheSameTwice(t *testing.T) {
	f, c := opened(t)
	batch := []catalogue.Record{record(t, resourceOf("a", "x", 1)), record(t, resourceOf("b", "x", 1)), gone(catalogue.KindResource, "c")}
	c.apply(t, batch...)
	f.index.seq = 0 // as a power cut may leave it
	if err := f.index.catchUp(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, n, _ := f.index.state(); n != 2 || len(indexed(t, f.index)) != 2 {
		t.Errorf("%d resources: %v", n, indexed(t, f.index))
	}
	if seq, _, _ := f.index.state(); seq != feed.Seq(len(batch)) {
		t.Errorf("it is at %d", seq)
	}
}

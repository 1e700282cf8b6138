package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"preau/cache/object"
	"preau/cache/storage"
)

func (w *world) purge(want int, marks ...object.Mark) {
	w.t.Helper()
	n, err := w.store.Purge(w.t.Context(), []storage.PurgeSpec{{Site: "site", Marks: marks}})
	if err != nil || n != want {
		w.t.Errorf("purged %d, want %d; %v", n, want, err)
	}
}

func TestAPurgedResponseIsFetchedAgain(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(text("v", &made, "Cache-Control", "max-age=3600", "Surrogate-Key", "lesson", "ETag", `"e"`))
	m := w.store.Marker()
	for i, marks := range [][]object.Mark{
		{m.Exact("site", "/dir/a?q=1")}, {m.Prefix("site", "/dir")}, {m.Tag("site", "lesson")}, {m.Site("site")}, nil,
	} {
		was := fmt.Sprint("v", i+1)
		w.get("/dir/a?q=1")
		w.want(w.get("/dir/a?q=1"), 200, was, "hit") // from memory
		w.requests()
		w.purge(0, m.Exact("site", "/dir/a"))
		w.want(w.get("/dir/a?q=1"), 200, was, "hit")
		w.purge(1, marks...)
		w.want(w.get("/dir/a?q=1"), 200, fmt.Sprint("v", i+2), "fwd=uri-miss; fwd-status=200; stored")
		if got := w.wantAsked(1); len(got) == 1 && !strings.HasPrefix(got[0].Header.Get("Cache-Control"), "max-age=") {
			t.Error("caches on the way are not told how old it may be")
		}
	}
	// Nor without the line.
	w.purge(1, m.Site("site"))
	w.lineDown()
	if r := w.get("/dir/a?q=1"); r.status != http.StatusGatewayTimeout {
		t.Errorf("without the line a purged page is answered with %d", r.status)
	}
}

// TestAPurgeInTheMiddleOfAFetch purges while the origin is making its answer:
// what it answers is not kept, and not for who comes after the purge.
func TestAPurgeInTheMiddleOfAFetch(t *testing.T) {
	w := newWorld(t)
	arrived, release := make(chan struct{}, 9), make(chan struct{})
	var made atomic.Int64
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		n := made.Add(1)
		arrived <- struct{}{}
		if n == 1 {
			<-release
		}
		rw.Header().Set("Cache-Control", "max-age=3600")
		_, _ = fmt.Fprint(rw, "v", n)
	})
	var before [3]reply
	var all sync.WaitGroup
	for i := range before {
		all.Go(func() { before[i] = w.get("/a") })
	}
	<-arrived
	w.waiting(len(before))
	w.purge(0, w.store.Marker().Exact("site", "/a"))
	w.want(w.get("/a"), 200, "v2") // does not wait for the first
	close(release)
	all.Wait()
	w.want(w.get("/a"), 200, "v2", "hit")
	for _, r := range before {
		if s := string(r.body); r.status != 200 || s != "v1" && s != "v2" {
			t.Errorf("who asked before got %d %q, %v", r.status, s, r.err)
		}
	}
	w.wantAsked(2)
}

func TestAPurgedFilmGoesOnForWhoSeesIt(t *testing.T) {
	w := newWorld(t)
	data := noise(3<<20, 1)
	w.answer(file(data, "Cache-Control", "max-age=3600", "ETag", `"f"`))
	if r := w.get("/film"); r.err != nil {
		t.Fatal(r.err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.front.URL+"/film", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	w.purge(1, w.store.Marker().Exact("site", "/film"))
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(buf)+string(rest) != string(data) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	w.requests()
	if r := w.get("/film", "Range", "bytes=0-9"); r.status != http.StatusPartialContent || strings.Contains(r.cache(), "hit") {
		t.Errorf("a range of a purged film: %d, %s", r.status, r.cache())
	}
	if len(w.requests()) == 0 {
		t.Error("the origin was not asked")
	}
}

func TestTheObserverLearnsNames(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	seen := map[string]int{}
	w.edge.SetObserver(func(site, name string, listed bool) {
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprint(site, " ", name, " ", listed)]++
	})
	var made atomic.Int64
	w.answer(text("<p>", &made, "Cache-Control", "max-age=3600", "Content-Type", "text/html"))
	for range 3 {
		w.get("/page")
		w.get("/page?token=secret")
		w.do(http.MethodHead, "/page", nil)
		w.get("/page", "Range", "bytes=1-2")
	}
	mu.Lock()
	defer mu.Unlock()
	if seen["site /page true"] != 3 || seen["site "+w.store.Marker().Exact("site", "/page?token=secret").String()+" false"] != 3 || len(seen) != 2 {
		t.Errorf("seen: %v", seen)
	}
}

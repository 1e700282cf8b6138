package shelf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/shelf"
	"preau/cache/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// library is a catalogue in memory.
type library struct {
	mu    sync.Mutex
	items map[string]shelf.Item
	lists map[block.Digest][]shelf.Piece // that have to be asked for
	back  bool                           // what was published may have been taken back
}

func (l *library) Item(id string) (shelf.Item, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it, ok := l.items[id]
	switch {
	case !ok:
		return shelf.Item{}, shelf.ErrUnknown
	case !it.Expires.IsZero() && !time.Now().Before(it.Expires):
		return shelf.Item{}, shelf.ErrGone
	}
	return it, nil
}

func (l *library) Keeps(shelf.Item, time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.back, nil
}

func (l *library) Pieces(_ context.Context, it shelf.Item) ([]shelf.Piece, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.lists[it.List]; ok {
		return b, nil
	}
	return nil, errors.New("no server has the list")
}

func (l *library) Page(_ context.Context, after string, most int) (out []shelf.Item, next string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.items)) {
		if id <= after {
			continue
		}
		if len(out) == most {
			return out, out[most-1].ID, nil
		}
		out = append(out, l.items[id])
	}
	return out, "", nil
}

func (l *library) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}

// set publishes an item, or nothing under an id.
func (l *library) set(id string, it *shelf.Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.items, id); it != nil {
		l.items[id] = *it
	}
}

// world is a shelf on a storage.
type world struct {
	*shelf.Shelf
	*region
	*library
	t        *testing.T
	dir      string
	patience time.Duration // of those who wait for a fill
	store    atomic.Pointer[storage.Storage]
	stop     func()
	front    *httptest.Server
	http     *http.Transport
	reg      *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), patience: time.Minute, region: &region{blocks: map[block.Digest][]byte{}, given: map[block.Digest]int{}}}
	w.library = &library{items: map[string]shelf.Item{}, lists: map[block.Digest][]shelf.Piece{}}
	w.open()
	t.Cleanup(func() { w.stop() })
	w.again()
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	w.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.http = &http.Transport{DisableCompression: true}
	t.Cleanup(w.front.Close)
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// again makes a shelf as a start does, on the same storage.
func (w *world) again() { w.first(time.Minute) }

// first is again with that patience for the first byte.
func (w *world) first(byte time.Duration) {
	w.t.Helper()
	cfg := shelf.DefaultConfig()
	cfg.FirstByte, cfg.Quiet, cfg.Page = byte, 5*time.Millisecond, 4
	var err error
	w.reg = prometheus.NewRegistry()
	w.Shelf, err = shelf.New(cfg, w.library, w.store.Load, w.region, quiet, w.reg)
	w.check(err)
}

func (w *world) open() {
	w.t.Helper()
	cfg := storage.DefaultConfig(w.dir, 64<<20)
	cfg.Fill.Patience = w.patience
	s, err := storage.Open(cfg, quiet, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.store.Store(s)
}

func (w *world) reopen() {
	w.store.Store(nil)
	w.stop()
	w.open()
	w.check(w.Sync(w.t.Context()))
}

// upsert publishes an item and tells the shelf.
func (w *world) upsert(it shelf.Item) {
	w.t.Helper()
	w.library.set(it.ID, &it)
	w.check(w.Changed(w.t.Context(), it.ID))
}

// remove takes an item back and tells the shelf.
func (w *world) remove(id string) {
	w.t.Helper()
	w.library.set(id, nil)
	w.check(w.Remove(w.t.Context(), id))
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

type reply struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (w *world) get(path string, header ...string) reply {
	return w.do(http.MethodGet, path, header...)
}

func (w *world) do(method, path string, header ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.front.URL+path, nil)
	w.check(err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.http.RoundTrip(req)
	if err != nil {
		return reply{err: err, header: http.Header{}}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b, err}
}

func (w *world) state(id string) shelf.State {
	w.t.Helper()
	st, err := w.State(id)
	w.check(err)
	return st
}

func (w *world) until(ok func() bool, what string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal(what)
		}
	}
}

func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestServesWhatIsPublished(t *testing.T) {
	w := newWorld(t)
	data := noise(2<<20+77, 1)
	it := w.publish("cours", data)
	w.upsert(it)
	r := w.get(it.Path())
	if r.status != 200 || !bytes.Equal(r.body, data) {
		t.Fatalf("%d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	for name, want := range map[string]string{
		"Etag": `"` + it.SHA256.String() + `"`, "Content-Type": "application/pdf", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": `inline; filename="cours _t_.pdf"; filename*=UTF-8''cours%20%C3%A9t%C3%A9.pdf`, "Content-Language": "fr",
		"Content-Length": fmt.Sprint(len(data)), "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	tests := map[string]struct {
		method string
		path   string
		header []string
		status int
		body   []byte
	}{
		"a range":             {header: []string{"Range", "bytes=1048570-1048590"}, status: 206, body: data[1048570:1048591]},
		"the end":             {header: []string{"Range", "bytes=-5"}, status: 206, body: data[len(data)-5:]},
		"beyond the end":      {header: []string{"Range", "bytes=99999999-"}, status: 416},
		"several ranges":      {header: []string{"Range", "bytes=0-1,9-10"}, status: 200, body: data},
		"of another version":  {header: []string{"Range", "bytes=0-1", "If-Range", `"x"`}, status: 200, body: data},
		"of this version":     {header: []string{"Range", "bytes=0-1", "If-Range", r.header.Get("Etag")}, status: 206, body: data[:2]},
		"what one has":        {header: []string{"If-None-Match", r.header.Get("Etag")}, status: 304},
		"since":               {header: []string{"If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT"}, status: 304},
		"if it is another":    {header: []string{"If-Match", `"x"`}, status: 412},
		"if it is this":       {header: []string{"If-Match", r.header.Get("Etag")}, status: 200, body: data},
		"its head":            {method: http.MethodHead, status: 200},
		"a write":             {method: http.MethodPut, status: 405},
		"what is unknown":     {path: "/r/nothing/x", status: 404},
		"by another name":     {path: "/r/cours/other.pdf", status: 302},
		"by its ID alone":     {path: "/r/cours", status: 302},
		"outside its folder":  {path: "/r/../cours", status: 404},
		"a folder of nothing": {path: "/r//", status: 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			if tt.path == "" {
				tt.path = it.Path()
			}
			r := w.do(tt.method, tt.path, tt.header...)
			if r.status != tt.status || tt.body != nil && !bytes.Equal(r.body, tt.body) {
				t.Errorf("%d with %d bytes, want %d with %d", r.status, len(r.body), tt.status, len(tt.body))
			}
			if tt.status == 302 && r.header.Get("Location") != it.Path() {
				t.Errorf("Location %s", r.header.Get("Location"))
			}
		})
	}
	if n := w.most(); n != 1 {
		t.Errorf("a block was fetched %d times", n)
	}
	if st := w.state("cours"); !st.Complete || st.Held != it.Length {
		t.Errorf("state %+v", st)
	}
}

func TestAClassFetchesEachBlockOnce(t *testing.T) {
	w := newWorld(t)
	data := noise(5<<20+9, 2)
	if testing.Short() {
		data = data[:2<<20+9]
	}
	it := w.publish("film", data)
	w.upsert(it)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			from := i * 400_000 % len(data)
			r := w.get(it.Path(), "Range", fmt.Sprintf("bytes=%d-", from))
			if r.status != 206 || !bytes.Equal(r.body, data[from:]) {
				t.Errorf("from %d: %d, %d bytes, %v", from, r.status, len(r.body), r.err)
			}
		})
	}
	all.Wait()
	if n := w.most(); n != 1 {
		t.Errorf("a block was fetched %d times", n)
	}
}

func TestWrongBlocksNeverLeave(t *testing.T) {
	w := newWorld(t)
	data := noise(1<<20+500, 3)
	it := w.publish("a", data)
	w.upsert(it)
	w.region.set(func() { w.lies = true })
	if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) {
		t.Errorf("%d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	// Nor when nobody has the right one: then there is no answer, and nothing to
	// be patient for.
	w.stop()
	w.patience = 50 * time.Millisecond
	w.open()
	w.again()
	bad := w.publish("b", noise(3000, 4))
	w.region.set(func() { w.blocks[bad.Blocks[0]] = noise(3000, 5) })
	w.upsert(bad)
	if r := w.get(bad.Path()); r.status != http.StatusGatewayTimeout || r.header.Get("Etag") != "" {
		t.Errorf("%d, %d bytes", r.status, len(r.body))
	}
	// Without a storage neither.
	w.store.Store(nil)
	if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) {
		t.Errorf("passed through: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	if r := w.get(it.Path(), "Range", "bytes=1048570-1048999"); r.status != 206 || !bytes.Equal(r.body, data[1048570:1049000]) {
		t.Errorf("a range passed through: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	if r := w.get(bad.Path()); r.status != http.StatusGatewayTimeout {
		t.Errorf("passed through: %d", r.status)
	}
}

func TestWhatIsTakenBackIsGone(t *testing.T) {
	w := newWorld(t)
	it, other := w.publish("a", noise(1<<20+5, 6)), w.publish("b", noise(900, 7))
	w.upsert(it)
	w.upsert(other)
	w.check(w.Fetch(t.Context(), "a", nil))
	w.check(w.Want("a", true))
	w.remove("a")
	w.remove("never")
	if r := w.get(it.Path()); r.status != http.StatusGone {
		t.Errorf("%d", r.status)
	}
	if keys, _, _ := w.store.Load().PinUsage(); keys != 0 || w.listed() != 0 {
		t.Errorf("%d pins and %d objects are left", keys, w.listed())
	}
	if _, err := w.State("a"); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("error %v", err)
	}
	// What went while the box was off goes too.
	w.get(other.Path())
	w.until(func() bool { return w.state("b").Complete }, "b is never complete")
	w.store.Store(nil)
	w.remove("b")
	w.reopen()
	if n := w.listed(); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	// Published again it is there again, and another version is another.
	w.upsert(it)
	if r := w.get(it.Path()); r.status != 200 {
		t.Errorf("%d", r.status)
	}
	next := w.publish("a", noise(70_000, 8))
	w.upsert(next)
	if r := w.get(next.Path()); r.status != 200 || len(r.body) != 70_000 {
		t.Errorf("%d with %d bytes", r.status, len(r.body))
	}
	w.until(func() bool {
		w.check(w.Expire(t.Context(), time.Now()))
		return w.listed() == 1
	}, "the version before is left")
}

// listed is how many items the storage has.
func (w *world) listed() (n int) {
	err := w.store.Load().Objects().Listed(w.t.Context(), "published/", func(*object.Object) bool { n++; return true })
	w.check(err)
	return n
}

func TestPrefetch(t *testing.T) {
	w := newWorld(t)
	data := noise(4<<20+1, 9)
	it := w.publish("a", data)
	w.upsert(it)
	if err := w.Fetch(t.Context(), "other", nil); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("error %v", err)
	}
	w.region.set(func() { delete(w.blocks, it.Blocks[3]) })
	if err := w.Fetch(t.Context(), "a", shelf.NewRate(100<<20)); err == nil {
		t.Error("a block that nobody has is no error")
	}
	if st := w.state("a"); st.Complete || st.Held != 3<<20 {
		t.Errorf("state %+v", st)
	}
	w.reopen()
	if st := w.state("a"); st.Held != 3<<20 {
		t.Errorf("after a restart: %+v", st)
	}
	w.publish("a", data)
	w.check(w.Fetch(t.Context(), "a", nil))
	w.check(w.Fetch(t.Context(), "a", nil))
	if st := w.state("a"); !st.Complete || w.most() != 1 {
		t.Errorf("state %+v, a block was fetched %d times", st, w.most())
	}
	w.region.set(func() { w.down = true })
	w.reopen()
	if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) {
		t.Errorf("without the line: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
}

func TestPrefetchYieldsToPeople(t *testing.T) {
	w := newWorld(t)
	film, book := w.publish("film", noise(3<<20, 10)), w.publish("book", noise(2<<20, 11))
	w.upsert(film)
	w.upsert(book)
	gate := make(chan struct{})
	w.region.set(func() { w.slow = gate })
	seen := make(chan reply, 1)
	go func() { seen <- w.get(film.Path()) }()
	w.until(func() bool {
		busy := false
		w.store.Load().Fills().Bodies(func(b *fill.Body) { busy = busy || b.Fetching() })
		return busy
	}, "the film is never fetched")
	fetched := make(chan error, 1)
	go func() { fetched <- w.Fetch(t.Context(), "book", nil) }()
	gate <- struct{}{} // one block of the film
	for range 40 {
		if w.state("book").Held > 0 {
			t.Fatal("the book came while the film was being fetched")
		}
		<-time.After(time.Millisecond)
	}
	close(gate)
	if r := <-seen; r.status != 200 || len(r.body) != 3<<20 {
		t.Errorf("the film: %d, %d bytes", r.status, len(r.body))
	}
	if err := <-fetched; err != nil || !w.state("book").Complete {
		t.Errorf("the book: %v", err)
	}
}

func TestPrefetchKeepsToItsRate(t *testing.T) {
	w := newWorld(t)
	it := w.publish("a", noise(2<<20, 12))
	w.upsert(it)
	began := time.Now()
	w.check(w.Fetch(t.Context(), "a", shelf.NewRate(2<<20)))
	if d := time.Since(began); d < 400*time.Millisecond { // the first block of two is not waited for
		t.Errorf("2 MiB at 2 MiB/s took %s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := shelf.NewRate(1).WaitN(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPinsHaveABound(t *testing.T) {
	w := newWorld(t)
	a, b := w.publish("a", noise(1000, 13)), w.publish("b", noise(1000, 14))
	_, _, most := w.store.Load().PinUsage()
	b.Length = most + 1 // no such bytes: only its size counts here
	b.Blocks = make([]block.Digest, block.NumBlocks(b.Length))
	for i := range b.Blocks {
		b.Blocks[i] = a.Blocks[0]
	}
	w.upsert(a)
	w.upsert(b)
	w.check(w.Want("a", true))
	if err := w.Want("b", true); !errors.Is(err, storage.ErrPinsFull) {
		t.Errorf("error %v", err)
	}
	if err := w.Want("c", true); !errors.Is(err, shelf.ErrUnknown) {
		t.Errorf("error %v", err)
	}
	if !w.state("a").Pinned {
		t.Error("a is not pinned")
	}
	w.check(w.Want("a", false))
	if keys, _, _ := w.store.Load().PinUsage(); keys != 0 {
		t.Errorf("%d pins", keys)
	}
}

func TestTheList(t *testing.T) {
	w := newWorld(t)
	if r := w.get("/r/", "Accept-Language", "en"); r.status != 200 || !strings.Contains(string(r.body), "Nothing is published") {
		t.Errorf("%d %s", r.status, r.body)
	}
	a, b := w.publish("a", noise(1<<20+900, 15)), w.publish("b", noise(10, 16))
	b.Collection, b.Title = "", `<script>alert("x")</script>`
	w.upsert(a)
	w.upsert(b)
	w.check(w.Fetch(t.Context(), "a", nil))
	r := w.get("/r/")
	page := string(r.body)
	for _, want := range []string{`lang="fr"`, "Sciences", "Le a", "1,0 Mo · sur cette boîte", "pas encore sur cette boîte", "&lt;script&gt;", "Autres", `href="/r/a/a%20%C3%A9t%C3%A9.pdf"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page has no policy")
	}
	var list struct {
		Items []struct {
			ID, State, Path string
			Bytes           int64
			HeldBytes       int64 `json:"held_bytes"`
		}
	}
	r = w.get("/r/", "Accept", "application/json")
	w.check(json.Unmarshal(r.body, &list))
	if len(list.Items) != 2 || list.Items[1].ID != "a" || list.Items[1].State != "complete" || list.Items[1].HeldBytes != a.Length || list.Items[0].State != "absent" {
		t.Errorf("%+v", list)
	}
	if r := w.do(http.MethodHead, "/r/"); r.status != 200 || len(r.body) != 0 {
		t.Errorf("head: %d with %d bytes", r.status, len(r.body))
	}
}

func TestItemsThatCantBe(t *testing.T) {
	good := (&region{blocks: map[block.Digest][]byte{}}).publish("a", noise(9, 1))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*shelf.Item){
		"an ID with a slash":   func(it *shelf.Item) { it.ID = "a/b" },
		"an ID that climbs":    func(it *shelf.Item) { it.ID = ".." },
		"no ID":                func(it *shelf.Item) { it.ID = "" },
		"a name with a slash":  func(it *shelf.Item) { it.Filename = "a/b" },
		"a name with a line":   func(it *shelf.Item) { it.Filename = "a\nb" },
		"no name":              func(it *shelf.Item) { it.Filename = "" },
		"a type with a line":   func(it *shelf.Item) { it.ContentType = "text/html\r\nX: y" },
		"no type":              func(it *shelf.Item) { it.ContentType = "" },
		"a language that is":   func(it *shelf.Item) { it.Language = "fr\r\n" },
		"a title without end":  func(it *shelf.Item) { it.Title = strings.Repeat("x", 501) },
		"too few blocks":       func(it *shelf.Item) { it.Blocks = nil },
		"too many blocks":      func(it *shelf.Item) { it.Blocks = append(it.Blocks, it.Blocks...) },
		"a block of no name":   func(it *shelf.Item) { it.Blocks = []block.Digest{{}} },
		"a negative length":    func(it *shelf.Item) { it.Length = -1 },
		"no digest":            func(it *shelf.Item) { it.SHA256 = block.Digest{} },
		"another one's digest": func(it *shelf.Item) { it.SHA256 = block.Sum([]byte("x")) },
	} {
		it := good
		change(&it)
		if it.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnEmptyItem(t *testing.T) {
	w := newWorld(t)
	it := w.publish("empty", nil)
	it.ContentType = "text/html"
	w.upsert(it)
	w.check(w.Fetch(t.Context(), "empty", nil))
	if r := w.get(it.Path()); r.status != 200 || len(r.body) != 0 || !strings.HasPrefix(r.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%d with %d bytes, %v", r.status, len(r.body), r.err)
	}
	if !w.state("empty").Complete {
		t.Error("it is not complete")
	}
}

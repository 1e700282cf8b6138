package edge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/profile/platformtest"
	"preau/cache/storage"
	"preau/cache/upstream"
)

// tube is an edge in front of a PeerTube with one film, whose file may be altered
// on its way.
type tube struct {
	*world
	site   *platformtest.PeerTube
	folder string // of the film
	file   string // of its one rendition
	data   []byte
	starts []int // of its fragments, and the end of the last

	alter atomic.Pointer[func(r *http.Request, from int, b []byte)] // of what is sent of the file
	sent  atomic.Int64                                              // bytes of the file
}

const tubeTail = 500 // bytes behind the last fragment

// newTube makes one whose film has n fragments of about size bytes.
func newTube(t *testing.T, n, size int, video ...func(*platformtest.Video)) *tube {
	t.Helper()
	tb := &tube{world: newWorld(t, func(s *edge.Site, _ *upstream.Config) {
		rules, err := profile.New("peertube", profile.Adjust{})
		if err != nil {
			t.Fatal(err)
		}
		s.Profile = rules
	}), site: platformtest.NewPeerTube(true)}
	tb.starts = []int{1377}
	for i := range n {
		tb.starts = append(tb.starts, tb.starts[i]+size+13*i)
	}
	tb.data = noise(tb.starts[n]+tubeTail, 5)
	id := tb.site.UUID("public")
	// As it is now: a test may have another later, while this one is still being sent.
	data, starts := tb.data, tb.starts
	v := platformtest.Video{UUID: id, Heights: []int{720}, Data: func(string) ([]byte, []int) { return data, starts }}
	for _, change := range video {
		change(&v)
	}
	tb.site.Add(v)
	tb.folder = "/static/streaming-playlists/hls/" + id + "/"
	tb.file = tb.folder + tb.site.Files(id) + "-720-fragmented.mp4"
	tb.answer(tb.send)
	return tb
}

// send answers as the platform, but for what is altered.
func (tb *tube) send(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != tb.file {
		tb.site.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	tb.site.ServeHTTP(rec, r)
	b := rec.Body.Bytes()
	from := 0
	if rec.Code == http.StatusPartialContent {
		if _, err := fmt.Sscanf(rec.Header().Get("Content-Range"), "bytes %d-", &from); err != nil {
			tb.t.Error(err)
		}
	}
	if alter := tb.alter.Load(); alter != nil {
		(*alter)(r, from, b)
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), 16<<10)])
		tb.sent.Add(int64(n))
		if err != nil {
			return
		}
		b = b[n:]
	}
}

// alters has the byte at pos altered in the answers for which when says so.
func (tb *tube) alters(pos int, when func(r *http.Request) bool) {
	alter := func(r *http.Request, from int, b []byte) {
		if i := pos - from; i >= 0 && i < len(b) && when(r) {
			b[i] ^= 0x80
		}
	}
	tb.alter.Store(&alter)
}

func always(*http.Request) bool { return true }

// fragment asks for one as a player does.
func (tb *tube) fragment(i int) reply { return tb.span(tb.starts[i], tb.starts[i+1]) }

func (tb *tube) span(from, to int) reply {
	return tb.get(tb.file, "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
}

func (tb *tube) wantSpan(r reply, from, to int) {
	tb.t.Helper()
	want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(tb.data))
	if r.err != nil || r.status != http.StatusPartialContent || r.header.Get("Content-Range") != want || !bytes.Equal(r.body, tb.data[from:to]) {
		tb.t.Errorf("status %d, %q with %d bytes, err %v; want %q and the right bytes; Cache-Status %q", r.status, r.header.Get("Content-Range"), len(r.body), r.err, want, r.cache())
	}
}

// counted is how many fragments had that result.
func (tb *tube) counted(result string) int {
	tb.t.Helper()
	families, err := tb.traffic.Gather()
	if err != nil {
		tb.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "preau_edge_fragments_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" && l.GetValue() == result {
					return int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return 0
}

func (tb *tube) wantCounted(verified, mended, refused int) {
	tb.t.Helper()
	if v, m, r := tb.counted("verified"), tb.counted("mended"), tb.counted("refused"); v != verified || m != mended || r != refused {
		tb.t.Errorf("%d fragments were verified, %d mended and %d refused; want %d, %d, %d", v, m, r, verified, mended, refused)
	}
}

// about sorts what the origin was asked for: where the sums are, the sums, the file.
func (tb *tube) about() (api, sums, file int) {
	for _, r := range tb.requests() {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/"):
			api++
		case strings.HasSuffix(r.URL.Path, ".json"):
			sums++
		case r.URL.Path == tb.file:
			file++
		}
	}
	return api, sums, file
}

func TestEachFragmentIsVerifiedOnceForTheClass(t *testing.T) {
	tb := newTube(t, 8, 40_000)
	for _, r := range tb.herd(35, func(i int) reply { return tb.fragment(i % 8) }) {
		if r.status != http.StatusPartialContent || r.err != nil {
			t.Fatalf("status %d, err %v", r.status, r.err)
		}
	}
	for i := range 8 {
		tb.wantSpan(tb.fragment(i), tb.starts[i], tb.starts[i+1])
	}
	if api, sums, _ := tb.about(); api != 1 || sums != 1 {
		t.Errorf("the site was asked %d times where the sums are, and %d times for them", api, sums)
	}
	if n := tb.sent.Load(); n > int64(len(tb.data)) {
		t.Errorf("%d bytes came of a file of %d", n, len(tb.data))
	}
	tb.wantCounted(8, 0, 0)
}

func TestAWholeFileIsVerifiedAsItComes(t *testing.T) {
	tb := newTube(t, 6, 300_000)
	for range 2 {
		r := tb.get(tb.file)
		if r.err != nil || !bytes.Equal(r.body, tb.data) {
			t.Fatalf("status %d, %d bytes, err %v", r.status, len(r.body), r.err)
		}
	}
	tb.wantCounted(6, 0, 0)
	if _, _, n := tb.about(); n != 1 {
		t.Errorf("the file was asked for %d times", n)
	}
	tb.reopen()
	if r := tb.get(tb.file); r.err != nil || !bytes.Equal(r.body, tb.data) {
		t.Errorf("after a restart: %d bytes, err %v", len(r.body), r.err)
	}
	tb.wantCounted(6, 0, 0) // what is on the disk was verified when it was written
}

func TestAnAlteredFragmentIsMendedUnseen(t *testing.T) {
	tb := newTube(t, 4, 40_000)
	var once sync.Once
	tb.alters(tb.starts[2]+100, func(*http.Request) (altered bool) {
		once.Do(func() { altered = true })
		return altered
	})
	if r := tb.get(tb.file); r.err != nil || !bytes.Equal(r.body, tb.data) {
		t.Fatalf("status %d, %d bytes, err %v", r.status, len(r.body), r.err)
	}
	tb.wantCounted(3, 1, 0)
	var again []string
	for _, r := range tb.requests() {
		if r.Header.Get("Cache-Control") == "no-cache" {
			again = append(again, r.URL.Path+" "+r.Header.Get("Range"))
		}
	}
	want := fmt.Sprintf("%s bytes=%d-%d", tb.file, tb.starts[2], tb.starts[3]-1)
	if len(again) != 1 || again[0] != want {
		t.Errorf("asked for again: %q, want %q", again, want)
	}
}

func TestAnAlteredFragmentNeverReachesADevice(t *testing.T) {
	tb := newTube(t, 4, 40_000)
	tb.alters(tb.starts[1]+7, always)
	for range 3 {
		r := tb.fragment(1)
		tb.want(r, http.StatusBadGateway, "*", `detail=fragment-mismatch`)
	}
	begin := fmt.Sprintf("bytes=%d-", tb.starts[1])
	asked := 0
	for _, r := range tb.requests() {
		if strings.HasPrefix(r.Header.Get("Range"), begin) {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("the fragment was asked for %d times, want once and once again for all", asked)
	}
	// The others are as good as ever.
	for _, i := range []int{0, 2, 3} {
		tb.wantSpan(tb.fragment(i), tb.starts[i], tb.starts[i+1])
	}
	// A film that can't be had whole is not begun.
	tb.want(tb.get(tb.file), http.StatusBadGateway, "*", `detail=fragment-mismatch`)
	tb.wantCounted(3, 0, 1)
}

func TestAFilmIsBrokenOffBeforeItsAlteredFragment(t *testing.T) {
	tb := newTube(t, 4, 40_000)
	tb.alters(tb.starts[3]-1, always)
	r := tb.get(tb.file)
	if r.err == nil || !bytes.HasPrefix(tb.data, r.body) || len(r.body) > tb.starts[2] {
		t.Errorf("status %d, %d bytes, err %v; the altered fragment begins at %d", r.status, len(r.body), r.err, tb.starts[2])
	}
}

func TestAPartWithinAFragmentIsVerifiedWithAllOfIt(t *testing.T) {
	tb := newTube(t, 4, 60_000)
	for _, span := range [][2]int{
		{tb.starts[1] + 1000, tb.starts[1] + 2000}, {tb.starts[1] + 10, tb.starts[1] + 1500}, {tb.starts[1] - 10, tb.starts[1] + 10},
		{tb.starts[2] + 30_000, tb.starts[3] + 30_000}, {tb.starts[2], tb.starts[3]}, {len(tb.data) - 600, len(tb.data)}, {0, 1377},
	} {
		tb.wantSpan(tb.span(span[0], span[1]), span[0], span[1])
	}
	last := tb.get(tb.file, "Range", "bytes=-700")
	tb.wantSpan(last, len(tb.data)-700, len(tb.data))
	tb.wantCounted(4, 0, 0)
	if n := tb.sent.Load(); n > int64(len(tb.data)) {
		t.Errorf("%d bytes came of a file of %d", n, len(tb.data))
	}
	if r := tb.get(tb.file); !bytes.Equal(r.body, tb.data) {
		t.Errorf("%d bytes", len(r.body))
	}
}

func TestAFragmentThatBreaksOffGoesOnWhereItWas(t *testing.T) {
	tb := newTube(t, 3, 400_000)
	cut := make(chan struct{})
	var first atomic.Bool
	tb.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == tb.file && first.CompareAndSwap(false, true) {
			half := tb.starts[1] + 200_000
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(tb.data)))
			_, _ = w.Write(tb.data[:half])
			tb.sent.Add(int64(half))
			_ = http.NewResponseController(w).Flush()
			<-cut
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == tb.file {
			w.Header().Set("ETag", `"x"`)
			from := 0
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
				t.Error(err)
			}
			tb.sent.Add(int64(len(tb.data) - from))
			http.ServeContent(w, r, "", modifiedLongAgo, bytes.NewReader(tb.data))
			return
		}
		tb.send(w, r)
	})
	got := make(chan reply)
	go func() { got <- tb.get(tb.file) }()
	// All that was sent has come when the fragment before the break is there.
	tb.until(func() bool { return tb.counted("verified") == 1 }, "the first fragment never came")
	close(cut)
	if r := <-got; r.err != nil || !bytes.Equal(r.body, tb.data) {
		t.Fatalf("status %d, %d bytes, err %v", r.status, len(r.body), r.err)
	}
	tb.wantCounted(3, 0, 0)
	if again := tb.sent.Load() - int64(len(tb.data)); again > 200_000 {
		t.Errorf("%d bytes came twice", again)
	}
}

func TestAFilmWithoutSumsIsServedAsAnyFile(t *testing.T) {
	for name, change := range map[string]func(*tube){
		"the site has none": func(*tube) {},
		"it does not say where": func(tb *tube) {
			tb.answer(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/api/") {
					http.Error(w, "Forbidden", http.StatusForbidden)
					return
				}
				tb.send(w, r)
			})
		},
		"they can't be read": func(tb *tube) {
			tb.answer(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, ".json") {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"a.mp4":{"1-2":"3"}}`)
					return
				}
				tb.send(w, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tb := newTube(t, 3, 20_000, func(v *platformtest.Video) { v.Unsummed = name == "the site has none" })
			change(tb)
			for i := range 3 {
				tb.wantSpan(tb.fragment(i), tb.starts[i], tb.starts[i+1])
			}
			tb.wantSpan(tb.span(tb.starts[1]+5, tb.starts[2]+5), tb.starts[1]+5, tb.starts[2]+5)
			tb.wantCounted(0, 0, 0)
		})
	}
}

func TestSumsThatHaveChangedAreLookedUpAgain(t *testing.T) {
	tb := newTube(t, 3, 20_000)
	tb.wantSpan(tb.fragment(0), tb.starts[0], tb.starts[1])
	// The platform has made the file anew under its name, and its sums with it.
	id := tb.site.UUID("public")
	data := noise(len(tb.data), 6)
	tb.site.Add(platformtest.Video{UUID: id, Heights: []int{720}, Data: func(string) ([]byte, []int) { return data, tb.starts }})
	tb.requests()
	if _, err := tb.store.Purge(t.Context(), []storage.PurgeSpec{{Site: "site", Marks: []object.Mark{tb.store.Marker().Exact("site", tb.file)}}}); err != nil {
		t.Fatal(err)
	}
	tb.data = data
	tb.wantSpan(tb.fragment(1), tb.starts[1], tb.starts[2])
	if api, sums, _ := tb.about(); api != 1 || sums != 1 {
		t.Errorf("asked %d times where the sums are and %d times for them", api, sums)
	}
}

func TestTheSumsAreKeptBesideTheFilm(t *testing.T) {
	tb := newTube(t, 3, 20_000)
	tb.fragment(1)
	tb.requests()
	r := tb.get(tb.folder + tb.site.Sums(tb.site.UUID("public")))
	tb.want(r, http.StatusOK, "*", "hit")
	if _, sums, _ := tb.about(); sums != 0 {
		t.Error("the site was asked for what is kept")
	}
	var all map[string]map[string]string
	if err := json.Unmarshal(r.body, &all); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

var modifiedLongAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func TestWhatCanNotBeKeptIsVerifiedAsWell(t *testing.T) {
	tb := newTube(t, 3, 40_000)
	const long = "60000000" // more than half of what may be kept
	tb.answer(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		tb.send(rec, r)
		maps.Copy(w.Header(), rec.Header())
		if rec.Code == http.StatusPartialContent {
			span, _, _ := strings.Cut(rec.Header().Get("Content-Range"), "/")
			w.Header().Set("Content-Range", span+"/"+long)
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
	from, to := tb.starts[1]+100, tb.starts[1]+5000
	r := tb.span(from, to)
	want := fmt.Sprintf("bytes %d-%d/%s", from, to-1, long)
	if r.err != nil || r.status != http.StatusPartialContent || r.header.Get("Content-Range") != want || !bytes.Equal(r.body, tb.data[from:to]) {
		t.Errorf("status %d, %q, %d bytes, err %v", r.status, r.header.Get("Content-Range"), len(r.body), r.err)
	}
	tb.wantCounted(1, 0, 0)
	tb.alters(tb.starts[2]-1, always)
	if r := tb.span(from, to); r.err == nil || len(r.body) > 0 {
		t.Errorf("of an altered fragment came %d bytes, err %v", len(r.body), r.err)
	}
	if tb.counted("verified") != 1 || tb.counted("refused") == 0 {
		t.Error("it was not refused")
	}
}

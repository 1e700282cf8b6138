package pool_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/storage"
	"preau/cache/vouch"
)

// seal signs as a region's server does, and believes itself.
type seal struct {
	key     ed25519.PrivateKey
	refuses atomic.Pointer[error]
}

func (s *seal) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.key, text), nil }

func (s *seal) Check(text, sig []byte, _ time.Time) error {
	if why := s.refuses.Load(); why != nil {
		return *why
	}
	if !ed25519.Verify(s.key.Public().(ed25519.PublicKey), text, sig) {
		return fmt.Errorf("%w: not mine", vouch.ErrForged)
	}
	return nil
}

// newProvingWorld is a world whose region proves what it has.
func newProvingWorld(t *testing.T, n int, change ...func(*world)) (*world, *seal) {
	t.Helper()
	change = append(change, func(w *world) {
		w.cfg.RetryAfter, w.cfg.RetryMax = time.Nanosecond, time.Nanosecond
		w.retry = time.Hour // once the line is cut it stays so
	})
	w := newWorld(t, n, change...)
	by := &seal{key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	key := bytes.Repeat([]byte{7}, object.MarkKeySize)
	if err := w.shield.SetProofs(edge.Proofs{Signer: by}, nil); err != nil {
		t.Fatal(err)
	}
	stores := []*storage.Storage{w.store}
	for _, b := range w.boxes {
		if err := b.edge.SetProofs(edge.Proofs{Checker: by, After: 400 * time.Millisecond}, b.metrics); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, b.store)
	}
	for _, s := range stores {
		if err := s.SetMarkKey(key); err != nil {
			t.Fatal(err)
		}
	}
	return w, by
}

// proven waits until a box has so many proofs.
func (w *world) proven(b *box, n int) {
	w.t.Helper()
	w.until(func() bool { return w.metric(b, "preau_edge_proofs_total", "result", "kept") >= float64(n) }, "the proofs do not come")
}

// cut ends the line: neither region nor site is there any more.
func (w *world) cut() {
	w.t.Helper()
	w.region.CloseClientConnections()
	w.region.Close()
	w.origin.CloseClientConnections()
	w.origin.Close()
}

// wantOffline checks that a reply says that the line is down.
func (w *world) wantOffline(r reply) {
	w.t.Helper()
	if r.err != nil || r.status != http.StatusGatewayTimeout || !strings.Contains(r.cache(), "detail=offline") {
		w.t.Errorf("status %d, Cache-Status %q, %d bytes, error %v", r.status, r.cache(), len(r.body), r.err)
	}
}

// TestWithoutALineABoxHasWhatAnotherHolds: byte for byte, in parts, and whatever
// its status.
func TestWithoutALineABoxHasWhatAnotherHolds(t *testing.T) {
	w, _ := newProvingWorld(t, 3)
	data := noise(2<<20 + 777)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=600")
		switch r.URL.Path {
		case "/base/moved":
			rw.Header().Set("Location", "/base/page?x=%20y")
			rw.WriteHeader(http.StatusMovedPermanently)
		case "/base/lost":
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write(data[:300])
		case "/base/page":
			rw.Header().Set("Vary", "Accept-Language, Accept-Encoding")
			_, _ = rw.Write([]byte(r.Header.Get("Accept-Language") + " " + r.URL.RawQuery))
		default:
			rw.Header().Set("Etag", `"v1"`)
			http.ServeContent(rw, r, "film.mp4", time.Time{}, bytes.NewReader(data))
		}
	})
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	holder, other, third := w.boxes[0], w.boxes[1], w.boxes[2]
	w.want(w.get(holder, "/film"), data, "detail=region")
	w.want(w.get(holder, "/film2"), data, "detail=region")
	w.want(w.get(holder, "/page?x=%20y", "Accept-Language", "fr", "Accept-Encoding", "gzip"), []byte("fr x=%20y"), "detail=region")
	w.get(holder, "/lost")
	w.get(holder, "/moved")
	w.proven(holder, 5)
	if got := w.asked.Load(); got != 5 {
		t.Errorf("the site was asked %d times", got)
	}
	w.cut()

	r := w.get(other, "/film")
	w.want(r, data, "detail=neighbour")
	if r.header.Get("Etag") != `"v1"` || r.header.Get("Age") == "" {
		t.Errorf("header %v", r.header)
	}
	w.want(w.get(other, "/film"), data, "hit;")
	part := w.get(other, "/film2", "Range", "bytes=1500000-1600000")
	w.want(part, data[1500000:1600001], "detail=neighbour")
	if part.status != http.StatusPartialContent || part.header.Get("Content-Range") != fmt.Sprintf("bytes 1500000-1600000/%d", len(data)) {
		t.Errorf("status %d, header %v", part.status, part.header)
	}
	w.want(w.get(other, "/film2"), data, "") // the rest of it too
	w.want(w.get(other, "/page?x=%20y", "Accept-Language", "fr", "Accept-Encoding", "gzip"), []byte("fr x=%20y"), "detail=neighbour")
	if r := w.get(other, "/lost"); r.status != http.StatusNotFound || !bytes.Equal(r.body, data[:300]) {
		t.Errorf("status %d, %d bytes", r.status, len(r.body))
	}
	if r := w.get(other, "/moved"); r.status != http.StatusMovedPermanently || r.header.Get("Location") != "/page?x=%20y" {
		t.Errorf("status %d to %q", r.status, r.header.Get("Location"))
	}
	if r := w.get(other, "/film3"); r.status == http.StatusOK {
		t.Error("a film that nobody has was served")
	} else {
		w.wantOffline(r)
	}
	w.wantOffline(w.get(other, "/page?x=+y", "Accept-Language", "fr", "Accept-Encoding", "gzip"))
	w.wantOffline(w.get(other, "/page?x=%20y", "Accept-Language", "de", "Accept-Encoding", "gzip"))

	// The proof goes on with the bytes: the first holder is not needed any more.
	w.proven(other, 5)
	holder.near.Close()
	w.want(w.get(third, "/film"), data, "detail=neighbour")
	if reported, _ := w.told(); len(reported) > 0 {
		t.Errorf("reported: %v", reported)
	}
}

// TestWithoutALineALieIsRefused: whatever a neighbour does to what it holds, the
// device is told that the line is down.
func TestWithoutALineALieIsRefused(t *testing.T) {
	w, by := newProvingWorld(t, 2)
	data := noise(1<<20 + 777)
	w.file(data)
	holder, other := w.boxes[0], w.boxes[1]
	for _, path := range []string{"/film", "/other"} {
		w.want(w.get(holder, path), data, "detail=region")
	}
	w.proven(holder, 2)
	w.cut()
	tests := map[string]struct {
		change   func(rw http.ResponseWriter, r *http.Request, as http.Handler)
		refuses  error
		reported bool
	}{
		"altered bytes": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			if r.Header.Get(vouch.Body) == "" {
				rw = &changing{ResponseWriter: rw, change: func(at int64, p []byte) {
					if at == 0 {
						p[0] ^= 1
					}
				}}
			}
			as.ServeHTTP(rw, r)
		}, nil, true},
		"an altered list": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			if r.Header.Get(vouch.Body) != "" {
				rw = &changing{ResponseWriter: rw, change: func(_ int64, p []byte) { p[len(p)-1] ^= 1 }}
			}
			as.ServeHTTP(rw, r)
		}, nil, false},
		"a short list": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			if r.Header.Get(vouch.Body) != "" {
				rw = &changing{ResponseWriter: rw, cut: 36}
			}
			as.ServeHTTP(rw, r)
		}, nil, false},
		"an altered proof": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			as.ServeHTTP(&proofChanging{ResponseWriter: rw, change: func(b []byte) { b[len(b)/2] ^= 1 }}, r)
		}, nil, true},
		"no proof": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			r.Header.Del(vouch.Body)
			as.ServeHTTP(rw, r)
		}, nil, false},
		"another URL's": {func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
			r.URL.Path = strings.Replace(r.URL.Path, "/film", "/other", 1)
			as.ServeHTTP(rw, r)
		}, nil, false},
		"a server that is revoked": {nil, vouch.ErrOther, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			once(t, name == "altered bytes" || name == "an altered proof" || name == "another URL's")
			if tt.change != nil {
				holder.near.do(tt.change)
				defer holder.near.instead.Store(nil)
			}
			if tt.refuses != nil {
				by.refuses.Store(&tt.refuses)
				defer by.refuses.Store(nil)
			}
			w.wantOffline(w.get(other, "/film"))
			if reported, _ := w.told(); (reported[holder.name] != "") != tt.reported {
				t.Errorf("reported: %v", reported)
			}
			w.mu.Lock()
			clear(w.reported)
			w.mu.Unlock()
		})
	}
	w.want(w.get(other, "/film"), data, "detail=neighbour") // it was all the same box
	// What this box knows to be purged comes back from nobody.
	_, err := other.store.Purge(t.Context(), []storage.PurgeSpec{{Site: "site", Marks: []object.Mark{other.store.Marker().Exact("site", "/other")}}})
	if err != nil {
		t.Fatal(err)
	}
	w.wantOffline(w.get(other, "/other"))
	if got := w.metric(other, "preau_pool_proofs_total", "result", "refused"); got == 0 {
		t.Error("no refused proof is counted")
	}
}

// proofChanging changes the proof in an answer's head.
type proofChanging struct {
	http.ResponseWriter
	change func([]byte)
}

func (p *proofChanging) WriteHeader(status int) {
	if b, err := base64.StdEncoding.DecodeString(p.Header().Get(vouch.Signed)); err == nil && len(b) > 0 {
		p.change(b)
		p.Header().Set(vouch.Signed, base64.StdEncoding.EncodeToString(b))
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *proofChanging) Flush() { _ = http.NewResponseController(p.ResponseWriter).Flush() }

func (p *proofChanging) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// TestADeadNeighbourIsReplacedInTheMiddle: without a line, the rest comes from
// another that holds the same.
func TestADeadNeighbourIsReplacedInTheMiddle(t *testing.T) {
	w, _ := newProvingWorld(t, 3)
	data := noise(2<<20 + 777)
	w.file(data)
	w.want(w.get(w.boxes[0], "/film"), data, "detail=region")
	for range 3 {
		w.want(w.get(w.boxes[1], "/film"), data, "detail=neighbour")
	}
	w.proven(w.boxes[0], 1)
	w.proven(w.boxes[1], 1)
	w.cut()
	cut := func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
		if r.Header.Get(vouch.Body) == "" {
			rw = &changing{ResponseWriter: rw, cut: 1<<20 + 5000}
		}
		as.ServeHTTP(rw, r)
	}
	w.boxes[0].near.do(cut)
	w.want(w.get(w.boxes[2], "/film"), data, "detail=neighbour")
}

package box

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/config"
	"preau/replication/identity"
	"preau/replication/outbox"
	"preau/replication/wire"
)

func boxNamed(name string) identity.Identity {
	return identity.Identity{Region: "0123456789abcdef", Role: identity.Box, Name: identity.Name(name), School: "0690001A"}
}

// lan is some boxes that reach one another.
type lan struct {
	t *testing.T

	mu    sync.Mutex
	faces map[string]*httptest.Server
	gone  map[string]bool
}

// join runs a box's deposits among the others.
func (l *lan) join(name string, cfg Deposits) *school {
	l.t.Helper()
	s := openSchool(l.t, l.t.TempDir(), cfg)
	s.useNeighbours(lanOf{l, name}, func(string) bool { return false })
	face := s.copiesFace(boxNamed(name))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// In the place of a certificate.
		peer := wire.Peer{Identity: boxNamed(r.Header.Get("Test-Peer")), NotAfter: time.Now().Add(time.Hour)}
		face.ServeHTTP(w, wire.WithPeer(r, peer))
	}))
	l.mu.Lock()
	l.faces[name] = server
	l.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.run(ctx); err != nil {
			l.t.Error(err)
		}
	})
	box := s.opened.Load()
	changed, end := box.Watch()
	defer end()
	for !box.Copying() {
		<-changed
	}
	l.t.Cleanup(func() {
		stop()
		wg.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	return &lan{t: t, faces: map[string]*httptest.Server{}, gone: map[string]bool{}}
}

func (l *lan) lose(name string, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone[name] = gone
}

type lanOf struct {
	l  *lan
	me string
}

func (v lanOf) Order(string) (out []Neighbour) {
	v.l.mu.Lock()
	defer v.l.mu.Unlock()
	for name, server := range v.l.faces {
		if name != v.me && !v.l.gone[name] {
			out = append(out, Neighbour{Name: name, RoundTripper: lanTrip{server.URL, v.me}})
		}
	}
	slices.SortFunc(out, func(a, b Neighbour) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (lanOf) Leaves(string) bool { return false }

// lanTrip is a connection to one box on which this one has shown who it is.
type lanTrip struct{ to, me string }

func (p lanTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(p.to)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
	r.Header.Set("Test-Peer", p.me)
	return http.DefaultTransport.RoundTrip(r) //nolint:forbidigo // the test has a limit
}

func copiesOf(t *testing.T, a got) (copies int, from string) {
	t.Helper()
	var v struct {
		Copies int    `json:"copies"`
		From   string `json:"from"`
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v.Copies, v.From
}

func TestADepositIsOnTwoBoxesAndUnderOneLink(t *testing.T) {
	l := newLAN(t)
	a, b := l.join("a", usualDeposits), l.join("b", usualDeposits)
	a.patience, b.patience = time.Minute, time.Minute
	content := noiseOf(2<<20+17, 1)
	d := a.put("/d/le%C3%A7on.pdf", content)
	if n, _ := copiesOf(t, a.get("/d/"+d.ID)); n != 2 {
		t.Errorf("%d copies", n)
	}
	if n := a.alone(t.Context()); n != 0 {
		t.Errorf("%d are on a alone", n)
	}
	got := b.get(d.Path)
	if got.status != http.StatusOK || !bytes.Equal(got.body, content) || got.header.Get("Etag") != `"`+d.SHA256.String()+`"` {
		t.Errorf("b: %d, %d bytes, %v", got.status, len(got.body), got.header)
	}
	if got := b.get(d.Path, "Range", "bytes=1048570-1048590"); got.status != http.StatusPartialContent || !bytes.Equal(got.body, content[1048570:1048591]) {
		t.Errorf("b, a part: %d", got.status)
	}
	if got := b.get("/d/" + d.ID + "/other"); got.status != http.StatusFound || got.header.Get("Location") != d.Path {
		t.Errorf("b, another name: %d %v", got.status, got.header)
	}
	if n, from := copiesOf(t, b.get("/d/"+d.ID)); n != 2 || from != "a" {
		t.Errorf("b: %d copies, from %q", n, from)
	}
	if n := b.listed(); n != 1 {
		t.Errorf("b lists %d", n)
	}
	for lang, want := range map[string]string{"fr": "sur deux boîtes de l’école · déposé sur a", "en": "on two boxes of the school · added on a"} {
		for _, path := range []string{"/d/", "/d/" + d.ID} {
			if page := string(b.get(path, "Accept", "text/html", "Accept-Language", lang).body); !strings.Contains(page, want) {
				t.Errorf("%s in %s: %s", path, lang, page)
			}
		}
	}
	// The other way round, and the same file twice.
	again := b.put("/d/encore.pdf", content)
	if n, _ := copiesOf(t, b.get("/d/"+again.ID)); n != 2 || again.ID == d.ID {
		t.Errorf("%d copies", n)
	}
	if got := a.get(again.Path); !bytes.Equal(got.body, content) {
		t.Error("a has other bytes")
	}
}

func TestABoxThatHangsKeepsNobodyWaiting(t *testing.T) {
	l := newLAN(t)
	a := l.join("a", usualDeposits)
	a.patience = 300 * time.Millisecond
	asked := make(chan struct{}, 100)
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(hung.Close)
	t.Cleanup(hung.CloseClientConnections)
	l.mu.Lock()
	l.faces["b"] = hung
	l.mu.Unlock()
	d := a.put("/d/f", []byte("f"))
	if n, _ := copiesOf(t, a.get("/d/"+d.ID)); n != 1 {
		t.Errorf("%d copies", n)
	}
	select {
	case <-asked:
	default:
		t.Error("b was not asked")
	}
	if n := a.alone(t.Context()); n != 1 {
		t.Errorf("%d are on a alone", n)
	}
}

func TestOnlyOtherBoxesOfTheSchoolBringCopies(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	s.useNeighbours(lanOf{newLAN(t), "a"}, func(name string) bool { return name == "stolen" })
	face := s.copiesFace(boxNamed("a"))
	change := func(fn func(p *wire.Peer)) wire.Peer {
		p := wire.Peer{Identity: boxNamed("b"), NotAfter: time.Now().Add(time.Hour)}
		fn(&p)
		return p
	}
	for name, tt := range map[string]struct {
		peer wire.Peer
		want int
	}{
		"a box of the school": {change(func(*wire.Peer) {}), http.StatusOK},
		"nobody":              {wire.Peer{}, http.StatusForbidden},
		"a server":            {change(func(p *wire.Peer) { p.Role, p.School = identity.Server, "" }), http.StatusForbidden},
		"an operator":         {change(func(p *wire.Peer) { p.Role, p.School = identity.Operator, "" }), http.StatusForbidden},
		"another school's":    {change(func(p *wire.Peer) { p.School = "0690002B" }), http.StatusForbidden},
		"another region's":    {change(func(p *wire.Peer) { p.Region = "ffffffffffffffff" }), http.StatusForbidden},
		"itself":              {change(func(p *wire.Peer) { p.Name = "a" }), http.StatusForbidden},
		"lapsed":              {change(func(p *wire.Peer) { p.Lapsed = true }), http.StatusForbidden},
		"revoked":             {change(func(p *wire.Peer) { p.Name = "stolen" }), http.StatusForbidden},
	} {
		w := httptest.NewRecorder()
		face.ServeHTTP(w, wire.WithPeer(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/n/deposits/", nil), tt.peer))
		if w.Code != tt.want {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// What another box sends is bounded, and reaches nothing but its own copies.
func TestABoxReachesOnlyItsOwnCopies(t *testing.T) {
	l := newLAN(t)
	a, b := l.join("a", usualDeposits), l.join("b", usualDeposits)
	a.patience = time.Minute
	content := noiseOf(1000, 3)
	d := a.put("/d/f", content)
	own := b.put("/d/own", []byte("own"))
	face := b.copiesFace(boxNamed("b"))
	try := func(method, path string, body []byte) int {
		r := httptest.NewRequestWithContext(t.Context(), method, "/n/deposits/"+path, bytes.NewReader(body))
		w := httptest.NewRecorder()
		face.ServeHTTP(w, wire.WithPeer(r, wire.Peer{Identity: boxNamed("c"), NotAfter: time.Now().Add(time.Hour)}))
		return w.Code
	}
	sum := block.Sum(content).String()
	for name, tt := range map[string]struct {
		method, path string
		body         []byte
		want         int
	}{
		"a block of another's":    {http.MethodPut, d.ID + "/blocks/" + sum, content, http.StatusNotFound},
		"an end of another's":     {http.MethodPut, d.ID, nil, http.StatusNotFound},
		"no digest":               {http.MethodPut, d.ID + "/blocks/x", content, http.StatusUnprocessableEntity},
		"a block that is no such": {http.MethodPut, d.ID + "/blocks/" + sum, make([]byte, block.Size+1), http.StatusUnprocessableEntity},
		"an offer of nothing":     {http.MethodPost, d.ID, nil, http.StatusUnprocessableEntity},
		"an offer of noise":       {http.MethodPost, d.ID, noiseOf(500, 4), http.StatusUnprocessableEntity},
		"an offer without end":    {http.MethodPost, d.ID, make([]byte, outbox.MaxOffer+1), http.StatusUnprocessableEntity},
		"a path":                  {http.MethodPost, "..%2fx", nil, http.StatusUnprocessableEntity},
		"giving up another's":     {http.MethodDelete, d.ID, nil, http.StatusNoContent},
		"giving up b's":           {http.MethodDelete, own.ID, nil, http.StatusNoContent},
		"handing over another's":  {http.MethodPost, d.ID + "/yours", nil, http.StatusNoContent},
	} {
		if got := try(tt.method, tt.path, tt.body); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	for _, path := range []string{d.Path, own.Path} {
		if got := b.get(path); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if _, from := copiesOf(t, b.get("/d/"+d.ID)); from != "a" {
		t.Errorf("it is from %q", from)
	}
}

// What the centre keeps makes room for copies, as it does for what is added.
func TestWhatTheCentreKeepsMakesRoomForCopies(t *testing.T) {
	l := newLAN(t)
	a, b := l.join("a", usualDeposits), l.join("b", Deposits{Enabled: true, Budget: 8 * config.MiB})
	l.lose("a", true)
	b.patience, a.patience = time.Minute, time.Minute
	old := b.put("/d/old", noiseOf(6<<20, 5))
	l.lose("a", false)
	l.lose("b", true)
	box := b.opened.Load()
	if err := box.Learn(old.ID, outbox.InCentral, "bucket", "key", "etag", ""); err != nil {
		t.Fatal(err)
	}
	l.lose("b", false)
	d := a.put("/d/new", noiseOf(3<<20, 6))
	if n, _ := copiesOf(t, a.get("/d/"+d.ID)); n != 2 {
		t.Errorf("%d copies", n)
	}
	if got := b.get(old.Path); got.status != http.StatusGone {
		t.Errorf("what the centre keeps: %d", got.status)
	}
}

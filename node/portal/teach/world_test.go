package teach_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"preau/node/lesson"
	"preau/node/portal/look"
	"preau/node/portal/teach"
	"preau/node/upload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// world is a box with its teachers' pages.
type world struct {
	http.Handler
	store   *lesson.Store
	lights  *lights
	files   *shelf
	uploads *upload.Server
	mu      sync.Mutex
	log     []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{lights: &lights{by: map[string]lesson.State{}}, files: &shelf{}}
	var err error
	if w.store, err = lesson.Open(t.TempDir(), "box", quiet); err != nil {
		t.Fatal(err)
	}
	cfg := upload.DefaultConfig(t.TempDir(), teach.UploadPrefix)
	cfg.Reserve = 0
	if w.uploads, err = upload.New(cfg, w.files, quiet, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	live := look.NewLive(10)
	t.Cleanup(live.Close)
	pages, err := teach.New(teach.Parts{
		Lessons: w.store, Lights: w.lights, Library: library{}, Files: w.files, Uploads: w.uploads, Live: live,
		Who: func(r *http.Request) (teach.Person, bool) {
			name := r.Header.Get("Who")
			if c, err := r.Cookie("who"); err == nil {
				name = c.Value
			}
			return teach.Person{Subject: name, Name: name, Admin: name == "admin"}, name != ""
		},
		Token: func(*http.Request) string { return "token-1" },
		Log: func(_ context.Context, who teach.Person, action, what string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, who.Subject+" "+action+" "+what)
		},
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(teach.Prefix, pages)
	mux.Handle(look.StylePrefix, look.Assets(teach.Static))
	mux.HandleFunc("/l/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 29 29"><path fill="#fff" d="M0 0h29v29H0z"/><path d="M4 4h7v7H4zM18 4h7v7h-7zM4 18h7v7H4z"/></svg>`)
	})
	w.Handler = look.Spoken(look.In(look.House{Title: "Préau", Nav: func(*http.Request) []look.NavItem {
		return []look.NavItem{{To: "/", Label: "Préau", Icon: "home"}, {To: teach.Prefix, Label: "Enseigner", Icon: "lesson"}}
	}}, mux))
	return w
}

// lights tells what it was told, by link or id.
type lights struct {
	mu  sync.Mutex
	by  map[string]lesson.State
	out []chan struct{}
}

func (l *lights) States(of lesson.Lesson) []lesson.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]lesson.State, len(of.Items))
	for i, it := range of.Items {
		st, ok := l.by[it.URL+it.ID]
		if !ok {
			st = lesson.State{Light: lesson.Waiting, Reason: lesson.ReasonQueue, Bytes: -1}
		}
		out[i] = st
	}
	return out
}

func (l *lights) set(key string, st lesson.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[key] = st
	for _, c := range l.out {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (l *lights) Watch() (<-chan struct{}, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{}, 1)
	l.out = append(l.out, c)
	return c, func() {}
}

// library has an atlas.
type library struct{}

var atlas = teach.Found{Kind: lesson.Published, ID: "atlas", Title: "Atlas <du> monde", ContentType: "application/pdf", Bytes: 12_000_000, Where: "Géographie"}

func (library) Find(query string, _ int) []teach.Found {
	if strings.Contains(strings.ToLower(query), "atlas") {
		return []teach.Found{atlas}
	}
	return nil
}

func (library) Named(kind lesson.Kind, id string) (teach.Found, bool) {
	return atlas, kind == atlas.Kind && id == atlas.ID
}

// shelf is an outbox, and the files in it.
type shelf struct {
	mu   sync.Mutex
	has  []teach.File
	sums map[string][32]byte
	said []upload.Meta
}

func (s *shelf) Add(_ context.Context, m upload.Meta, length int64, r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprint("d-", len(s.has))
	s.has = append(s.has, teach.File{ID: id, Title: m.Title, Filename: m.Filename, ContentType: m.ContentType, Path: "/see/d/" + id, Bytes: length, At: time.Now(), State: teach.OnBox})
	if s.sums == nil {
		s.sums = map[string][32]byte{}
	}
	s.sums[id] = [32]byte(h.Sum(nil))
	s.said = append(s.said, m)
	return id, nil
}

func (s *shelf) Like(context.Context, string, int64) ([]upload.Kept, error) { return nil, nil }

func (s *shelf) Room(context.Context) int64 { return -1 }

func (s *shelf) Files(n int) []teach.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]teach.File(nil), s.has[:min(n, len(s.has))]...)
}

func (s *shelf) Watch() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

// ask asks as ada.
func (w *world) ask(method, path string, form url.Values, fields ...string) *httptest.ResponseRecorder {
	body := io.Reader(http.NoBody)
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, path, body)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Who", "ada")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out
}

// story makes a lesson with an item at each light.
func (w *world) story(t *testing.T) lesson.Lesson {
	t.Helper()
	at := time.Now()
	l, err := w.store.Create(lesson.Lesson{Title: "Le cycle de l’eau", Class: "6e B", Date: at.Add(20 * time.Hour), By: "ada", Items: []lesson.Item{
		{Kind: lesson.Link, URL: "https://nuage.example/s/AbC"}, {Kind: lesson.Link, URL: "https://tube.example/w/film"}, {Kind: lesson.Link, URL: "https://nuage.example/s/locked"},
		{Kind: lesson.Link, URL: "javascript:alert(1)"}, {Kind: lesson.Published, ID: "atlas", Title: "Atlas"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.lights.set("https://nuage.example/s/AbC", lesson.State{Light: lesson.Ready, Bytes: 2_400_000, Have: 2_400_000, Type: "application/pdf", URL: "/o/nuage/s/AbC/download"})
	w.lights.set("https://tube.example/w/film", lesson.State{Light: lesson.Arriving, Bytes: 84_000_000, Have: 30_000_000, Title: "L’évaporation", Video: true, ReadyAt: at.Add(3 * time.Minute), URL: "/o/tube/x.m3u8"})
	w.lights.set("https://nuage.example/s/locked", lesson.State{Light: lesson.Cannot, Reason: lesson.ReasonPassword, Bytes: -1})
	w.lights.set("javascript:alert(1)", lesson.State{Light: lesson.Cannot, Reason: lesson.ReasonNoLink, Bytes: -1})
	w.lights.set("atlas", lesson.State{Light: lesson.Waiting, Reason: lesson.ReasonHours, Bytes: 12_000_000})
	return l
}

// nodes lists the elements of a page.
func nodes(t *testing.T, page string) (out []*html.Node) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			out = append(out, n)
		}
	}
	return out
}

func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

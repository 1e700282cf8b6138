package portal

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
)

// routes puts the portal together.
func (p *Portal) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /find", p.find)
	mux.HandleFunc("GET /c/{$}", p.collections)
	mux.HandleFunc("GET /c/{name}", p.collection)
	mux.HandleFunc("GET /see/{kind}/{id}", p.see)
	mux.HandleFunc("GET /see/o/{site}/{path...}", p.seeStream)
	mux.HandleFunc("GET /l/{$}", p.askCode)
	mux.HandleFunc("GET /l/{code}", p.lesson)
	mux.HandleFunc("GET /sites", p.sitesPage)
	mux.HandleFunc("GET /live/line", p.liveLine)
	mux.Handle(look.StylePrefix, look.Assets(append([]*look.Bundle{assets}, p.parts.Assets...)...))
	for pattern, h := range p.parts.Mounted {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc("/", p.lost)
	spoken := look.Spoken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file(r.URL.Path) {
			p.parts.Files.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	house := look.House{Title: p.cfg.Title, Nav: p.places, Person: p.parts.Person}
	portal := look.In(house, spoken)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file(r.URL.Path) { // their paths are sites' own: nothing cleans them
			p.parts.Files.ServeHTTP(w, r)
			return
		}
		portal.ServeHTTP(w, r)
	})
}

// file reports a path that leads to bytes.
func file(path string) bool {
	return strings.HasPrefix(path, "/r/") || strings.HasPrefix(path, "/d/") || strings.HasPrefix(path, "/o/") || path == "/r" || path == "/d"
}

// places are the portal's main places.
func (p *Portal) places(r *http.Request) []look.NavItem {
	say := sayings.In(look.Lang(r))
	out := []look.NavItem{{To: "/", Label: say.Home, Icon: "home"}, {To: "/c/", Label: say.Collections, Icon: "shelf"}}
	if p.parts.Sites != nil {
		out = append(out, look.NavItem{To: "/sites", Label: say.Sites, Icon: "globe"})
	}
	if p.parts.Places != nil {
		out = append(out, p.parts.Places(r)...)
	}
	return out
}

// How pages are kept for the next who asks.
const (
	keepFor  = 2 * time.Second
	mostKept = 256
	mostKey  = 400 // bytes of an address for which a page is kept
)

// pages keeps what was made a moment ago: a class asks for the same page in the
// same minute.
type pages struct {
	mu   sync.Mutex
	kept map[string]keptPage
}

type keptPage struct {
	made  *look.Made
	until time.Time
}

func newPages() *pages { return &pages{kept: map[string]keptPage{}} }

func (k *pages) get(key string, now time.Time) *look.Made {
	k.mu.Lock()
	defer k.mu.Unlock()
	if got, ok := k.kept[key]; ok && now.Before(got.until) {
		return got.made
	}
	return nil
}

func (k *pages) put(key string, m *look.Made, now time.Time) {
	if m.Private() || len(key) > mostKey {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) >= mostKept {
		clear(k.kept) // it is all made again in a moment
	}
	k.kept[key] = keptPage{m, now.Add(keepFor)}
}

// answer sends a page, made now or a moment ago. name is what it is counted as.
func (p *Portal) answer(w http.ResponseWriter, r *http.Request, name string, t *look.Template, content func(ctx context.Context) look.Page) {
	now := time.Now()
	key := ""
	if p.parts.Person == nil || p.parts.Person(r) == nil {
		key = string(look.Lang(r)) + " " + look.Path(r, r.URL.EscapedPath()) + "?" + r.URL.RawQuery
		if m := p.pages.get(key, now); m != nil {
			p.met.pages.WithLabelValues(name, resultKept).Inc()
			m.Send(w, r)
			return
		}
	}
	m, err := t.Make(r, content(r.Context()))
	if err != nil {
		p.log.ErrorContext(r.Context(), "a page can't be made", "page", name, "err", err)
		p.met.pages.WithLabelValues(name, resultFailed).Inc()
		p.fail(w, r, http.StatusInternalServerError)
		return
	}
	p.met.pages.WithLabelValues(name, resultMade).Inc()
	if key != "" {
		p.pages.put(key, m, now)
	}
	m.Send(w, r)
}

// lost answers for what is not there.
func (p *Portal) lost(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		p.fail(w, r, http.StatusMethodNotAllowed)
		return
	}
	p.fail(w, r, http.StatusNotFound)
}

// fail says kindly what is the matter.
func (p *Portal) fail(w http.ResponseWriter, r *http.Request, status int) {
	lang := look.Lang(r)
	both, ok := troubles[status]
	if !ok {
		both = troubles[0]
	}
	n, say := both.In(lang), sayings.In(lang)
	n.Links = []page.Link{{To: "/", Label: say.ToHome}, {To: "/c/", Label: say.AllCollections}}
	if status >= http.StatusInternalServerError {
		n.Links = append([]page.Link{{Label: say.Again}}, n.Links...)
		w.Header().Set("Retry-After", "30")
	}
	look.Fail(w, r, status, n)
}

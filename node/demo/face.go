package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"preau/node/demo/beyond"
	"preau/node/demo/library"
	"preau/node/wanline"
)

//go:embed page
var assets embed.FS

// policy lets the page load and ask nothing but itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// face is the page and what its buttons do.
type face struct {
	stage *stage
	page  *template.Template
}

func newFace(s *stage) http.Handler {
	f := &face{stage: s, page: template.Must(template.ParseFS(assets, "page/index.html"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", f.index)
	mux.HandleFunc("GET /events", f.events)
	mux.HandleFunc("GET /page/{name}", f.asset)
	mux.HandleFunc("POST /class", f.do(func(r *http.Request) error { return s.begin(r.PostFormValue("path")) }))
	mux.HandleFunc("POST /line", f.do(f.setLine))
	mux.HandleFunc("POST /empty", f.do(func(r *http.Request) error { return s.empty(r.Context()) }))
	mux.HandleFunc("POST /document", f.do(func(r *http.Request) error { return s.put(r.Context(), language(r)) }))
	mux.HandleFunc("POST /deposit", f.do(func(r *http.Request) error { return s.add(r.Context(), language(r)) }))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// errAsk is a form that says nothing sensible.
var errAsk = errors.New("nothing of the kind can be done")

func (f *face) setLine(r *http.Request) error {
	switch r.PostFormValue("do") {
	case "silent":
		f.stage.cut(wanline.Silent)
		return nil
	case "refuse":
		f.stage.cut(wanline.Refuse)
		return nil
	case "heal":
		return f.stage.heal()
	case "rate":
		bps, err := strconv.ParseInt(r.PostFormValue("rate"), 10, 64)
		if err != nil || bps < 64_000 || bps > 10_000_000_000 {
			return fmt.Errorf("rate %q: %w", r.PostFormValue("rate"), errAsk)
		}
		f.stage.rate(bps)
		return nil
	}
	return errAsk
}

// do answers a button: nothing to the page's script, which sees what happened
// in the events, and the page again to a browser without scripts.
func (f *face) do(act func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		err := act(r)
		switch {
		case errors.Is(err, errBusy), errors.Is(err, beyond.ErrNotYet):
			http.Error(w, err.Error(), http.StatusConflict)
		case errors.Is(err, errAsk), errors.Is(err, errNoClass):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case r.Header.Get("Accept") == "application/json":
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Redirect(w, r, "/?lang="+language(r), http.StatusSeeOther)
		}
	}
}

// language is what the address asks for, or what the browser likes best.
func language(r *http.Request) string {
	lang := r.FormValue("lang")
	if lang == "fr" || lang == "en" {
		return lang
	}
	for part := range strings.SplitSeq(strings.ToLower(r.Header.Get("Accept-Language")), ",") {
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "fr") || strings.HasPrefix(part, "en") {
			return part[:2]
		}
	}
	return "en"
}

func (f *face) index(w http.ResponseWriter, r *http.Request) {
	lang := language(r)
	type choice struct{ Path, Title string }
	var files []choice
	titles := library.PageTitles()
	for _, i := range library.Items() {
		titles[i.Path] = i.Title(lang)
		if i.Class {
			files = append(files, choice{i.Path, i.Title(lang)})
		}
	}
	box := f.stage.keep.now().Addr()
	var b bytes.Buffer
	err := f.page.Execute(&b, map[string]any{
		"Lang": lang, "T": texts(lang), "Files": files, "Box": box, "Portal": portalOf(box), "Devices": devices, "Beyond": f.stage.network != nil,
		"Rates": []int64{512_000, 2_000_000, 8_000_000, 20_000_000, 100_000_000},
		"Rate":  f.stage.line.Rate(),
		"Setup": map[string]any{"lang": lang, "box": "http://" + box, "text": texts(lang), "titles": titles},
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", lang)
	w.Header().Set("Vary", "Accept-Language")
	w.Write(b.Bytes())
}

// portalOf is a name under which the box at addr shows its own pages: for all
// others the library answers. Browsers look for names below localhost on their
// own machine, and nowhere else (RFC 6761, section 6.3).
func portalOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) //nolint:errcheck // a listener's, so it has one
	return net.JoinHostPort("preau.localhost", port)
}

func (f *face) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	b, err := assets.ReadFile("page/" + name)
	if err != nil || kind == "" { // the page itself is a template, not an asset
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(b)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Etag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// events sends the state as it changes, until the reader leaves.
func (f *face) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	states, leave := f.stage.watch()
	defer leave()
	rc := http.NewResponseController(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case st := <-states:
			b, err := json.Marshal(st)
			if err != nil {
				f.stage.cfg.Log.ErrorContext(r.Context(), "the page's state cannot be written", "err", err)
				return
			}
			// A page that does not read for so long is gone.
			if err := rc.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return
			}
			if _, err := fmt.Fprintf(w, "event: state\ndata: %s\n\n", b); err != nil {
				return
			}
			if err := rc.Flush(); err != nil {
				return
			}
		}
	}
}

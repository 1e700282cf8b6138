// Package look is what all pages of the portal have in common: one frame, one
// look, icons, sizes and dates in people's words, the way a language stays
// chosen, static files under names that change with what is in them, pages that
// say what went wrong, and parts of a page that change while one looks at it.
//
// Pages work without scripts, with the keyboard alone, read aloud, on light and
// dark screens, at twice the size, on paper, and load nothing from outside the
// box: the policy that goes with each of them says so. The package knows nothing
// of boxes, lessons or persons, sets no cookie, keeps nothing and logs nothing.
//
// A handler makes a page in three steps:
//
//	var page = look.Must("list.html", files)          // once, html/template
//	err := page.Write(w, r, look.Page{Title: …, Body: …}) // for each request
//	if err != nil { look.Fail(w, r, http.StatusInternalServerError, …) }
//
// and stands behind In, which says whose portal it is, and Spoken, which knows
// the language. In a template $ is a View: {{$.Path "/find"}}, {{$.Size 1200}},
// {{$.Icon "film"}}, and {{template "part.html" ($.With .)}} for a part.
package look

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"preau/cache/page"
)

//go:embed frame.html notice.html
var frames embed.FS

// Page is one page, whatever it is about.
type Page struct {
	Title  string // of the window, and the one heading of its level
	Lead   string // a sentence below the heading; may be empty
	Status int    // 0 is 200
	Body   any
	Words  any // what the page says, in its language
	// Bare: the body brings its own h1.
	Bare bool
	Wide bool // the page takes the width of a large screen
	// Home: there is no search at the top, since the body has its own.
	Home    bool
	Query   string   // what is looked for now, for the box at the top
	Crumbs  []Crumb  // the way here from the home page, without this page
	Scripts []string // addresses as Bundle.Asset gives them; look's "live.js" too
	Styles  []string // more style, likewise
	// Streams: a script plays video from pieces, which the policy has to allow.
	Streams bool
	// FormTo lists origins outside the box that a form of the page leads to.
	FormTo []string
	// Private: not to be stored by anything, though nobody is signed in.
	Private bool
}

// Crumb is one step of the way to a page. To is a path of the portal.
type Crumb struct{ To, Label string }

// NavItem is one of the portal's main places. To is a path of the portal; it is
// marked on all pages below.
type NavItem struct{ To, Label, Icon string }

// Person is who is signed in.
type Person struct {
	Name    string
	Role    string  // in words
	SignOut NavItem // where a form leads that ends it
	Token   string  // goes with that form
}

// Template makes the pages of one kind. Its methods may be called concurrently.
type Template struct{ whole *template.Template }

// Must makes a kind of page: name is the file with what stands below the
// heading, files those that it uses as {{template "FILE" ($.With .)}}. Must
// panics if they are no templates: they are constants of the program.
func Must(name string, fsys fs.FS, files ...string) *Template {
	t := template.Must(template.New("frame.html").ParseFS(frames, "frame.html", "notice.html"))
	template.Must(t.ParseFS(fsys, append([]string{name}, files...)...))
	template.Must(t.AddParseTree("body", t.Lookup(base(name)).Tree.Copy()))
	return &Template{t}
}

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Write answers r with a page. Cache-Control is what suits it if it is not set:
// nothing is kept of what somebody signed in sees, and all else is asked for
// again each time, at the price of a few bytes if it is the same (ETag). If the
// page can't be made nothing has been written.
func (t *Template) Write(w http.ResponseWriter, r *http.Request, p Page) error {
	m, err := t.Make(r, p)
	if err != nil {
		return err
	}
	m.Send(w, r)
	return nil
}

// Made is a page that is ready to be sent, once or to many.
type Made struct {
	status      int
	lang        page.Lang
	policy, tag string
	private     bool
	plain, gzip []byte
}

// Make makes the page that r asks for, in its language, with its person.
func (t *Template) Make(r *http.Request, p Page) (*Made, error) {
	v := viewOf(r, p)
	body, err := t.execute(v)
	if err != nil {
		return nil, err
	}
	m := &Made{status: p.Status, lang: v.Lang, policy: p.policy(), private: v.Person != nil || p.Private, plain: body}
	if m.status == 0 {
		m.status = http.StatusOK
	}
	if m.private {
		// It is not compressed together with what others may have put on the
		// page: its length would tell of secrets. Nor is it asked for again.
		return m, nil
	}
	if m.status == http.StatusOK {
		sum := sha256.Sum256(body)
		m.tag = hex.EncodeToString(sum[:12])
	}
	if len(body) > least {
		if m.gzip, err = zipped(body); err != nil {
			return nil, fmt.Errorf("compress page %q: %w", v.Title, err)
		}
	}
	return m, nil
}

// zippers are made once: each takes a good part of a megabyte.
var zippers = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		return nil // of a level that there is not
	}
	return z
}}

func zipped(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z, ok := zippers.Get().(*gzip.Writer)
	if !ok {
		z = gzip.NewWriter(nil)
	}
	defer zippers.Put(z)
	z.Reset(&b)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Private reports a page that is for one person only.
func (m *Made) Private() bool { return m.private }

// Send answers r with the page.
func (m *Made) Send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", m.policy)
	h.Set("Referrer-Policy", "same-origin")
	// A site's page on the same host that opens this one in a window does not get
	// hold of it.
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Language", string(m.lang))
	h.Add("Vary", "Accept, Accept-Encoding, Accept-Language")
	switch {
	case h.Get("Cache-Control") != "":
	case m.private:
		h.Set("Cache-Control", "no-store")
	default:
		h.Set("Cache-Control", "no-cache")
	}
	if m.tag != "" {
		// The weak comparison of If-None-Match (RFC 9110 §13.1.2): both codings of
		// a page are the same page.
		h.Set("Etag", `W/"`+m.tag+`"`)
		if strings.Contains(r.Header.Get("If-None-Match"), `"`+m.tag+`"`) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	body := m.plain
	if m.gzip != nil && gzips(r) {
		h.Set("Content-Encoding", "gzip")
		body = m.gzip
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(m.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // nobody to tell
	}
}

func (t *Template) execute(v View) ([]byte, error) {
	b, ok := buffers.Get().(*bytes.Buffer)
	if !ok {
		b = new(bytes.Buffer)
	}
	defer buffers.Put(b)
	b.Reset()
	if err := t.whole.Execute(b, v); err != nil {
		return nil, fmt.Errorf("make page %q: %w", v.Title, err)
	}
	return bytes.Clone(b.Bytes()), nil
}

// Part makes the template FILE alone, for a piece of a page that is sent later
// (Live) or kept.
func (t *Template) Part(r *http.Request, file string, p Page) ([]byte, error) {
	var b bytes.Buffer
	if err := t.whole.ExecuteTemplate(&b, file, viewOf(r, p)); err != nil {
		return nil, fmt.Errorf("make part %q: %w", file, err)
	}
	return b.Bytes(), nil
}

// policy is what a page may load and where its forms lead: to the box alone.
func (p Page) policy() string {
	media, forms := "'self'", "'self'"
	if p.Streams {
		media = "'self' blob:" // how a browser hands pieces to its player
	}
	for _, origin := range p.FormTo {
		if u, err := url.Parse(origin); err == nil && u.Host != "" && !strings.ContainsAny(u.Host, " ;,'\"") && (u.Scheme == "https" || u.Scheme == "http") {
			forms += " " + u.Scheme + "://" + u.Host
		}
	}
	return "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src " + media +
		"; connect-src 'self'; frame-src 'self'; form-action " + forms + "; base-uri 'none'; frame-ancestors 'none'"
}

const (
	// least is the length from which a page is sent in gzip.
	least = 1400
	// gzipLevel saves all but a tenth of what the best would, in half of its time.
	gzipLevel = 5
)

// gzips reports a client that reads gzip (RFC 9110 §12.5.3).
func gzips(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			_, q, ok := strings.Cut(strings.ReplaceAll(params, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !ok || err == nil && weight > 0
		}
	}
	return false
}

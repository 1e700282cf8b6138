// Package page is what the pages that people see have in common: one frame and
// one look, the choice between French and English, sizes in people's units, and
// a policy under which a page can load and run nothing.
//
// A page works without scripts, with the keyboard alone, read aloud, and on
// light and dark screens. What a page says is for whoever answers: the package
// has no words of its own, decides on no status and no caching, keeps nothing
// and logs nothing. Pages that need scripts, forms or pictures are not for it.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

var (
	//go:embed frame.html
	frameSource string
	//go:embed notice.html
	noticeSource string
	//go:embed style.css
	style string
)

// policy lets a page use the style that it carries and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}()

// Vary is the field of a response that was chosen by Language and Asked.
const Vary = "Accept, Accept-Language"

// Frame is one kind of page. Its methods may be called concurrently.
type Frame struct{ whole *template.Template }

// Must makes a frame around body, a template of what stands below the heading.
// The body may use {{template "notice" .}}, with the fields of a Notice. Must
// panics if body is no template: it is a constant of the program.
func Must(body string) *Frame {
	t := template.Must(template.New("frame").Parse(frameSource))
	template.Must(t.New("notice").Parse(noticeSource))
	template.Must(t.New("body").Parse(body))
	return &Frame{t}
}

// Answer is one page.
type Answer struct {
	Status int
	Lang   Lang
	Title  string // of the window, and the one heading of its level
	Body   any    // what the body's template is given
}

// Write answers r with a page. It leaves Cache-Control and what else depends on
// the matter to its caller. If the page can't be made nothing has been written.
func (f *Frame) Write(w http.ResponseWriter, r *http.Request, a Answer) error {
	var b bytes.Buffer
	err := f.whole.Execute(&b, struct {
		Answer
		Style template.CSS
	}{a, template.CSS(style)})
	if err != nil {
		return fmt.Errorf("make page: %w", err)
	}
	w.Header().Set("Content-Security-Policy", policy)
	send(w, r, a.Status, a.Lang, "text/html; charset=utf-8", b.Bytes())
	return nil
}

func send(w http.ResponseWriter, r *http.Request, status int, lang Lang, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Language", string(lang))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Vary", Vary)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // nobody to tell
	}
}

// Asked is the one of kinds that a client names first among the media types
// that it accepts (RFC 9110 §12.5.1), or nothing. Weights don't count: a browser
// names text/html first, and a program the one type that it reads.
func Asked(r *http.Request, kinds ...string) string {
	for _, v := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(item, ";")
			name = strings.TrimSpace(name)
			for _, kind := range kinds {
				if strings.EqualFold(name, kind) {
					return kind
				}
			}
		}
	}
	return ""
}

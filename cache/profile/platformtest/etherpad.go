package platformtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// exportsPer is how many exports an address may have in exportsIn.
const (
	exportsPer = 10
	exportsIn  = 90 * time.Second
)

// Etherpad is an Etherpad with a pad, the read-only name of it, and a pad of a
// group that only its members may see. Each revision's text stays as it was.
type Etherpad struct {
	*host
	texts   []string // of the revisions of the pad
	exports map[string][]time.Time
	limit   int
}

// NewEtherpad makes one whose pad has two revisions.
func NewEtherpad() *Etherpad {
	e := &Etherpad{host: newHost(), texts: []string{"Bonjour", "Bonjour à tous"}, exports: map[string][]time.Time{}, limit: exportsPer}
	e.serve = e.answer
	e.secretly(e.Pad(), e.ReadOnly(), e.Group())
	for _, u := range known {
		e.secretly(credential("sid", u), credential("member", u), credential("author", u))
	}
	return e
}

// Pad is the name of the pad, under which it can be written.
func (e *Etherpad) Pad() string { return "classe-6a-" + short("pad") }

// ReadOnly is under which the pad can be read and not written.
func (e *Etherpad) ReadOnly() string { return "r." + short("pad", "read") + short("only") }

// Group is a pad for members.
func (e *Etherpad) Group() string { return "g." + short("group") + "$notes" }

// Write adds a revision to the pad.
func (e *Etherpad) Write(text string) { e.do(func() { e.texts = append(e.texts, text) }) }

// SetLimit says how many exports an address may have in 90 seconds; 0 for any.
func (e *Etherpad) SetLimit(n int) { e.do(func() { e.limit = n }) }

// Places implements Platform.
func (e *Etherpad) Places(string) []string {
	out := []string{
		"/", "/static/css/pad.css", "/static/js/vendors/jquery.js", "/locales.json", "/locales/fr.json", "/favicon.ico", "/health", "/stats", "/api",
		"/padbootstrap-a1b2c3.min.js", "/socket.io/?EIO=4&transport=polling", "/admin",
	}
	for _, pad := range []string{e.Pad(), e.ReadOnly(), strings.ReplaceAll(e.Group(), "$", "%24"), e.Group(), "never-" + short("never")} {
		p := "/p/" + pad
		out = append(out, p, p+"/timeslider", p+"/export/txt", p+"/export/html", p+"/export/etherpad", p+"/0/export/txt", p+"/1/export/html", p+"/99/export/txt")
	}
	return out
}

// Ways implements Platform.
func (e *Etherpad) Ways(user string) []Way {
	return []Way{
		{}, way("author", "Cookie", "token="+credential("author", user)), way("member", "Cookie", "sessionID="+credential("member", user)),
		way("express", "Cookie", "express_sid="+credential("sid", user)), way("prefs", "Cookie", "prefsHttp=%7B%7D"),
		byPassword(user),
	}
}

// Happenings implements Platform.
func (e *Etherpad) Happenings() []Happening {
	return []Happening{{"written", func() { e.Write("ligne " + short(e.now().String())) }}}
}

// whose finds who asks; everybody can say so, few need to.
func (e *Etherpad) whose(r *http.Request) (user, by string) {
	for name, kind := range map[string]string{"token": "author", "sessionID": "member", "express_sid": "sid"} {
		if u := cookie(r, name, kind); u != "" {
			return u, "cookie"
		}
	}
	if u := basic(r); u != "" {
		return u, "basic"
	}
	return "", ""
}

func (e *Etherpad) answer(a *answer, r *http.Request) {
	path := r.URL.Path
	fixed := func(kind string) {
		a.set("Content-Type", kind)
		modified := e.begun.Add(-time.Hour).Truncate(time.Second)
		a.content(r, Noise(3000, uint64(len(path))), modified, ranges{none: true, silent: true})
	}
	pad, isPad := strings.CutPrefix(path, "/p/")
	switch {
	case strings.HasPrefix(path, "/static/"):
		a.set("Cache-Control", "max-age=21600", "Expires", e.now().UTC().Add(6*time.Hour).Format(http.TimeFormat))
		fixed("text/css")
	case strings.HasPrefix(path, "/locales"):
		a.set("Cache-Control", "public, max-age=21600", "ETag", weak(path))
		a.text(http.StatusOK, "application/json; charset=utf-8", `{"fr":{}}`)
	case path == "/favicon.ico":
		a.set("Cache-Control", "public, max-age=21600", "Content-Type", "image/x-icon", "ETag", weak(path))
		a.content(r, Noise(900, 1), e.begun.Truncate(time.Second), ranges{})
	case strings.HasPrefix(path, "/socket.io/"):
		e.socket(a, r)
	case isPad:
		e.pad(a, r, pad)
	case path == "/admin":
		user := basic(r)
		if user == "" {
			a.set("WWW-Authenticate", `Basic realm="Protected Area"`)
			a.text(http.StatusUnauthorized, "text/plain", "Authentication Required")
			return
		}
		a.own(user, "basic")
		e.page(a, r, "admin")
	case path == "/health", path == "/stats", path == "/api", path == "/", strings.HasSuffix(path, ".min.js"):
		e.page(a, r, path)
	default:
		a.text(http.StatusNotFound, "text/html", "Cannot GET")
	}
}

// page is an answer with a weak tag and no word about caching; it knows who has
// a cookie.
func (e *Etherpad) page(a *answer, r *http.Request, name string) {
	if user, by := e.whose(r); user != "" {
		a.own(user, by)
	}
	tag := weak(name, a.as)
	a.set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		a.WriteHeader(http.StatusNotModified)
		return
	}
	a.html(http.StatusOK, "Etherpad "+name)
}

// socket answers a poll, which is never stored.
func (e *Etherpad) socket(a *answer, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		upgrade(a, r)
		return
	}
	a.set("Cache-Control", "no-store")
	a.text(http.StatusOK, "text/plain; charset=UTF-8", `0{"sid":"`+e.session()+`"}`)
}

// pad answers below /p/.
func (e *Etherpad) pad(a *answer, r *http.Request, rest string) {
	name, what, _ := strings.Cut(rest, "/")
	user, by := e.whose(r)
	member := cookie(r, "sessionID", "member") != ""
	if name == e.Group() && !member {
		if strings.Contains(what, "export") && e.limited(a, r) {
			return
		}
		a.text(http.StatusForbidden, "text/html", "403 - Can't touch this")
		return
	}
	if !strings.Contains(what, "export/") {
		if what != "" && what != "timeslider" {
			a.text(http.StatusNotFound, "text/html", "Cannot GET")
			return
		}
		e.page(a, r, name+what)
		return
	}
	if e.limited(a, r) {
		return
	}
	before, format, _ := strings.Cut(what, "export/")
	if !slices.Contains([]string{"txt", "html", "etherpad"}, format) {
		a.text(http.StatusNotFound, "text/html", "Cannot GET")
		return
	}
	text, ok := e.text(strings.TrimSuffix(before, "/"))
	if !ok || name != e.Pad() && name != e.ReadOnly() && name != e.Group() {
		a.text(http.StatusNotFound, "text/plain", "Not found")
		return
	}
	if user != "" {
		a.own(user, by)
	}
	tag := weak(name, what, text, a.as)
	a.set("ETag", tag, "Access-Control-Allow-Origin", "*", "Content-Disposition", `attachment; filename="`+name+`.`+format+`"`)
	if r.Header.Get("If-None-Match") == tag {
		a.WriteHeader(http.StatusNotModified)
		return
	}
	if format != "txt" { // whichever name it was asked for by
		text = e.Pad() + ": " + text
	}
	a.text(http.StatusOK, "text/plain; charset=utf-8", text)
}

// text is that of a revision, the last one for none.
func (e *Etherpad) text(revision string) (text string, ok bool) {
	e.do(func() {
		switch n := len(e.texts); {
		case revision == "":
			text, ok = e.texts[n-1], true
		case len(revision) == 1 && revision >= "0" && int(revision[0]-'0') < n:
			text, ok = e.texts[revision[0]-'0'], true
		}
	})
	return text, ok
}

// limited counts an export against the asker's address.
func (e *Etherpad) limited(a *answer, r *http.Request) (limited bool) {
	e.do(func() {
		now, from := e.clock(), address(r)
		e.exports[from] = slices.DeleteFunc(e.exports[from], func(t time.Time) bool { return now.Sub(t) >= exportsIn })
		if limited = e.limit > 0 && len(e.exports[from]) >= e.limit; !limited {
			e.exports[from] = append(e.exports[from], now)
		}
	})
	if limited {
		a.set("Retry-After", "90", "X-RateLimit-Remaining", "0")
		a.text(http.StatusTooManyRequests, "text/html; charset=utf-8", "Too many requests, please try again later.")
	}
	return limited
}

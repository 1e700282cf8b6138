package edge

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/upstream"
)

var errLineDown = upstream.ErrLineDown

// mostListed bounds the stored pages that an error page lists.
const mostListed = 40

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// pagePolicy lets the error pages use their own style and nothing else.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}()

// trouble is a kind of error that people are told about.
type trouble int

const (
	troubleOffline trouble = iota // the site can't be reached
	troubleBroken                 // it can, but did not answer this
	troubleUnknown                // no such site
)

// words are what a page says, in one language.
type words struct {
	Lang                           string
	Title, Text, What, Held, Again string
}

var pageWords = map[string]map[trouble]words{
	"fr": {
		troubleOffline: {
			Title: "Ce site n’est pas joignable pour le moment",
			Text:  "La ligne de l’école vers ce site est coupée, et la boîte de l’école n’a pas cette page en réserve.",
			What:  "Vous pouvez réessayer dans un moment : la page se chargera dès que la ligne sera revenue. Rien n’est cassé sur votre appareil.",
			Held:  "Ce qui reste disponible ici, même sans ligne :", Again: "Réessayer",
		},
		troubleBroken: {
			Title: "Le site n’a pas répondu",
			Text:  "La ligne fonctionne, mais le site n’a pas envoyé cette page.",
			What:  "Réessayez dans un moment. Si cela continue, signalez-le à la personne qui s’occupe de l’informatique de l’école.",
			Held:  "Ce qui est disponible ici :", Again: "Réessayer",
		},
		troubleUnknown: {
			Title: "Cette boîte ne connaît pas ce site",
			Text:  "La boîte de l’école ne sert que les sites choisis pour elle, et celui-ci n’en fait pas partie.",
			What:  "Vérifiez l’adresse.", Held: "", Again: "",
		},
	},
	"en": {
		troubleOffline: {
			Title: "This site cannot be reached at the moment",
			Text:  "The school’s line to this site is down, and the school’s box does not have this page in store.",
			What:  "You can try again in a while: the page will load as soon as the line is back. Nothing is wrong with your device.",
			Held:  "What stays available here, even without the line:", Again: "Try again",
		},
		troubleBroken: {
			Title: "The site did not answer",
			Text:  "The line works, but the site did not send this page.",
			What:  "Try again in a while. If it goes on, tell the person who looks after the school’s computers.",
			Held:  "What is available here:", Again: "Try again",
		},
		troubleUnknown: {
			Title: "This box does not know this site",
			Text:  "The school’s box serves only the sites chosen for it, and this is not one of them.",
			What:  "Check the address.", Held: "", Again: "",
		},
	},
}

// listed is one entry of what is available.
type listed struct {
	Link template.HTMLAttr
	Name string
}

// link is the attribute that leads to path exactly as it is stored; the
// template's own escaping would encode brackets and so miss what is stored.
func link(path string) template.HTMLAttr {
	return template.HTMLAttr(`href="` + html.EscapeString(path) + `"`)
}

// noAnswer answers a request that neither the site nor the store could.
func (x *exchange) noAnswer(err error) {
	if x.wrote {
		panic(http.ErrAbortHandler)
	}
	kind, status := troubleBroken, http.StatusBadGateway
	switch {
	case errors.Is(err, upstream.ErrLineDown), errors.Is(err, fill.ErrUnavailable) && !x.lineUp():
		kind, status = troubleOffline, http.StatusGatewayTimeout
	case errors.Is(err, upstream.ErrStalled), errors.Is(err, fill.ErrUnavailable):
		status = http.StatusGatewayTimeout
	case errors.Is(err, fill.ErrStopped):
		status = http.StatusServiceUnavailable
	}
	x.count(resultError)
	h := x.w.Header()
	detail := "origin-error"
	if kind == troubleOffline {
		detail = "offline"
	}
	rfc9111.AppendCacheStatus(h, Name, rfc9111.CacheStatus{Fwd: rfc9111.FwdMiss, Detail: detail})
	h.Set("Retry-After", "15")
	x.wrote = true
	var held []listed
	if wantsPage(x.r) {
		held = x.held()
	}
	writePage(x.w, x.r, status, kind, held)
}

// onlyIfCached answers a client that wants nothing from beyond the cache (RFC
// 9111 §5.2.1.7).
func (x *exchange) onlyIfCached() {
	x.count(resultError)
	x.wrote = true
	rfc9111.AppendCacheStatus(x.w.Header(), Name, rfc9111.CacheStatus{Fwd: rfc9111.FwdRequest, Detail: "only-if-cached"})
	x.w.Header().Set("Cache-Control", "no-store")
	http.Error(x.w, "Not stored here.", http.StatusGatewayTimeout)
}

// unknownSite answers a request for a host that is nobody's.
func (h *Handler) unknownSite(w http.ResponseWriter, r *http.Request) {
	writePage(w, r, http.StatusNotFound, troubleUnknown, nil)
}

// held lists what can be opened without the line.
func (x *exchange) held() []listed {
	if x.store == nil || !x.site.List {
		return nil
	}
	var out []listed
	now := time.Now()
	err := x.store.Objects().Listed(x.r.Context(), x.site.Name, func(o *object.Object) bool {
		d := rfc9111.Decide(http.Header{}, response(o), now, x.site.Rules)
		if o.Complete && o.Doubt != object.Invalidated && (d.Use == rfc9111.Fresh || d.MayServe(rfc9111.Disconnected, now)) {
			out = append(out, listed{Link: link(x.prefix + o.Lists), Name: readable(o.Lists)})
		}
		return len(out) < mostListed
	})
	if err != nil {
		x.h.log.Debug("what is held can't be listed", "err", err)
	}
	return out
}

// readable is a stored path as people read it.
func readable(p string) string {
	base := path.Base(p)
	if p != "/" && strings.HasSuffix(p, "/") {
		base += "/"
	}
	if name, err := url.PathUnescape(base); err == nil {
		return name
	}
	return base
}

// wantsPage reports whether the request comes from somebody who looks at a
// page, and not from a script or a player.
func wantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func writePage(w http.ResponseWriter, r *http.Request, status int, kind trouble, held []listed) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Language")
	h.Set("X-Content-Type-Options", "nosniff")
	say := pageWords[language(r)][kind]
	if !wantsPage(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(say.Title + ". " + say.Text + "\n")) // nobody to tell
		return
	}
	var b bytes.Buffer
	data := struct {
		words
		Style template.CSS
		Items []listed
	}{say, template.CSS(pageStyle), held}
	data.Lang = language(r)
	if err := pageTemplate.Execute(&b, data); err != nil {
		http.Error(w, say.Title, status)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // nobody to tell
}

// language picks French or English by Accept-Language (RFC 9110 §12.5.4);
// French where the client has no preference: these are French schools.
func language(r *http.Request) string {
	best, lang := 0.0, "fr"
	for item := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		main, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := weight(params)
		if (main == "fr" || main == "en") && q > best {
			best, lang = q, main
		}
	}
	return lang
}

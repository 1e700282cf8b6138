package edge

import (
	_ "embed"
	"errors"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/page"
	"preau/cache/rfc9111"
	"preau/cache/upstream"
)

var errLineDown = upstream.ErrLineDown

// mostListed bounds the stored pages that an error page lists.
const mostListed = 40

//go:embed page.html
var pageSource string

var pageFrame = page.Must(pageSource)

// words are what a page says, in one language.
type words struct {
	page.Notice
	Held string // above what is available
	Home string // the name of a site's first page
}

// trouble is a kind of error that people are told about.
type trouble int

const (
	troubleOffline trouble = iota // the site can't be reached
	troubleBroken                 // it can, but did not answer this
	troubleUnknown                // no such site
	troubleGone                   // the site has it no more
	troubleBusy                   // the site is spared for a while
)

var pageWords = map[trouble]page.Both[words]{
	troubleOffline: {
		French: words{
			Notice: page.Notice{
				Title:  "Ce site n’est pas joignable pour le moment",
				Text:   "La ligne de l’école vers ce site est coupée, et la boîte de l’école n’a pas cette page en réserve.",
				Advice: "Vous pouvez réessayer dans un moment : la page se chargera dès que la ligne sera revenue. Rien n’est cassé sur votre appareil.",
				Links:  []page.Link{{Label: "Réessayer"}},
			},
			Held: "Ce qui reste disponible ici, même sans ligne :", Home: "Page d’accueil",
		},
		English: words{
			Notice: page.Notice{
				Title:  "This site cannot be reached at the moment",
				Text:   "The school’s line to this site is down, and the school’s box does not have this page in store.",
				Advice: "You can try again in a while: the page will load as soon as the line is back. Nothing is wrong with your device.",
				Links:  []page.Link{{Label: "Try again"}},
			},
			Held: "What stays available here, even without the line:", Home: "Home page",
		},
	},
	troubleBroken: {
		French: words{
			Notice: page.Notice{
				Title:  "Le site n’a pas répondu",
				Text:   "La ligne fonctionne, mais le site n’a pas envoyé cette page.",
				Advice: "Réessayez dans un moment. Si cela continue, signalez-le à la personne qui s’occupe de l’informatique de l’école.",
				Links:  []page.Link{{Label: "Réessayer"}},
			},
			Held: "Ce qui est disponible ici :", Home: "Page d’accueil",
		},
		English: words{
			Notice: page.Notice{
				Title:  "The site did not answer",
				Text:   "The line works, but the site did not send this page.",
				Advice: "Try again in a while. If it goes on, tell the person who looks after the school’s computers.",
				Links:  []page.Link{{Label: "Try again"}},
			},
			Held: "What is available here:", Home: "Home page",
		},
	},
	troubleUnknown: {
		French: words{Notice: page.Notice{
			Title:  "Cette boîte ne connaît pas ce site",
			Text:   "La boîte de l’école ne sert que les sites choisis pour elle, et celui-ci n’en fait pas partie.",
			Advice: "Vérifiez l’adresse.",
		}},
		English: words{Notice: page.Notice{
			Title:  "This box does not know this site",
			Text:   "The school’s box serves only the sites chosen for it, and this is not one of them.",
			Advice: "Check the address.",
		}},
	},
	troubleBusy: {
		French: words{
			Notice: page.Notice{
				Title:  "Ce site est très demandé en ce moment",
				Text:   "La boîte de l’école attend un peu avant de lui demander cette page, pour que l’école ne soit pas prise pour un robot.",
				Advice: "Réessayez dans une minute. Rien n’est cassé sur votre appareil.",
				Links:  []page.Link{{Label: "Réessayer"}},
			},
			Held: "Ce qui est disponible ici tout de suite :", Home: "Page d’accueil",
		},
		English: words{
			Notice: page.Notice{
				Title:  "This site is very busy at the moment",
				Text:   "The school’s box waits a little before it asks for this page, so that the school is not taken for a robot.",
				Advice: "Try again in a minute. Nothing is wrong with your device.",
				Links:  []page.Link{{Label: "Try again"}},
			},
			Held: "What is available here at once:", Home: "Home page",
		},
	},
	troubleGone: {
		French: words{Notice: page.Notice{
			Title:  "Ce lien ne mène plus à rien",
			Text:   "Le partage a été retiré, ou sa durée est passée, ou l’adresse n’est pas tout à fait la bonne.",
			Advice: "Demandez un nouveau lien à la personne qui vous a donné celui-ci, par exemple votre professeur. Rien n’est cassé sur votre appareil.",
		}},
		English: words{Notice: page.Notice{
			Title:  "This link leads nowhere any more",
			Text:   "What was shared has been taken back, or its time is over, or the address is not quite right.",
			Advice: "Ask the person who gave you this link, such as your teacher, for a new one. Nothing is wrong with your device.",
		}},
	},
}

// listed is one entry of what is available.
type listed struct {
	Link template.HTMLAttr
	Name string
	path string // as it is stored
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
	kind, status, again := troubleBroken, http.StatusBadGateway, 15*time.Second
	busy, isBusy := errors.AsType[*upstream.BusyError](err)
	switch {
	case isBusy:
		kind, status, again = troubleBusy, http.StatusServiceUnavailable, max(busy.Wait, time.Second)
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
	if errors.Is(err, errFragment) {
		status, detail = http.StatusBadGateway, "fragment-mismatch"
	}
	switch kind {
	case troubleBusy:
		detail = "busy"
	case troubleOffline:
		detail = "offline"
	}
	rfc9111.AppendCacheStatus(h, Name, rfc9111.CacheStatus{Fwd: rfc9111.FwdMiss, Detail: detail})
	h.Set("Retry-After", contentLength(int64((again+time.Second-1)/time.Second)))
	x.wrote = true
	var held []listed
	if wantsPage(x.r) {
		held = x.held()
	}
	x.h.writePage(x.w, x.r, status, kind, held)
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
	h.writePage(w, r, http.StatusNotFound, troubleUnknown, nil)
}

// held lists what can be opened without the line.
func (x *exchange) held() []listed {
	if x.store == nil || !x.site.List {
		return nil
	}
	var out []listed
	now := time.Now()
	err := x.store.Objects().Listed(x.r.Context(), x.site.Name, func(o *object.Object) bool {
		d := rfc9111.Decide(http.Header{}, response(o), now, x.site.RulesFor(o.Header))
		if o.Complete && o.Doubt != object.Invalidated && (d.Use == rfc9111.Fresh || d.MayServe(rfc9111.Disconnected, now)) {
			out = append(out, listed{Link: link(x.prefix + o.Lists), Name: readable(lastOf(o.Lists)), path: o.Lists})
		}
		return len(out) < mostListed
	})
	if err != nil {
		x.h.log.Debug("what is held can't be listed", "err", err)
	}
	return out
}

// readable is a stored path, or its last part, as people read it.
func readable(part string) string {
	if name, err := url.PathUnescape(part); err == nil {
		return name
	}
	return part
}

// lastOf is the last part of a path: a file, or a folder with its slash.
func lastOf(p string) string {
	base := path.Base(p)
	if p != "/" && strings.HasSuffix(p, "/") {
		base += "/"
	}
	return base
}

// named calls the first page by its name, and those whose names would be the
// same by where they are: links are often read without what stands around them.
func named(held []listed, home string) []listed {
	same := map[string]int{}
	for _, l := range held {
		same[l.Name]++
	}
	for i, l := range held {
		switch {
		case l.path == "/":
			held[i].Name = home
		case same[l.Name] > 1:
			held[i].Name = readable(strings.TrimPrefix(l.path, "/"))
		}
	}
	return held
}

// wantsPage reports whether the request comes from somebody who looks at a
// page, and not from a script or a player.
func wantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && page.Asked(r, "text/html") != ""
}

// Home tells the address of the page that says what is here, for who sent a
// request to a site: a path where that page is on the same host. Empty: there is
// none. It is called by those who serve and must be quick.
type Home func(r *http.Request) string

// SetHome has pages about what is the matter lead to fn's from now on, or nowhere
// with nil.
func (h *Handler) SetHome(fn Home) {
	if fn == nil {
		h.home.Store(nil)
		return
	}
	h.home.Store(&fn)
}

// toHome is the way to what is here, for who can get nothing from there.
var toHome = page.Both[string]{French: "Voir ce qui est sur la boîte de l’école", English: "See what is on the school’s box"}

func (h *Handler) writePage(w http.ResponseWriter, r *http.Request, status int, kind trouble, held []listed) {
	w.Header().Set("Cache-Control", "no-store")
	lang := page.Language(r)
	say := pageWords[kind].In(lang)
	if wantsPage(r) {
		if home := h.home.Load(); home != nil {
			if to := (*home)(r); to != "" {
				// Clipped, for the words are everybody's.
				say.Links = append(slices.Clip(say.Links), page.Link{To: to, Label: toHome.In(lang)})
			}
		}
		err := pageFrame.Write(w, r, page.Answer{Status: status, Lang: lang, Title: say.Title, Body: struct {
			words
			Items []listed
		}{say, named(held, say.Home)}})
		if err == nil {
			return
		}
	}
	say.Plain(w, r, status, lang)
}

package auth

import (
	"embed"
	"math"
	"net/http"
	"strconv"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
)

//go:embed pages
var files embed.FS

// pages are those of this package.
var pages = struct {
	signIn, held, signOut, signedOut, claim, badge, joined, unsafe *look.Template
}{
	signIn:    look.Must("pages/signin.html", files),
	held:      look.Must("pages/held.html", files),
	signOut:   look.Must("pages/signout.html", files),
	signedOut: look.Must("pages/signedout.html", files),
	claim:     look.Must("pages/code.html", files),
	badge:     look.Must("pages/code.html", files),
	joined:    look.Must("pages/joined.html", files),
	unsafe:    look.Must("pages/unsafe.html", files),
}

// titled are the words of one page.
type titled interface{ head() (title, lead string) }

// present answers with a page.
func (a *Auth) present(w http.ResponseWriter, r *http.Request, t *look.Template, status int, words titled, body any) {
	title, lead := words.head()
	err := t.Write(w, r, look.Page{Title: title, Lead: lead, Status: status, Words: words, Body: body, Private: true})
	if err != nil {
		a.log.ErrorContext(r.Context(), "a page can't be made", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// link leads on from a page that says what is the matter.
type link func(r *http.Request) page.Link

func signInLink(r *http.Request) page.Link {
	return page.Link{To: signInPath, Label: said.In(look.Lang(r)).SignIn.Title}
}

func homeLink(r *http.Request) page.Link {
	return page.Link{To: "/", Label: said.In(look.Lang(r)).Home}
}

// stepUp leads to a sign-in with a second factor, if there is a provider.
func (a *Auth) stepUp(r *http.Request) link {
	if a.provider == nil {
		return homeLink
	}
	back := ""
	if safeMethod(r.Method) {
		back = here(r)
	}
	return func(r *http.Request) page.Link {
		return page.Link{To: with(goPath, "return", back, "strong", "1"), Label: said.In(look.Lang(r)).Held.Again}
	}
}

func (a *Auth) fail(w http.ResponseWriter, r *http.Request, status int, n page.Both[page.Notice], on link) {
	notice := n.In(look.Lang(r))
	notice.Links = []page.Link{on(r)}
	look.Fail(w, r, status, notice)
}

// refuseForm answers a form that no page of this box has sent, or an old one.
func (a *Auth) refuseForm(w http.ResponseWriter, r *http.Request) {
	a.met.forms.Inc()
	a.fail(w, r, http.StatusForbidden, told.form, homeLink)
}

// limited answers who tries too often.
func (a *Auth) limited(w http.ResponseWriter, r *http.Request, how string, wait time.Duration) {
	a.met.signIns.WithLabelValues(how, "limited").Inc()
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	notice := told.often.In(look.Lang(r))
	notice.Text += " " + waiting(seconds, look.Lang(r))
	notice.Links = []page.Link{homeLink(r)}
	look.Fail(w, r, http.StatusTooManyRequests, notice)
}

func waiting(seconds int, l page.Lang) string {
	minutes := (seconds + 59) / 60
	switch {
	case l == page.English && seconds < 60:
		return "Try again in " + strconv.Itoa(seconds) + " seconds."
	case l == page.English:
		return "Try again in " + strconv.Itoa(minutes) + " min."
	case seconds < 60:
		return "Réessayez dans " + strconv.Itoa(seconds) + " secondes."
	}
	return "Réessayez dans " + strconv.Itoa(minutes) + " min."
}

func (a *Auth) words(r *http.Request) words { return said.In(look.Lang(r)) }

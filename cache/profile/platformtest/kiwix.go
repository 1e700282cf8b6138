package platformtest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kiwix is a kiwix-serve with one book, and one that its operator put behind a
// password.
type Kiwix struct {
	*host
	runs int
}

// NewKiwix makes one.
func NewKiwix() *Kiwix {
	k := &Kiwix{host: newHost()}
	k.serve = k.answer
	for _, u := range known {
		k.secretly(credential("password", u))
	}
	return k
}

// Restart starts it again: all its tags are another.
func (k *Kiwix) Restart() { k.do(func() { k.runs++ }) }

// Places implements Platform.
func (k *Kiwix) Places(string) []string {
	return []string{
		"/", "/wikipedia_fr/A/Lyon", "/wikipedia_fr/A/Paris", "/wikipedia_fr/A/Never", "/wikipedia_fr/I/carte.png", "/raw/wikipedia_fr/content/A/Lyon", "/skin/taskbar.css", "/skin/jquery.js?cacheid=1",
		"/catalog/v2/entries", "/search?pattern=lyon", "/suggest?content=wikipedia_fr&term=l", "/closed/A/Lyon", "/closed/A/Paris", "/random?content=wikipedia_fr",
	}
}

// Ways implements Platform.
func (k *Kiwix) Ways(user string) []Way {
	return []Way{{}, byPassword(user), way("language", "Cookie", "userlang=fr"), way("counter", "Cookie", "_ga=1")}
}

// Happenings implements Platform.
func (k *Kiwix) Happenings() []Happening { return []Happening{{"restarted", k.Restart}} }

func (k *Kiwix) answer(a *answer, r *http.Request) {
	path := r.URL.Path
	head, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	var tag string
	k.do(func() { tag = fmt.Sprintf(`"%d/c"`, 1795321517169897475+k.runs) })
	switch head {
	case "wikipedia_fr", "raw", "skin", "closed":
		if head == "closed" {
			user := basic(r)
			if user == "" {
				a.set("WWW-Authenticate", `Basic realm="books"`)
				a.text(http.StatusUnauthorized, "text/plain", "401 Authorization Required")
				return
			}
			a.own(user, "basic")
		}
		if strings.HasSuffix(path, "/Never") {
			k.fleeting(a, http.StatusNotFound, "Not Found")
			return
		}
		a.set("Cache-Control", "max-age=2723040, public", "ETag", tag, "Content-Type", "text/html; charset=utf-8")
		a.content(r, append([]byte("<p>"+path+"</p>"), Noise(5000, uint64(len(path)))...), time.Time{}, ranges{})
	case "random":
		a.set("Cache-Control", "no-cache, no-store, must-revalidate")
		a.redirect(http.StatusFound, "/wikipedia_fr/A/Paris")
	case "", "catalog", "search", "suggest":
		k.fleeting(a, http.StatusOK, path)
	default:
		k.fleeting(a, http.StatusNotFound, "Not Found")
	}
}

// fleeting is what is made for each request.
func (k *Kiwix) fleeting(a *answer, status int, title string) {
	a.set("Cache-Control", "no-cache, no-store, must-revalidate")
	a.html(status, title)
}

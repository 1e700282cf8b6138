package platformtest

import (
	"net/http"
	"time"
)

// Plain is a site that says of everything what RFC 9111 needs to be told.
type Plain struct{ *host }

// NewPlain makes one.
func NewPlain() *Plain {
	p := &Plain{newHost()}
	p.serve = p.answer
	for _, u := range known {
		p.secretly(credential("sid", u), credential("password", u))
	}
	return p
}

// Places implements Platform.
func (p *Plain) Places(string) []string {
	return []string{"/", "/style.css", "/film.mp4", "/me", "/me.json", "/varies", "/basket", "/members.pdf", "/never", "/style.css?v=1", "/any"}
}

// Ways implements Platform.
func (p *Plain) Ways(user string) []Way {
	return []Way{{}, byPassword(user), way("login", "Cookie", "sid="+credential("sid", user)), way("counter", "Cookie", "_ga=1")}
}

// Happenings implements Platform.
func (p *Plain) Happenings() []Happening { return nil }

func (p *Plain) answer(a *answer, r *http.Request) {
	user, by := basic(r), "basic"
	if user == "" {
		user, by = cookie(r, "sid", "sid"), "cookie"
	}
	own := func(cc string, fields ...string) {
		if user != "" {
			a.own(user, by)
		}
		a.set(fields...).set("Cache-Control", cc, "ETag", strong(r.URL.Path, user))
		a.content(r, Noise(300, 1), time.Time{}, ranges{})
	}
	switch r.URL.Path {
	case "/", "/style.css", "/film.mp4":
		a.set("Cache-Control", "max-age=60", "ETag", strong(r.URL.Path))
		a.content(r, Noise(30_000, uint64(len(r.URL.Path))), p.begun.Truncate(time.Second), ranges{})
	case "/me":
		own("private, max-age=60")
	case "/me.json":
		own("no-store")
	case "/basket":
		own("private, no-cache", "Set-Cookie", "basket="+p.session())
	case "/varies":
		own("max-age=60", "Vary", "Cookie, Authorization")
	case "/any":
		own("max-age=60", "Vary", "*")
	case "/members.pdf": // for who has a password: not public, so never stored (RFC 9111 section 3.5)
		if user = basic(r); user == "" {
			a.set("WWW-Authenticate", `Basic realm="members"`, "Cache-Control", "no-store")
			a.text(http.StatusUnauthorized, "text/plain", "401")
			return
		}
		by = "basic"
		own("max-age=60")
	default:
		a.set("Cache-Control", "no-store")
		a.text(http.StatusNotFound, "text/plain", "404")
	}
}

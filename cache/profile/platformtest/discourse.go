package platformtest

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Discourse is a Discourse behind the nginx rules it comes with, whose
// attachments only those who are logged in may have.
type Discourse struct{ *host }

// NewDiscourse makes one.
func NewDiscourse() *Discourse {
	d := &Discourse{newHost()}
	d.serve = d.answer
	for _, u := range known {
		d.secretly(credential("t", u), credential("key", u))
	}
	return d
}

// Places implements Platform.
func (d *Discourse) Places(user string) []string {
	return []string{
		"/assets/application-a1b2c3.js", "/plugins/discourse-x/icon.png", "/images/emoji/twitter/heart.png?v=12", "/stylesheets/desktop_1_abc.css", "/svg-sprite/forum/svg-1-a.js",
		"/uploads/default/original/1X/a1b2.png", "/uploads/default/optimized/1X/a1b2_2_690x400.png", "/uploads/default/original/1X/devoir.pdf", "/uploads/default/original/1X/never.png",
		"/uploads/short-url/abc123.png", "/uploads/short-url/doc456.pdf", "/secure-uploads/original/1X/private.png", "/secure-media-uploads/original/1X/private.png",
		"/user_avatar/forum/" + user + "/45/1_2.png", "/letter_avatar_proxy/v4/letter/a/1/45.png",
		"/", "/latest", "/t/sujet/1", "/t/sujet/1.json", "/latest.json", "/u/" + user + ".json", "/session/current.json", "/notifications.json", "/message-bus/abc/poll", "/posts.rss",
		"/raw/1", "/login", "/admin", "/robots.txt",
	}
}

// Ways implements Platform.
func (d *Discourse) Ways(user string) []Way {
	return []Way{
		{}, way("login", "Cookie", "_t="+credential("t", user)+"; _forum_session="+credential("session", user)), way("session only", "Cookie", "_forum_session="+credential("session", user)),
		way("user api key", "User-Api-Key", credential("key", user)), way("api key", "Api-Key", credential("key", user), "Api-Username", user),
		way("counter", "Cookie", "_ga=GA1.2"),
	}
}

// Happenings implements Platform.
func (d *Discourse) Happenings() []Happening { return nil }

func (d *Discourse) whose(r *http.Request) (user, by string) {
	if u := cookie(r, "_t", "t"); u != "" {
		return u, "cookie"
	}
	for _, name := range []string{"User-Api-Key", "Api-Key"} {
		if u := whose("key", r.Header.Get(name)); u != "" {
			return u, "header"
		}
	}
	return "", ""
}

func (d *Discourse) answer(a *answer, r *http.Request) {
	path := r.URL.Path
	user, by := d.whose(r)
	switch head, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); head {
	case "assets", "plugins", "images", "stylesheets", "svg-sprite", "letter_avatar_proxy":
		d.file(a, r, path)
	case "user_avatar":
		d.file(a, r, path) // the web server hides the cookie
	case "uploads":
		d.upload(a, r, path, user, by)
	case "secure-uploads", "secure-media-uploads":
		if user == "" {
			d.none(a)
			return
		}
		a.own(user, by)
		sign := short("secure", user, d.now().String())
		d.secretly(sign)
		a.set("Cache-Control", "private, max-age=290")
		a.redirect(http.StatusFound, "https://forum.s3.example.org/private.png?"+url.Values{"X-Amz-Expires": {"300"}, "X-Amz-Signature": {sign}}.Encode())
	case "message-bus":
		if user != "" {
			a.own(user, by)
		}
		a.set("Cache-Control", "must-revalidate, private, max-age=0", "Expires", "0")
		a.json(http.StatusOK, []string{})
	case "session", "notifications.json", "u", "admin":
		if user == "" {
			d.none(a)
			return
		}
		a.own(user, by)
		a.set("Cache-Control", "no-cache, no-store")
		a.json(http.StatusOK, map[string]string{"username": user})
	case "posts.rss", "robots.txt":
		a.set("Cache-Control", "max-age=0, private, must-revalidate", "ETag", weak(path))
		a.text(http.StatusOK, "application/rss+xml", "<rss/>")
	default:
		d.page(a, r, path, user, by)
	}
}

// file is sent by the web server: for a year, by date alone.
func (d *Discourse) file(a *answer, r *http.Request, path string) {
	a.set("Cache-Control", "public,immutable", "Content-Type", "image/png", "Expires", d.now().UTC().Add(365*24*time.Hour).Format(http.TimeFormat))
	a.Header().Add("Cache-Control", "max-age=31536000")
	a.content(r, Noise(2500, uint64(len(path))), d.begun.Add(-30*24*time.Hour).Truncate(time.Second), ranges{})
}

// upload answers for what users sent. An attachment says that it is public and
// never changes even where it is given to those who are logged in only.
func (d *Discourse) upload(a *answer, r *http.Request, path, user, by string) {
	attachment := strings.HasSuffix(path, ".pdf")
	switch {
	case strings.HasSuffix(path, "never.png"), attachment && user == "":
		d.none(a)
	case strings.Contains(path, "/short-url/"):
		if attachment {
			a.own(user, by)
			a.redirect(http.StatusFound, absolute(r, "/uploads/default/original/1X/devoir.pdf"))
			return
		}
		a.redirect(http.StatusFound, absolute(r, "/uploads/default/original/1X/a1b2.png"))
	default:
		if attachment {
			a.own(user, by)
		}
		d.file(a, r, path)
	}
}

// page is one that knows who reads it.
func (d *Discourse) page(a *answer, r *http.Request, path, user, by string) {
	if user != "" {
		a.own(user, by)
	}
	a.set("Cache-Control", "no-cache, no-store", "X-Discourse-Route", "topics/show", "Vary", "Accept")
	if r.Header.Get("Cookie") == "" {
		a.Header().Add("Set-Cookie", "_forum_session="+d.session()+"; path=/; secure; HttpOnly; SameSite=Lax")
	}
	if strings.HasSuffix(path, ".json") {
		a.json(http.StatusOK, map[string]string{"path": path})
		return
	}
	a.html(http.StatusOK, "Forum "+path)
}

func (d *Discourse) none(a *answer) {
	a.set("Cache-Control", "no-cache, no-store")
	a.html(http.StatusNotFound, "Oops! That page doesn't exist or is private.")
}

package platformtest

import (
	"net/http"
	"strings"
	"time"
)

// pollFor is how long a poll waits.
const pollFor = time.Second

// Jitsi is a Jitsi Meet.
type Jitsi struct {
	*host
	news chan struct{} // closed when there is something for who polls
}

// NewJitsi makes one.
func NewJitsi() *Jitsi {
	j := &Jitsi{host: newHost(), news: make(chan struct{})}
	j.serve = j.answer
	j.secretly(j.Room())
	for _, u := range known {
		j.secretly(credential("jwt", u))
	}
	return j
}

// Room is the name of a room, which people keep to themselves.
func (j *Jitsi) Room() string { return "Conseil" + short("room") }

// Speak answers all that poll.
func (j *Jitsi) Speak() {
	j.do(func() {
		close(j.news)
		j.news = make(chan struct{})
	})
}

// Places implements Platform.
func (j *Jitsi) Places(string) []string {
	return []string{
		"/", "/" + j.Room(), "/libs/app.bundle.min.js?v=8000", "/libs/app.bundle.min.js", "/css/all.css?v=8000", "/static/close.html", "/images/watermark.svg", "/fonts/jitsi.woff?v=1", "/lang/main-fr.json",
		"/sounds/ring.mp3", "/config.js", "/interface_config.js", "/external_api.js", "/_api/room-info?room=" + j.Room(), "/about/health", "/colibri-ws/default-id/a/b", "/http-bind?room=" + j.Room(),
		"/favicon.ico", "/manifest.json",
	}
}

// Ways implements Platform.
func (j *Jitsi) Ways(user string) []Way {
	jwt := way("token in the address")
	jwt.Query = "jwt=" + credential("jwt", user)
	return []Way{{}, jwt, way("bearer", "Authorization", "Bearer "+credential("token", user)), way("cookie", "Cookie", "jitsi="+credential("jwt", user)), way("counter", "Cookie", "_ga=1")}
}

// Happenings implements Platform.
func (j *Jitsi) Happenings() []Happening { return []Happening{{"somebody speaks", j.Speak}} }

func (j *Jitsi) whose(r *http.Request) (user, by string) {
	if u := bearer(r); u != "" {
		return u, "bearer"
	}
	if u := whose("jwt", r.URL.Query().Get("jwt")); u != "" {
		return u, "query"
	}
	return cookie(r, "jitsi", "jwt"), "cookie"
}

func (j *Jitsi) answer(a *answer, r *http.Request) {
	path := r.URL.Path
	modified := j.begun.Add(-10 * 24 * time.Hour).Truncate(time.Second)
	user, by := j.whose(r)
	switch head, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); head {
	case "libs", "css", "static", "images", "fonts", "lang", "sounds":
		a.set("Access-Control-Allow-Origin", "*", "ETag", strong(path), "Content-Type", "application/octet-stream")
		if r.URL.Query().Has("v") {
			a.set("Cache-Control", "max-age=31536000", "Expires", j.now().UTC().Add(365*24*time.Hour).Format(http.TimeFormat))
		}
		a.content(r, Noise(9000, uint64(len(path))), modified, ranges{})
	case "config.js", "interface_config.js", "external_api.js":
		a.set("ETag", strong(path), "Content-Type", "application/javascript")
		a.content(r, Noise(800, uint64(len(path))), modified, ranges{})
	case "http-bind":
		j.poll(a, r, user, by)
	case "xmpp-websocket", "colibri-ws", "colibri-relay-ws":
		upgrade(a, r)
	case "_api":
		if user != "" {
			a.own(user, by)
		}
		a.json(http.StatusOK, map[string]string{"room": r.URL.Query().Get("room")})
	default: // each path is a room
		if user != "" {
			a.own(user, by)
		}
		a.html(http.StatusOK, "Jitsi Meet")
	}
}

// poll answers when there is news, or after a while (XEP-0124).
func (j *Jitsi) poll(a *answer, r *http.Request, user, by string) {
	if user != "" {
		a.own(user, by)
	}
	a.set("Access-Control-Allow-Origin", "*")
	var news chan struct{}
	j.do(func() { news = j.news })
	if r.Method == http.MethodPost {
		wait := time.NewTimer(pollFor)
		defer wait.Stop()
		select {
		case <-news:
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	a.text(http.StatusOK, "text/xml; charset=utf-8", `<body xmlns="http://jabber.org/protocol/httpbind" sid="`+j.session()+`"/>`)
}

package platformtest

import (
	"net/http"
	"strings"
	"time"
)

// badDate is how previews write dates: not as HTTP has them.
const badDate = "Mon, 02 Jan 2006 15:04:05 +0000"

// preview sends a picture of a file of a share.
func (n *Nextcloud) preview(a *answer, r *http.Request, s *Share, name string) {
	if s.folder() && s.Files[strings.TrimPrefix(name, "/")] == nil {
		a.set("Cache-Control", noStore)
		a.json(http.StatusNotFound, []string{})
		return
	}
	age, seconds := 24*time.Hour, "86400"
	if s.Hidden {
		if r.Header.Get("X-Nc-Preview") == "" {
			a.set("Cache-Control", noStore)
			a.json(http.StatusForbidden, []string{})
			return
		}
		age, seconds = 15*time.Minute, "900"
	}
	a.set("Cache-Control", "private, max-age="+seconds+", must-revalidate", "ETag", strong("preview", s.Token, name, r.URL.RawQuery, s.Modified.String()),
		"Last-Modified", s.Modified.UTC().Format(badDate), "Expires", n.now().UTC().Add(age).Format(badDate), "Content-Type", "image/png")
	a.content(r, Noise(700, uint64(len(name))), time.Time{}, ranges{none: true, silent: true})
}

// pages answers what is no share.
func (n *Nextcloud) pages(a *answer, r *http.Request, se *session, path string) {
	switch {
	case path == "/status.php":
		a.json(http.StatusOK, map[string]any{"installed": true, "maintenance": false, "productname": "Nextcloud"})
	case strings.HasPrefix(path, "/apps/theming/"):
		a.set("Cache-Control", "private, max-age=86400, must-revalidate", "Expires", n.now().UTC().Add(24*time.Hour).Format(badDate))
		a.text(http.StatusOK, "text/css", ":root { --color-primary: #006aa3 }")
	case strings.HasPrefix(path, "/apps/files_sharing/publicpreview/"):
		n.publicPreview(a, r, se, strings.TrimPrefix(path, "/apps/files_sharing/publicpreview/"))
	case strings.HasPrefix(path, "/ocs/"):
		n.ocs(a, r, se)
	case path == "/login" || path == "/csrftoken":
		a.set("Cache-Control", noStore)
		if r.Method == http.MethodPost {
			n.login(a, r)
			return
		}
		a.html(http.StatusOK, "Login")
	case !se.in:
		a.set("Cache-Control", noStore)
		a.redirect(http.StatusSeeOther, absolute(r, "/index.php/login"))
	case strings.HasPrefix(path, "/avatar/"), path == "/core/preview":
		a.own(se.user, "cookie")
		a.set("Cache-Control", "private, max-age=86400, immutable", "ETag", strong(path, se.user), "Last-Modified", n.begun.UTC().Format(badDate), "Content-Type", "image/png")
		a.content(r, Noise(300, 5), time.Time{}, ranges{none: true, silent: true})
	default:
		a.own(se.user, "cookie")
		a.set("Cache-Control", noStore)
		a.html(http.StatusOK, "Files of "+se.user)
	}
}

// login takes a user's name as name and password alike.
func (n *Nextcloud) login(a *answer, r *http.Request) {
	user := r.URL.Query().Get("user")
	if whose("password", credential("password", user)) == "" {
		n.guessed(r)
		a.html(http.StatusOK, "Wrong login")
		return
	}
	name := n.session()
	n.do(func() { n.sessions[name] = &session{user: user, in: true} })
	a.Header().Add("Set-Cookie", sessionName+"="+name+"; path=/; HttpOnly; SameSite=Lax")
	a.redirect(http.StatusSeeOther, absolute(r, "/index.php/apps/files/"))
}

func (n *Nextcloud) publicPreview(a *answer, r *http.Request, se *session, token string) {
	if n.banned(a, r) {
		return
	}
	s := n.find(token)
	if s == nil {
		n.guessed(r)
		a.set("Cache-Control", noStore)
		a.json(http.StatusNotFound, []string{})
		return
	}
	who, by, ok := n.opened(r, se, s)
	if !ok {
		n.locked(a, r, s, "preview")
		return
	}
	if s.Password != "" {
		a.own(who, by)
	}
	n.preview(a, r, s, r.URL.Query().Get("file"))
}

func (n *Nextcloud) ocs(a *answer, r *http.Request, se *session) {
	user, by := se.user, "cookie"
	if !se.in {
		user, by = basic(r), "basic"
	}
	a.set("Cache-Control", noStore)
	if user == "" {
		a.json(http.StatusUnauthorized, map[string]any{"ocs": map[string]any{"meta": map[string]any{"status": "failure", "statuscode": 997}}})
		return
	}
	a.own(user, by)
	a.set("ETag", strong("ocs", user))
	a.json(http.StatusOK, map[string]any{"ocs": map[string]any{"data": map[string]string{"id": user}}})
}

// static answers what the web server sends by itself: without a cookie.
func (n *Nextcloud) static(a *answer, r *http.Request, path string) bool {
	i := strings.LastIndexByte(path, '.')
	if i < 0 || strings.Contains(path, ".php") || !strings.HasPrefix(path, "/core/") && !strings.HasPrefix(path, "/dist/") {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a.set("Allow", "GET, HEAD")
		http.Error(a, "405 Not Allowed", http.StatusMethodNotAllowed)
		return true
	}
	kinds := map[string]string{".js": "application/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".ttf": "font/ttf", ".woff2": "font/woff2"}
	kind, ok := kinds[path[i:]]
	if !ok {
		return false
	}
	a.set("Content-Type", kind, "ETag", strong(path))
	switch path[i:] {
	case ".ttf":
	case ".woff2":
		a.set("Cache-Control", "max-age=604800", "Expires", n.now().UTC().Add(7*24*time.Hour).Format(http.TimeFormat))
	default:
		cc := "public, max-age=15778463"
		if r.URL.Query().Has("v") {
			cc += ", immutable"
		}
		a.set("Cache-Control", cc)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			a.gzip(r, Noise(4000, uint64(len(path))))
			return true
		}
	}
	a.content(r, Noise(4000, uint64(len(path))), n.begun.Add(-200*24*time.Hour).Truncate(time.Second), ranges{})
	return true
}

package platformtest

import (
	"net/http"
	"strings"
	"time"
)

// WordPress is a WordPress behind nginx. Its pages say nothing of caching to
// those who are not logged in, and nothing of cookies to anybody.
type WordPress struct {
	*host
	revision int
	gone     bool
}

// NewWordPress makes one with posts, one of them with a password.
func NewWordPress() *WordPress {
	w := &WordPress{host: newHost()}
	w.serve = w.answer
	for _, u := range known {
		w.secretly(credential("in", u), credential("post", u), credential("comment", u))
	}
	return w
}

// Publish changes the blog: its pages and its feed are others afterwards.
func (w *WordPress) Publish() { w.do(func() { w.revision++ }) }

// Places implements Platform.
func (w *WordPress) Places(string) []string {
	return []string{
		"/", "/2026/11/sortie/", "/2026/11/secret/", "/2026/11/deleted/", "/?p=7", "/?s=mot", "/page/2/", "/category/classe/", "/feed/", "/comments/feed/", "/sortie/?preview=true", "/?customize_changeset_uuid=a",
		"/wp-content/uploads/2026/11/photo.jpg", "/wp-content/uploads/2026/11/film.mp4", "/wp-content/themes/x/style.css?ver=6.1", "/wp-includes/js/jquery.js?ver=3", "/wp-includes/js/jquery.js",
		"/wp-json/wp/v2/posts", "/wp-json/wp/v2/users/me?_wpnonce=abc", "/wp-login.php", "/wp-admin/", "/wp-admin/admin-ajax.php?action=me", "/xmlrpc.php", "/wp-cron.php", "/never/", "/robots.txt", "/wp-comments-post.php",
	}
}

// Ways implements Platform.
func (w *WordPress) Ways(user string) []Way {
	const site = "0123456789abcdef0123456789abcdef"
	in := "wordpress_logged_in_" + site + "=" + credential("in", user)
	return []Way{
		{}, way("login", "Cookie", "wordpress_test_cookie=WP%20Cookie%20check; "+in), way("post password", "Cookie", "wp-postpass_"+site+"="+credential("post", user)),
		way("commenter", "Cookie", "comment_author_"+site+"="+credential("comment", user)+"; comment_author_email_"+site+"=a%40example.org"),
		byPassword(user), way("nonce", "X-WP-Nonce", "abc", "Cookie", in), way("counter", "Cookie", "_ga=GA1.2; _pk_id.1=2"), way("tested", "Cookie", "wordpress_test_cookie=WP%20Cookie%20check"),
		way("unknown", "Cookie", "shop_"+site+"="+credential("comment", user)),
	}
}

// Happenings implements Platform.
func (w *WordPress) Happenings() []Happening {
	return []Happening{{"published", w.Publish}, {"post gone", func() { w.do(func() { w.gone = true }) }}, {"post back", func() { w.do(func() { w.gone = false }) }}}
}

// whose finds who asks, by cookies whose names end in a hash of the site.
func (w *WordPress) whose(r *http.Request) (user, kind, by string) {
	for _, c := range r.Cookies() {
		for prefix, kind := range map[string]string{"wordpress_logged_in_": "in", "wp-postpass_": "post", "comment_author_": "comment", "shop_": "comment"} {
			if u := whose(kind, c.Value); u != "" && strings.HasPrefix(c.Name, prefix) {
				return u, kind, "cookie"
			}
		}
	}
	if u := basic(r); u != "" {
		return u, "in", "basic"
	}
	return "", "", ""
}

func (w *WordPress) answer(a *answer, r *http.Request) {
	path := r.URL.Path
	user, kind, by := w.whose(r)
	var revision string
	var gone bool
	w.do(func() { revision, gone = strings.Repeat("+", w.revision), w.gone })
	switch {
	case strings.HasPrefix(path, "/wp-content/") || strings.HasPrefix(path, "/wp-includes/"):
		a.set("Cache-Control", "max-age=315360000", "Expires", "Thu, 31 Dec 2037 23:55:55 GMT", "ETag", strong(path), "Content-Type", "image/jpeg")
		a.content(r, Noise(6000, uint64(len(path))), w.begun.Add(-20*24*time.Hour).Truncate(time.Second), ranges{})
	case path == "/wp-comments-post.php":
		if r.Method != http.MethodPost {
			a.set("Allow", "POST")
			a.text(http.StatusMethodNotAllowed, "text/plain", "")
			return
		}
		a.Header().Add("Set-Cookie", "comment_author_0123456789abcdef0123456789abcdef="+w.session()+"; path=/")
		a.redirect(http.StatusFound, absolute(r, "/2026/11/sortie/#comment-2"))
	case strings.HasPrefix(path, "/wp-admin"), path == "/wp-login.php", path == "/xmlrpc.php", path == "/wp-cron.php":
		a.set("Cache-Control", "no-cache, must-revalidate, max-age=0", "Expires", "Wed, 11 Jan 1984 05:00:00 GMT")
		if strings.HasPrefix(path, "/wp-admin") && kind != "in" {
			a.redirect(http.StatusFound, absolute(r, "/wp-login.php?reauth=1"))
			return
		}
		if user != "" {
			a.own(user, by)
		}
		a.html(http.StatusOK, "WordPress")
	case strings.HasPrefix(path, "/wp-json/"):
		w.rest(a, path, user, kind, by)
	case strings.HasSuffix(path, "/feed/"):
		tag := strong("feed", revision)
		a.set("ETag", tag, "Last-Modified", w.begun.UTC().Format(http.TimeFormat))
		if r.Header.Get("If-None-Match") == tag {
			a.WriteHeader(http.StatusNotModified)
			return
		}
		a.text(http.StatusOK, "application/rss+xml; charset=UTF-8", "<rss>"+revision+"</rss>")
	case path == "/never/", gone && path == "/2026/11/deleted/":
		a.set("Cache-Control", "no-cache, must-revalidate, max-age=0", "Expires", "Wed, 11 Jan 1984 05:00:00 GMT")
		a.html(http.StatusNotFound, "Page not found")
	default:
		w.page(a, path, revision, user, kind, by)
	}
}

// page is a post or a list of posts. Without a cookie it says nothing of
// caching; with one it is another page, and says that it is not to be stored
// only to those who are logged in.
func (w *WordPress) page(a *answer, path, revision, user, kind, by string) {
	switch {
	case kind == "in":
		a.own(user, by)
		a.set("Cache-Control", "no-cache, must-revalidate, max-age=0", "Expires", "Wed, 11 Jan 1984 05:00:00 GMT")
	case kind == "post" && strings.Contains(path, "secret"), kind == "comment":
		a.own(user, by)
	}
	a.set("Link", `</wp-json/>; rel="https://api.w.org/"`)
	a.html(http.StatusOK, "Blog "+path+revision)
}

func (w *WordPress) rest(a *answer, path, user, kind, by string) {
	a.set("Vary", "Origin", "X-Robots-Tag", "noindex")
	if strings.HasSuffix(path, "/me") && kind != "in" {
		a.json(http.StatusUnauthorized, map[string]string{"code": "rest_not_logged_in"})
		return
	}
	if kind == "in" {
		a.own(user, by)
		a.set("Cache-Control", "no-cache, must-revalidate, max-age=0")
	}
	a.json(http.StatusOK, map[string]string{"path": path})
}

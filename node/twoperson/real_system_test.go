//go:build system

package twoperson_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/profile"
	"preau/cache/profile/platformtest"
	"preau/node/platforms"
)

// realFor is how long pairs of persons meet at a real platform, and realPairs
// how many do at least. With PREAU_LONG=1 it is each profile's 10,000, and the
// time that they take.
const (
	realFor   = 20 * time.Second
	realPairs = 100
	inOne     = 25 // pairs in one world
)

// realWaits are pauses where time is everybody's.
var realWaits = []time.Duration{time.Millisecond, 10 * time.Millisecond, 1100 * time.Millisecond}

// real is a platform that runs beside this process. It implements
// platformtest.Platform.
type real struct {
	t          *testing.T
	to         *url.URL
	rt         *http.Transport
	session    string // the cookie of a session
	places     func(user string) []string
	ways       func(user string) []platformtest.Way
	happenings []platformtest.Happening
	secret     []string
	opened     []string // what a class opens, which is there with the line cut
	restore    func()   // undoes what happenings have done
	dated      []string // pages on which people then see that they are old
}

func newReal(t *testing.T, address string) *real {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := &real{t: t, to: to, rt: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 4}}
	t.Cleanup(p.rt.CloseIdleConnections)
	return p
}

// Address is where it is.
func (p *real) Address() *url.URL { return p.to }

// SessionCookie names the cookie of a session, which no two may have.
func (p *real) SessionCookie() string { return p.session }

// ServeHTTP asks the platform.
func (p *real) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host, out.Host = "", p.to.Scheme, p.to.Host, p.to.Host
	if out.Header.Get("User-Agent") == "" {
		out.Header["User-Agent"] = nil
	}
	resp, err := p.rt.RoundTrip(out)
	if err != nil {
		if r.Context().Err() == nil {
			p.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding"} {
		resp.Header.Del(name)
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil && r.Context().Err() == nil && resp.StatusCode != http.StatusNotModified {
		p.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
}

// Places implements platformtest.Platform.
func (p *real) Places(user string) []string { return p.places(user) }

// Ways implements platformtest.Platform.
func (p *real) Ways(user string) []platformtest.Way { return p.ways(user) }

// Happenings implements platformtest.Platform.
func (p *real) Happenings() []platformtest.Happening { return p.happenings }

// Secrets implements platformtest.Platform: what is in cookies, and what else
// opens something.
func (p *real) Secrets() []string {
	secrets := p.secret
	for _, user := range persons[:2] {
		for _, way := range p.ways(user) {
			for c := range strings.SplitSeq(way.Header.Get("Cookie"), "; ") {
				if _, value, _ := strings.Cut(c, "="); len(value) >= 16 {
					secrets = append(secrets, value)
				}
			}
		}
	}
	return secrets
}

// Requests implements platformtest.Platform.
func (*real) Requests() []platformtest.Entry { return nil }

// SetClock implements platformtest.Platform: it has its own.
func (*real) SetClock(func() time.Time) {}

func way(name string, fields ...string) platformtest.Way {
	w := platformtest.Way{Name: name, Header: http.Header{}}
	for i := 0; i < len(fields); i += 2 {
		w.Header.Add(fields[i], fields[i+1])
	}
	return w
}

// startWordPress starts a WordPress with what two persons do there.
func startWordPress(t *testing.T) *real {
	t.Helper()
	dir, err := os.MkdirTemp("", "preau-") //nolint:usetesting // t.TempDir's is too long for the database's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w, err := platforms.StartWordPress(t.Context(), dir, platformtest.Marker)
	if err != nil {
		t.Fatal(err)
	}
	stopped(t, w.Stop)
	p := newReal(t, w.URL)
	p.dated, p.opened = []string{"/", w.Post, w.Page}, []string{w.Media, "/wp-content/themes/twentytwentyone/style.css?ver=1.7", "/feed/"}
	ways := map[string][]platformtest.Way{}
	for _, user := range persons[:2] {
		in := w.Cookies(user)
		open, err := w.Unlock(t.Context(), w.Passwords[user])
		if err != nil {
			t.Fatal(err)
		}
		known, _, err := w.Comment(t.Context(), platformtest.Marker(user), "Bravo", true)
		if err != nil {
			t.Fatal(err)
		}
		_, link, err := w.Comment(t.Context(), platformtest.Marker(user), "Encore bravo", false)
		if err != nil {
			t.Fatal(err)
		}
		_, hash, _ := strings.Cut(link, "?")
		hash, _, _ = strings.Cut(hash, "#")
		nonce, err := w.Nonce(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		link2 := way("the link to an own comment")
		link2.Query = hash
		byQuery := way("a nonce in the query", "Cookie", in)
		byQuery.Query = "_wpnonce=" + nonce
		ways[user] = []platformtest.Way{
			{}, way("logged in", "Cookie", "wordpress_test_cookie=WP%20Cookie%20check; "+in), way("a post's password", "Cookie", open), way("commenter", "Cookie", known), link2,
			way("nonce", "X-WP-Nonce", nonce, "Cookie", in), byQuery, way("password", "Authorization", "Basic YW5uOmFubg=="),
			way("counter", "Cookie", "_ga=GA1.2; _pk_id.1=2"), way("all", "Cookie", in+"; "+open+"; "+known),
		}
		p.secret = append(p.secret, w.Passwords[user])
	}
	p.ways = func(user string) []platformtest.Way { return ways[user] }
	p.places = func(user string) []string {
		return []string{
			"/", w.Post, w.Post, w.Page, w.Protected[platformtest.Ann], w.Protected[platformtest.Bob], w.Private[user], w.Drafts[user], fmt.Sprintf("/?p=%d", w.PostID),
			w.Post + "?replytocom=1", "/page/2/", "/?s=classe", "/category/uncategorized/", "/feed/", "/comments/feed/", w.Post + "feed/", "/never/", "/robots.txt",
			w.Media, "/wp-content/themes/twentytwentyone/style.css?ver=1.7", "/wp-includes/js/comment-reply.min.js?ver=6.1", "/wp-includes/js/comment-reply.min.js",
			"/wp-json/", "/wp-json/wp/v2/posts", "/wp-json/wp/v2/users/me", "/?rest_route=/wp/v2/users/me", "/wp-json/wp/v2/posts?status=draft", "/wp-json/wp/v2/comments?status=hold",
			"/wp-login.php", "/wp-admin/", "/wp-admin/profile.php", "/wp-admin/admin-ajax.php?action=rest-nonce", "/wp-comments-post.php", "/xmlrpc.php", "/wp-sitemap.xml",
		}
	}
	edit := func(name string, fields func() map[string]any) platformtest.Happening {
		return platformtest.Happening{Name: name, Do: func() {
			if err := w.Edit(context.WithoutCancel(t.Context()), fields()); err != nil {
				t.Error(err)
			}
		}}
	}
	p.happenings = []platformtest.Happening{
		edit("edited", func() map[string]any { return map[string]any{"content": "<p>" + time.Now().String() + "</p>"} }),
		edit("taken back", func() map[string]any { return map[string]any{"status": "draft"} }),
		edit("published", func() map[string]any { return map[string]any{"status": "publish"} }),
	}
	p.restore = p.happenings[2].Do
	return p
}

// startEtherpad starts an Etherpad with what two persons do there.
func startEtherpad(t *testing.T) *real {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	e, err := platforms.StartEtherpad(t.Context(), t.TempDir(), filepath.Join(cache, "preau-tests"), 0, platformtest.Marker)
	if err != nil {
		t.Fatal(err)
	}
	stopped(t, e.Stop)
	p := newReal(t, e.URL)
	p.session = "express_sid"
	p.opened = []string{"/p/" + e.ReadOnly[platformtest.Ann] + "/export/txt", "/p/" + e.Pads[platformtest.Ann] + "/1/export/txt", "/static/css/pad.css"}
	p.ways = func(user string) []platformtest.Way {
		return []platformtest.Way{
			{}, way("member", "Cookie", e.Sessions[user]), way("author", "Cookie", "token=t.0123456789abcdef"+user), way("member and author", "Cookie", "token=t.0123456789abcdef"+user+"; "+e.Sessions[user]),
			way("session", "Cookie", "express_sid=s%3A0123456789abcdef"+user+".sum"), way("prefs", "Cookie", "prefsHttp=%7B%7D"), way("password", "Authorization", "Basic YW5uOmFubg=="),
		}
	}
	p.places = func(user string) []string {
		out := []string{
			"/", "/static/css/pad.css", "/static/js/vendors/jquery.js", "/static/js/pad.js", "/locales.json", "/locales/fr.json", "/favicon.ico", "/stats", "/api", "/javascripts/lib/ep_etherpad-lite/static/js/pad.js?callback=require.define",
			"/socket.io/?EIO=3&transport=polling", "/admin", "/pluginfw/plugin-definitions.json", "/p/", "/robots.txt",
		}
		for _, pad := range []string{e.Pads[user], e.ReadOnly[user], e.Groups[user], strings.ReplaceAll(e.Groups[user], "$", "%24"), "never-there"} {
			at := "/p/" + pad
			out = append(out, at, at+"/timeslider", at+"/export/txt", at+"/export/html", at+"/export/etherpad", at+"/0/export/txt", at+"/1/export/html", at+"/99/export/txt")
		}
		return out
	}
	p.happenings = []platformtest.Happening{{Name: "written", Do: func() {
		for _, user := range persons[:2] {
			if err := e.Write(context.WithoutCancel(t.Context()), user, time.Now().String()); err != nil {
				t.Error(err)
			}
		}
	}}}
	for _, user := range persons[:2] {
		p.secret = append(p.secret, e.Pads[user], e.ReadOnly[user], strings.TrimSuffix(e.Groups[user], "$notes"))
	}
	return p
}

func stopped(t *testing.T, stop func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestNobodyGetsWhatIsAnothersAtARealPlatform: the test of two persons, where
// the platform is none of ours.
func TestNobodyGetsWhatIsAnothersAtARealPlatform(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T) *real{"wordpress": startWordPress, "etherpad": startEtherpad} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := begin(t)
			own := spots(p)
			if len(own[0]) == 0 || len(own[1]) == 0 {
				t.Fatal("nothing there is anybody's own, so that nothing can be tried")
			}
			t.Logf("%d and %d places where the answer is somebody's own", len(own[0]), len(own[1]))
			pair := rapid.Custom(func(rt *rapid.T) []step { return drawPair(rt, own) })
			total, began := map[string]int{}, time.Now()
			long := os.Getenv("PREAU_LONG") != ""
			for seed := 0; ; seed++ {
				if n := total["pairs"]; long && n >= 10_000 || !long && n >= realPairs && time.Since(began) > realFor {
					break
				}
				var story []step
				for i := range inOne {
					story = append(story, pair.Example(seed*1000+i)...)
				}
				// In every other world nothing stays fresh for long.
				adjust := profile.Adjust{FreshMax: time.Duration(seed%2) * time.Second}
				s := playReal(t, name, p, adjust, story)
				total["pairs"] += inOne
				for what, n := range s.counts {
					total[what] += n
				}
				if len(s.wrong) > 0 {
					tail := s.told[max(0, len(s.told)-60):]
					t.Fatalf("seed %d: %s\n\nthe last of what happened:\n%s", seed, strings.Join(s.wrong, "\n"), strings.Join(tail, "\n"))
				}
			}
			t.Logf("%v in %v", total, time.Since(began).Round(time.Second))
			for _, what := range []string{"hits", "own", "offline"} {
				if total[what] == 0 {
					t.Errorf("%s: none, so nothing was tried", what)
				}
			}
			offlineAt(t, name, p)
		})
	}
}

// playReal tells one story at a real platform.
func playReal(t *testing.T, name string, p *real, adjust profile.Adjust, story []step) *teller {
	t.Helper()
	dir, err := os.MkdirTemp(memory(t), "twoperson-") //nolint:usetesting // in memory, and removed with each world
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	w, err := newWorld(dir, name, p, adjust)
	if err != nil {
		t.Fatal(err)
	}
	s := newTeller(w)
	s.settle, s.waits = func() {}, realWaits
	s.whole(story)
	return s
}

// offlineAt opens what a class opens at a real platform, cuts the line, and opens
// it again.
func offlineAt(t *testing.T, name string, p *real) {
	t.Helper()
	if p.restore != nil {
		p.restore()
	}
	for _, paths := range []struct {
		all   []string
		dated bool
	}{{p.opened, false}, {p.dated, true}} {
		if len(paths.all) == 0 {
			continue
		}
		w, err := newWorld(t.TempDir(), name, p, profile.Adjust{FreshMax: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		offline(t, w, paths.all, paths.dated, 2500*time.Millisecond)
		if found, err := w.search(); err != nil || len(found) > 0 {
			t.Errorf("%v %v", found, err)
		}
	}
}

// TestARealBookIsThereWithTheLineCut: kiwix-serve knows no persons, and what was
// read of its books stays.
func TestARealBookIsThereWithTheLineCut(t *testing.T) {
	t.Parallel()
	k, err := platforms.StartKiwix(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stopped(t, k.Stop)
	p := newReal(t, k.URL)
	p.ways = func(string) []platformtest.Way { return nil }
	for _, page := range append(k.Pages, "index.html") {
		p.opened = append(p.opened, k.Book+"/"+page)
	}
	offlineAt(t, "kiwix", p)
}

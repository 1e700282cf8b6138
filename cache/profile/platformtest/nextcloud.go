package platformtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bruteForceAfter is how many wrong guesses an address has before it is sent
// away, for bruteForceFor.
const (
	bruteForceAfter = 10
	bruteForceFor   = 30 * time.Minute
)

// noStore is what Nextcloud says of its pages.
const noStore = "no-cache, no-store, must-revalidate"

// Nextcloud is a Nextcloud behind the nginx rules that it recommends. Version 29
// and those from 31 on differ in how shares are downloaded.
type Nextcloud struct {
	*host
	version     int
	shares      map[string]*Share
	deleted     map[string]*Share
	sessions    map[string]*session
	wrong       map[string][]time.Time // by address
	maintenance bool
	guesses     int
	zips        int
}

// session is what a session cookie stands for.
type session struct {
	user string          // who is logged in, or had entered passwords
	in   bool            // logged in
	open map[string]bool // shares whose password was entered; nil for all
}

// NewNextcloud makes one with a file share, a folder share, one with a
// password, one that hides downloads, one that bounds them and one that expires
// after an hour.
func NewNextcloud(version int) *Nextcloud {
	n := &Nextcloud{
		host: newHost(), version: version, shares: map[string]*Share{}, deleted: map[string]*Share{},
		sessions: map[string]*session{}, wrong: map[string][]time.Time{}, guesses: bruteForceAfter,
	}
	n.serve = n.answer
	for _, u := range known {
		n.sessions[credential("login", u)] = &session{user: u, in: true}
		n.sessions[credential("guest", u)] = &session{user: u}
		n.secretly(credential("login", u), credential("guest", u), credential("password", u))
	}
	n.Share(Share{Token: n.token("file"), Name: "cours.pdf", Data: Noise(20_000, 1)})
	n.Share(Share{Token: n.token("folder"), Name: "classe", Files: map[string][]byte{
		"a.txt": Noise(900, 2), "é à.txt": Noise(1200, 3), "film.mp4": Noise(60_000, 4), "sub/b.txt": Noise(50, 5), "sub/deep/c.txt": Noise(60, 6),
	}})
	n.Share(Share{Token: n.token("locked"), Name: "notes", Password: "motdepasse-" + short("locked"), Files: map[string][]byte{"notes.ods": Noise(3000, 7)}})
	n.Share(Share{Token: n.token("hidden"), Name: "lire.pdf", Data: Noise(5000, 8), Hidden: true})
	n.Share(Share{Token: n.token("counted"), Name: "une.pdf", Data: Noise(4000, 9), Limit: 1000})
	n.Share(Share{Token: n.token("brief"), Name: "demain.pdf", Data: Noise(3000, 10), Expires: n.now().Add(time.Hour)})
	return n
}

// token is what the link of one of the first shares has.
func (n *Nextcloud) token(name string) string { return "Tk" + short("share", name)[:13] }

// Token returns the token of one of the shares that are there from the
// beginning: file, folder, locked, hidden, counted, brief.
func (n *Nextcloud) Token(name string) string { return n.token(name) }

// SetMaintenance puts it into maintenance, or takes it out.
func (n *Nextcloud) SetMaintenance(on bool) { n.do(func() { n.maintenance = on }) }

// Maintenance reports whether it is in maintenance.
func (n *Nextcloud) Maintenance() (on bool) {
	n.do(func() { on = n.maintenance })
	return on
}

// SetGuesses says after how many wrong tokens an address is sent away; 0 for
// never.
func (n *Nextcloud) SetGuesses(most int) { n.do(func() { n.guesses = most }) }

// Zips is how often it had to make a zip file, which a cache should spare it.
func (n *Nextcloud) Zips() (count int) {
	n.do(func() { count = n.zips })
	return count
}

// answer answers a request as the router of Nextcloud does.
func (n *Nextcloud) answer(a *answer, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/index.php")
	if path == "" {
		path = "/"
	}
	if n.static(a, r, path) {
		return
	}
	script := strings.HasPrefix(path, "/public.php") || strings.HasPrefix(path, "/remote.php") || path == "/status.php" || strings.HasPrefix(path, "/ocs")
	s := n.begin(a, r)
	if s == nil && script { // a session cookie without those that tell where the request comes from
		http.Error(a, "Strict Cookie has not been found in request", http.StatusPreconditionFailed)
		return
	}
	if s == nil {
		s = &session{open: map[string]bool{}}
	}
	switch head, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); head {
	case "public.php":
		n.public(a, r, s, rest)
	case "remote.php":
		n.remote(a, r, s, rest)
	default:
		if n.down(a) {
			return
		}
		switch head {
		case "s":
			n.sharePages(a, r, s, rest)
		default:
			n.pages(a, r, s, path)
		}
	}
}

// sessionName is what the instance calls its session cookie.
const sessionName = "ocx7k2v9q1mz"

// begin finds the session, or begins one and says so with four cookies. It
// returns nil where a session's cookie came without the strict one: only those
// requests are refused that bear a session.
func (n *Nextcloud) begin(a *answer, r *http.Request) *session {
	c, err := r.Cookie(sessionName)
	if err == nil {
		var s *session
		n.do(func() { s = n.sessions[c.Value] })
		if s != nil {
			strict, err := r.Cookie("nc_sameSiteCookiestrict")
			if (err != nil || strict.Value != "true") && r.Header.Get("OCS-APIREQUEST") == "" {
				return nil
			}
			return s
		}
	}
	s, name := &session{open: map[string]bool{}}, n.session()
	n.do(func() { n.sessions[name] = s })
	a.Header()["Set-Cookie"] = []string{
		sessionName + "=" + name + "; path=/; HttpOnly; SameSite=Lax",
		"oc_sessionPassphrase=" + short(name, "passphrase") + "; path=/; HttpOnly; SameSite=Lax",
		"nc_sameSiteCookielax=true; path=/; httponly;expires=Fri, 31-Dec-2100 23:59:59 GMT; SameSite=lax",
		"nc_sameSiteCookiestrict=true; path=/; httponly;expires=Fri, 31-Dec-2100 23:59:59 GMT; SameSite=strict",
	}
	return s
}

// down answers pages in maintenance.
func (n *Nextcloud) down(a *answer) (down bool) {
	if n.do(func() { down = n.maintenance }); down {
		a.set("X-Nextcloud-Maintenance-Mode", "1", "Retry-After", "120", "Cache-Control", noStore)
		a.html(http.StatusServiceUnavailable, "Maintenance mode")
	}
	return down
}

// guessed counts a wrong token or password against an address.
func (n *Nextcloud) guessed(r *http.Request) {
	n.do(func() { n.wrong[address(r)] = append(n.wrong[address(r)], n.clock()) })
}

// banned answers addresses that guessed too often.
func (n *Nextcloud) banned(a *answer, r *http.Request) (banned bool) {
	n.do(func() {
		since := n.clock().Add(-bruteForceFor)
		kept := slices.DeleteFunc(n.wrong[address(r)], func(t time.Time) bool { return t.Before(since) })
		n.wrong[address(r)] = kept
		banned = n.guesses > 0 && len(kept) >= n.guesses
	})
	if banned {
		a.set("Cache-Control", noStore)
		a.html(http.StatusTooManyRequests, "Too many requests")
	}
	return banned
}

// absolute is an address of this server as its links have it.
func absolute(r *http.Request, target string) string { return fmt.Sprint("http://", r.Host, target) }

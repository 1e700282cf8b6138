package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/upstream"
)

// cloud behaves as a Nextcloud does towards whoever has a public link.
type cloud struct {
	mu       sync.Mutex
	files    map[string][]byte // by path in the share TOKEN; "" makes it a file share
	gone     bool
	password bool
	hidden   bool
	down     bool // maintenance
	old      bool // no public DAV yet
	version  int
}

const token = "TOKEN"

func (c *cloud) set(change func(*cloud)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := w.Header()
	session := strings.Contains(r.Header.Get("Cookie"), "session=")
	if !session {
		for _, name := range []string{"oc1234", "oc_sessionPassphrase", "nc_sameSiteCookielax", "nc_sameSiteCookiestrict"} {
			h.Add("Set-Cookie", fmt.Sprintf("%s=%d; path=/; HttpOnly", name, time.Now().UnixNano()))
		}
	}
	dav := "/public.php/dav/files/" + token
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/remote.php/"):
		if !session {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.Set("ETag", `"private"`)
		h.Set("Last-Modified", time.Now().Add(-1000*time.Hour).UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, "private file of "+r.Header.Get("Cookie"))
	case path == "/s/"+token || path == "/index.php/s/"+token:
		c.page(w, session)
	case path == "/s/"+token+"/download" || path == "/s/"+token+"/download/file.bin":
		h.Set("Cache-Control", "must-revalidate, post-check=0, pre-check=0")
		h.Set("Expires", "0")
		switch {
		case c.gone:
			h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
			w.WriteHeader(http.StatusNotFound)
		case c.password && !session:
			h.Set("Location", "/s/"+token+"/authenticate/showShare")
			w.WriteHeader(http.StatusSeeOther)
		case c.files[""] == nil: // a folder, as an archive that is made on the fly
			h.Set("Pragma", "public")
			h.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			_, _ = io.WriteString(w, "the platform's own archive")
			w.(http.Flusher).Flush()
		default:
			h.Set("Content-Disposition", `attachment; filename="file.bin"`)
			h.Set("Content-Length", fmt.Sprint(len(c.files[""])))
			_, _ = w.Write(c.files[""])
		}
	case path == dav || strings.HasPrefix(path, dav+"/"):
		c.dav(w, r, strings.Trim(strings.TrimPrefix(path, dav), "/"), session)
	default:
		h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
		w.WriteHeader(http.StatusNotFound)
	}
}

func (c *cloud) page(w http.ResponseWriter, session bool) {
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	switch {
	case c.gone:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "the platform's own page about nothing")
	case c.password && !session:
		w.Header().Set("Location", "/s/"+token+"/authenticate/showShare")
		w.WriteHeader(http.StatusSeeOther)
	default:
		_, _ = fmt.Fprintf(w, `<input type="hidden" name="sharingToken" value="%s" id="sharingToken">`+
			`<input type="hidden" name="hideDownload" value="%v" id="hideDownload">`, token, c.hidden)
	}
}

func sabre(w http.ResponseWriter, status int, exception, message string) {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?>
<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">
  <s:exception>%s</s:exception>
  <s:message>%s</s:message>
</d:error>`, exception, message)
}

func (c *cloud) dav(w http.ResponseWriter, r *http.Request, name string, session bool) {
	data, ok := c.files[name]
	switch {
	case c.old:
		w.WriteHeader(http.StatusNotFound)
	case c.down:
		sabre(w, http.StatusServiceUnavailable, `OCA\DAV\Exception\ServerMaintenanceMode`, "down")
	case c.gone:
		sabre(w, http.StatusServiceUnavailable, `Sabre\DAV\Exception\ServiceUnavailable`, `Sabre\DAV\Exception\NotFound: `)
	case c.password && !session:
		sabre(w, http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "")
	case r.Method == "PROPFIND":
		c.list(w, r, name)
	case r.Method != http.MethodGet && r.Header.Get("X-Requested-With") == "":
		sabre(w, http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "")
	case !ok:
		sabre(w, http.StatusNotFound, `Sabre\DAV\Exception\NotFound`, "")
	default:
		w.Header().Set("ETag", fmt.Sprintf(`"%s-%d"`, strings.ReplaceAll(name, " ", "_"), c.version))
		w.Header().Set("Content-Disposition", `attachment; filename="file.bin"`)
		http.ServeContent(w, r, "file.bin", time.Unix(1_700_000_000, 0), bytes.NewReader(data))
	}
}

// list answers PROPFIND as SabreDAV does.
func (c *cloud) list(w http.ResponseWriter, r *http.Request, folder string) {
	if r.Header.Get("X-Requested-With") != "XMLHttpRequest" {
		sabre(w, http.StatusUnauthorized, `Sabre\DAV\Exception\NotAuthenticated`, "")
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(http.StatusMultiStatus)
	root := "/public.php/dav/files/" + token + "/"
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns" xmlns:oc="http://owncloud.org/ns">`)
	entry := func(name string, data []byte, isFolder bool) {
		kind, length := "<d:resourcetype/>", fmt.Sprintf("<d:getcontentlength>%d</d:getcontentlength>", len(data))
		if isFolder {
			kind, length = "<d:resourcetype><d:collection/></d:resourcetype>", ""
			if name != "" {
				name += "/"
			}
		}
		fmt.Fprintf(&b, `<d:response><d:href>%s%s</d:href><d:propstat><d:prop><d:getlastmodified>Tue, 14 Nov 2023 22:13:20 GMT</d:getlastmodified>%s`+
			`<d:getetag>&quot;%s-%d&quot;</d:getetag>%s</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`,
			root, strings.ReplaceAll(name, " ", "%20"), length, strings.ReplaceAll(strings.TrimSuffix(name, "/"), " ", "_"), c.version, kind)
	}
	if data, ok := c.files[folder]; ok {
		entry(folder, data, false)
	} else {
		entry(folder, nil, true)
		seen := map[string]bool{}
		for name, data := range c.files {
			rest, below := strings.CutPrefix(name, folder)
			rest = strings.TrimPrefix(rest, "/")
			if !below || rest == "" {
				continue
			}
			if sub, _, deeper := strings.Cut(rest, "/"); deeper {
				if path := strings.TrimPrefix(folder+"/"+sub, "/"); !seen[path] {
					seen[path] = true
					entry(path, nil, true)
				}
				continue
			}
			entry(name, data, false)
		}
	}
	b.WriteString(`</d:multistatus>`)
	_, _ = io.WriteString(w, b.String())
}

// newCloud starts an edge with Nextcloud's profile in front of a cloud.
func newCloud(t *testing.T, files map[string][]byte) (*world, *cloud) {
	t.Helper()
	p, err := profile.New("nextcloud", profile.Adjust{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Profile = p })
	c := &cloud{files: files, version: 1}
	w.answer(c.ServeHTTP)
	return w, c
}

// written is a profile of which a test writes the rules down itself.
type written struct {
	request  func(profile.Request) profile.Plan
	response func(profile.Plan, profile.Response) profile.Ruling
}

func (p written) Request(r profile.Request) profile.Plan { return p.request(r) }

func (p written) Response(_ profile.Request, plan profile.Plan, r profile.Response) profile.Ruling {
	return p.response(plan, r)
}
func (written) Reads(status int, _ http.Header) int {
	if status >= 400 {
		return 1000
	}
	return 0
}

func (written) Rules(base rfc9111.Rules, _ http.Header) rfc9111.Rules {
	base.Targeted = append([]string{profile.Field}, base.Targeted...)
	return base
}

func (written) Probed(plan profile.Plan, _ int, _ http.Header, _ []byte) profile.Ruling {
	return profile.Ruling{Rule: plan.Rule}
}

// keeping is a ruling that keeps an answer for that long.
func keeping(r profile.Response, field string) profile.Ruling {
	h := r.Header.Clone()
	h.Set(profile.Field, field)
	return profile.Ruling{Header: h}
}

// itself shares what is asked for.
func itself(r profile.Request) profile.Plan {
	return profile.Plan{Do: profile.Share, Rule: profile.Rule{Name: "itself"}, Targets: []profile.Target{{Path: r.Path, Query: r.Query}}}
}

func newWritten(t *testing.T, p written) *world {
	t.Helper()
	return newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Profile = p })
}

const (
	ann = "session=ann"
	bob = "session=bob"
)

func TestAPrivateFileIsNeverStored(t *testing.T) {
	w, _ := newCloud(t, nil)
	for range 3 {
		w.want(w.get("/remote.php/dav/files/ann/f", "Cookie", ann), 200, "private file of "+ann, "nextcloud-private-dav")
	}
	w.want(w.get("/remote.php/dav/files/ann/f", "Cookie", bob), 200, "private file of "+bob)
	w.want(w.get("/remote.php/dav/files/ann/f"), 401, "")
	w.wantAsked(5)
	if n := w.store.Objects().Count(); n != 0 {
		t.Errorf("%d objects are stored", n)
	}
	w.lineDown()
	for _, header := range [][]string{nil, {"Cookie", ann}, {"Cookie", bob}, {"Range", "bytes=0-3"}} {
		if r := w.get("/remote.php/dav/files/ann/f", header...); r.status != 504 {
			t.Errorf("offline: %d %q", r.status, r.body)
		}
	}
}

// TestAShareIsAskedForByNobodyAndGivenToAll is about sessions: none goes to the
// site, and none comes back from it.
func TestAShareIsAskedForByNobodyAndGivenToAll(t *testing.T) {
	data := noise(100_000, 1)
	w, _ := newCloud(t, map[string][]byte{"": data})
	paths := []string{"/s/TOKEN/download", "/public.php/dav/files/TOKEN", "/s/TOKEN/download/file.bin", "/s/TOKEN/download?downloadStartSecret=abc123"}
	for i, r := range w.herd(35, func(i int) reply {
		return w.get(paths[i%len(paths)], "Cookie", fmt.Sprint("session=p", i), "Referer", "http://secret.example/", "X-Secret", "p", "User-Agent", fmt.Sprint("agent ", i))
	}) {
		w.want(r, 200, string(data))
		want := ""
		if i%len(paths) == 3 {
			want = "ocDownloadStarted=abc123; Max-Age=20; Path=/"
		}
		if got := strings.Join(r.header["Set-Cookie"], " | "); got != want {
			t.Errorf("%s: Set-Cookie %q, want %q", paths[i%len(paths)], got, want)
		}
		if r.header.Get(profile.Field) != "" {
			t.Errorf("the client is sent %s", profile.Field)
		}
	}
	files := 0
	for _, r := range w.requests() {
		for name, v := range r.Header {
			if s := strings.Join(v, " "); strings.Contains(s, "session") || strings.Contains(s, "secret") || strings.HasPrefix(name, "X-S") {
				t.Errorf("the site is told %s: %s", name, s)
			}
		}
		if strings.HasPrefix(r.URL.Path, "/public.php") && r.Method == http.MethodGet {
			files++
		}
	}
	if files != 1 {
		t.Errorf("the file was asked for %d times", files)
	}
	w.want(w.do(http.MethodHead, "/s/TOKEN/download", nil), 200, "", "hit")
	w.want(w.get("/public.php/dav/files/TOKEN", "Range", "bytes=10-19"), 206, string(data[10:20]), "hit")
	w.wantAsked(0)
	w.lineDown()
	w.reopen()
	w.want(w.get("/s/TOKEN/download", "Cookie", bob), 200, string(data))
}

// TestADeletedShareIsServedByNobody: public DAV says 503 of it, for which
// caches like to serve what they have.
func TestADeletedShareIsServedByNobody(t *testing.T) {
	data := noise(50_000, 2)
	w, c := newCloud(t, map[string][]byte{"": data, "more.bin": noise(5000, 3)})
	w.want(w.get("/s/TOKEN/download"), 200, string(data))
	w.want(w.get("/public.php/dav/files/TOKEN/more.bin"), 200, "*")
	c.set(func(c *cloud) { c.gone = true })
	w.requests()
	r := w.get("/s/TOKEN/download", "Cache-Control", "no-cache", "Cookie", bob)
	if r.status != 404 || bytes.Contains(r.body, data[:100]) || !strings.Contains(r.cache(), "gone") {
		t.Fatalf("%d %s", r.status, r.cache())
	}
	if n := len(w.requests()); n > 2 {
		t.Errorf("the site was asked %d times", n)
	}
	w.until(func() bool { return w.store.Objects().Count() == 0 }, "it was never purged")
	gone := func(when string) {
		t.Helper()
		for _, path := range []string{"/s/TOKEN/download", "/public.php/dav/files/TOKEN", "/public.php/dav/files/TOKEN/more.bin", "/s/TOKEN", "/s/TOKEN/download/file.bin"} {
			for _, header := range [][]string{nil, {"Cookie", ann}, {"Range", "bytes=0-9"}, {"Cache-Control", "max-stale"}, {"Cache-Control", "only-if-cached"}} {
				if r := w.get(path, header...); r.status != 404 && r.status != 504 {
					t.Errorf("%s: %s %v: %d %.40q", when, path, header, r.status, r.body)
				}
			}
			for name, face := range map[string]http.Handler{"neighbours": w.edge.Neighbours(), "peers": w.edge.Peers()} {
				rec := httptest.NewRecorder()
				face.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
				if rec.Code == 200 || rec.Code == 206 {
					t.Errorf("%s: %s get %s: %d", when, name, path, rec.Code)
				}
			}
		}
	}
	gone("remembered")
	w.wantAsked(0)
	w.lineDown()
	gone("offline")
	w.reopen()
	gone("after a restart")
}

func TestMaintenanceIsNoEnd(t *testing.T) {
	data := noise(50_000, 4)
	w, c := newCloud(t, map[string][]byte{"": data})
	w.want(w.get("/public.php/dav/files/TOKEN"), 200, string(data))
	c.set(func(c *cloud) { c.down = true })
	w.want(w.get("/public.php/dav/files/TOKEN", "Cache-Control", "max-age=0"), 200, string(data), "origin-error")
	c.set(func(c *cloud) { c.down = false })
	w.want(w.get("/public.php/dav/files/TOKEN", "Cache-Control", "max-age=0"), 200, string(data))
}

func TestAChangedFileReplacesTheOldOne(t *testing.T) {
	one, two := noise(50_000, 5), noise(60_000, 6)
	w, c := newCloud(t, map[string][]byte{"": one})
	w.want(w.get("/s/TOKEN/download"), 200, string(one))
	c.set(func(c *cloud) { c.files[""], c.version = two, 2 })
	w.want(w.get("/s/TOKEN/download", "Cache-Control", "max-age=0"), 200, string(two))
	w.requests()
	w.want(w.get("/s/TOKEN/download", "Cache-Control", "max-age=0"), 200, string(two))
	for _, r := range w.wantAsked(1) {
		if r.Method != http.MethodGet || r.Header.Get("If-None-Match") == "" || r.Header.Get("Cookie") != "" {
			t.Errorf("validated by %s %v", r.Method, r.Header)
		}
	}
}

// TestAPlatformWithoutPublicDAVIsAskedAtTheLinkItself is Nextcloud 28.
func TestAPlatformWithoutPublicDAVIsAskedAtTheLinkItself(t *testing.T) {
	data := noise(50_000, 7)
	w, c := newCloud(t, map[string][]byte{"": data})
	c.set(func(c *cloud) { c.old = true })
	for _, r := range w.herd(35, func(int) reply { return w.get("/s/TOKEN/download", "Cookie", ann) }) {
		w.want(r, 200, string(data))
		if len(r.header["Set-Cookie"]) > 0 {
			t.Errorf("somebody gets a session: %v", r.header["Set-Cookie"])
		}
	}
	asked := map[string]int{}
	for _, r := range w.requests() {
		asked[r.Method+" "+r.URL.Path]++
	}
	if asked["GET /s/TOKEN/download"] != 1 || asked["GET /public.php/dav/files/TOKEN"] != 1 {
		t.Errorf("asked for %v", asked)
	}
}

func TestAPasswordIsEachPupilsOwn(t *testing.T) {
	data := noise(50_000, 8)
	w, c := newCloud(t, map[string][]byte{"": data})
	c.set(func(c *cloud) { c.password = true })
	for range 2 {
		for i, r := range w.herd(12, func(i int) reply {
			if i%2 == 0 {
				return w.get("/s/TOKEN/download", "Cookie", fmt.Sprint("session=p", i))
			}
			return w.get("/s/TOKEN/download")
		}) {
			if i%2 == 0 {
				w.want(r, 200, string(data))
			} else if w.want(r, 303, ""); len(r.header["Set-Cookie"]) != 4 {
				t.Error("who logs in needs a session")
			}
		}
	}
	w.want(w.get("/public.php/dav/files/TOKEN", "Cookie", ann), 200, string(data))
	w.want(w.get("/public.php/dav/files/TOKEN"), 401, "*")
	if n := w.store.Objects().Count(); n != 0 {
		t.Errorf("%d objects are stored", n)
	}
	// What is open is closed later: nobody gets it from here any more.
	w, c = newCloud(t, map[string][]byte{"": data})
	w.want(w.get("/public.php/dav/files/TOKEN"), 200, string(data))
	c.set(func(c *cloud) { c.password = true })
	w.want(w.get("/public.php/dav/files/TOKEN", "Cache-Control", "no-cache"), 401, "*")
	w.want(w.get("/s/TOKEN/download"), 303, "")
	w.want(w.get("/s/TOKEN/download", "Cookie", bob), 200, string(data))
	w.lineDown()
	if r := w.get("/public.php/dav/files/TOKEN"); r.status != 504 {
		t.Errorf("offline: %d", r.status)
	}
}

func TestAHiddenDownloadIsPassed(t *testing.T) {
	data := noise(50_000, 9)
	w, c := newCloud(t, map[string][]byte{"": data})
	c.set(func(c *cloud) { c.hidden = true })
	for range 3 {
		w.want(w.get("/s/TOKEN/download", "Cookie", ann), 200, string(data))
	}
	asked := map[string]int{}
	for _, r := range w.requests() {
		asked[r.URL.Path+" "+r.Header.Get("Cookie")]++
	}
	if asked["/s/TOKEN/download "+ann] != 3 || asked["/s/TOKEN "] != 1 || len(asked) != 2 {
		t.Errorf("asked for %v", asked)
	}
}

// TestAClassOnADeadLinkIsNoAttack counts what the site sees of it, whichever of
// the link's addresses they open.
func TestAClassOnADeadLinkIsNoAttack(t *testing.T) {
	paths := []string{"/s/TOKEN", "/s/TOKEN/download", "/public.php/dav/files/TOKEN", "/s/TOKEN/download?path=/&files=a", "/index.php/s/TOKEN", "/public.php/dav/files/TOKEN/?accept=zip", "/s/TOKEN/preview"}
	for first := 0; first < len(paths); first += fewer(1, 2) {
		t.Run(paths[first], func(t *testing.T) {
			w, c := newCloud(t, nil)
			c.set(func(c *cloud) { c.gone = true })
			slow := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				time.Sleep(50 * time.Millisecond)
				c.ServeHTTP(rw, r)
			})
			w.answer(slow)
			ask := func(i int) reply {
				header := []string{"Accept", "text/html", "Accept-Language", "fr"}
				if i%2 == 1 {
					header = append(header, "Cookie", fmt.Sprint("session=p", i))
				}
				return w.get(paths[(first+i)%len(paths)], header...)
			}
			// The one who comes first decides what is asked for.
			replies := append([]reply{}, w.herd(35, func(i int) reply {
				if i > 0 {
					time.Sleep(20 * time.Millisecond)
				}
				return ask(i)
			})...)
			replies = append(replies, w.herd(35, ask)...)
			for _, r := range replies {
				w.want(r, 404, "*", "gone")
				if !bytes.Contains(r.body, []byte("Ce lien ne mène plus à rien")) || r.header.Get("Cache-Control") != "no-store" || len(r.header["Set-Cookie"]) > 0 {
					t.Errorf("%v %.200s", r.header, r.body)
				}
			}
			if n := len(w.requests()); n > 2 {
				t.Errorf("the site was asked %d times", n)
			}
		})
	}
}

func TestALivingLinkKeepsNobodyWaitingForLong(t *testing.T) {
	w, _ := newCloud(t, map[string][]byte{"a": noise(1000, 1), "b": noise(1000, 2)})
	for _, r := range w.herd(35, func(i int) reply {
		return w.get([]string{"/s/TOKEN", "/public.php/dav/files/TOKEN/a", "/public.php/dav/files/TOKEN/b"}[i%3], "Cookie", fmt.Sprint("session=", i))
	}) {
		w.want(r, 200, "*")
	}
	// A file that is not there says nothing of the link.
	w.want(w.get("/public.php/dav/files/TOKEN/c"), 404, "*")
	w.want(w.get("/public.php/dav/files/TOKEN/a"), 200, "*", "hit")
	w.want(w.get("/s/TOKEN", "Cookie", ann), 200, "*")
}

func TestTheFirstWhoGivesUpLetsTheNextGo(t *testing.T) {
	plan := func(r profile.Request) profile.Plan {
		p := itself(r)
		p.Capability = "x"
		return p
	}
	w := newWritten(t, written{plan, func(_ profile.Plan, r profile.Response) profile.Ruling { return keeping(r, "max-age=60") }})
	var asked atomic.Int64
	here := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			close(here)
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(rw, "yes")
	})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+"/first", nil)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := w.http.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-here
	second := make(chan reply)
	go func() { second <- w.get("/second") }()
	time.Sleep(20 * time.Millisecond)
	leave()
	<-done
	w.want(<-second, 200, "yes")
}

func TestWhatIsOwnIsAskedForByEach(t *testing.T) {
	own := func(profile.Plan, profile.Response) profile.Ruling {
		return profile.Ruling{Effect: profile.Own, For: time.Minute}
	}
	w := newWritten(t, written{itself, own})
	w.answer(whoever("max-age=60"))
	for i, r := range w.herd(12, func(i int) reply { return w.get("/a", "Cookie", fmt.Sprint("p", i)) }) {
		w.want(r, 200, fmt.Sprintf("page of <p%d>", i))
	}
	w.want(w.get("/a"), 200, "page of <>")
	if n := w.store.Objects().Count(); n != 0 {
		t.Errorf("%d objects are stored", n)
	}
}

func TestARefusalToNobodySaysNothingToSomebody(t *testing.T) {
	plan := func(r profile.Request) profile.Plan {
		p := itself(r)
		p.Anonymous = true
		return p
	}
	for name, effect := range map[string]profile.Effect{"kept": profile.Keep, "gone": profile.Gone, "own": profile.Own} {
		t.Run(name, func(t *testing.T) {
			w := newWritten(t, written{plan, func(_ profile.Plan, r profile.Response) profile.Ruling {
				k := keeping(r, "max-age=60")
				k.Effect, k.For = effect, time.Minute
				return k
			}})
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Cookie") == "" {
					rw.WriteHeader(404)
					return
				}
				_, _ = io.WriteString(rw, "for "+r.Header.Get("Cookie"))
			})
			for range 2 {
				if r := w.get("/a"); r.status != 404 {
					t.Errorf("nobody got %d", r.status)
				}
				w.want(w.get("/a", "Cookie", ann), 200, "for "+ann)
				w.want(w.get("/a", "Cookie", bob), 200, "for "+bob)
			}
		})
	}
}

// TestWhatWasStoredBeforeTheProfileIsNotForEverybody is about a site whose
// profile is another since.
func TestWhatWasStoredBeforeTheProfileIsNotForEverybody(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(text("v", &made, "Cache-Control", "max-age=60", "Set-Cookie", "session=1"))
	w.want(w.get("/a"), 200, "v1")
	w.site.Profile = written{itself, func(_ profile.Plan, r profile.Response) profile.Ruling { return keeping(r, "max-age=60") }}
	w.want(w.get("/a"), 200, "v2")
	for range 2 {
		if r := w.get("/a"); len(r.header["Set-Cookie"]) > 0 || string(r.body) != "v2" {
			t.Errorf("%v %q", r.header, r.body)
		}
	}
	w.do(http.MethodPost, "/a", nil)
	w.want(w.get("/a"), 200, "v4", "fwd=stale")
}

func TestTheSiteCannotSpeakForTheProfile(t *testing.T) {
	w := newWritten(t, written{itself, func(_ profile.Plan, r profile.Response) profile.Ruling {
		if r.Header.Get(profile.Field) != "" {
			return profile.Ruling{Effect: profile.Own}
		}
		return profile.Ruling{Header: r.Header.Clone()}
	}})
	var made atomic.Int64
	w.answer(text("v", &made, profile.Field, "max-age=3600", "Cache-Control", "no-store"))
	w.want(w.get("/a"), 200, "v1")
	if r := w.get("/a"); string(r.body) != "v2" || r.header.Get(profile.Field) != "" {
		t.Errorf("%v %q", r.header, r.body)
	}
}

func TestPeopleWhoTalkAreLive(t *testing.T) {
	w := newWritten(t, written{func(r profile.Request) profile.Plan { return profile.Plan{Live: r.Path == "/http-bind"} }, nil})
	if _, live := w.edge.Live(); live {
		t.Error("nobody talks yet")
	}
	begin := time.Now()
	hold := make(chan struct{})
	here := make(chan struct{}, 1)
	w.answer(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/http-bind" {
			here <- struct{}{}
			<-hold
		}
	})
	w.get("/other")
	if _, live := w.edge.Live(); live {
		t.Error("that was no talk")
	}
	done := make(chan reply)
	go func() { done <- w.do(http.MethodPost, "/http-bind", strings.NewReader("x")) }()
	<-here
	since, live := w.edge.Live()
	if !live || since.Before(begin) {
		t.Errorf("live since %v: %v", since, live)
	}
	close(hold)
	<-done
	if _, live := w.edge.Live(); !live {
		t.Error("the next poll is about to come")
	}
}

// TestNothingNamesALink looks at what an observer hears and at what is listed.
func TestNothingNamesALink(t *testing.T) {
	w, _ := newCloud(t, map[string][]byte{"": noise(5000, 1), "a.pdf": noise(5000, 2)})
	var mu sync.Mutex
	var heard []string
	w.edge.SetObserver(func(_, name string, listed bool) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, fmt.Sprint(name, listed))
	})
	for _, path := range []string{"/s/TOKEN/download", "/public.php/dav/files/TOKEN/a.pdf", "/s/TOKEN/download", "/s/TOKEN"} {
		w.get(path)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) == 0 {
		t.Error("nothing was heard of what is stored")
	}
	for _, name := range heard {
		if strings.Contains(name, token) || strings.Contains(name, "/") || strings.HasSuffix(name, "true") {
			t.Errorf("the observer heard %s", name)
		}
	}
	err := w.store.Objects().Listed(t.Context(), "site", func(o *object.Object) bool {
		t.Errorf("%s is listed", o.Lists)
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

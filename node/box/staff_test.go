package box

import (
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/auth/authtest"
	"preau/node/front"
)

// browser is somebody's browser on the box itself.
type browser struct {
	t    *testing.T
	base string
	http *http.Client
}

func newBrowser(t *testing.T, b *Box) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &browser{t, "http://" + b.Addrs()[0].String(), &http.Client{Jar: jar, Transport: tr, Timeout: time.Minute}}
}

// do sends a request and returns the body, which must come with that status.
func (b *browser) do(status int, method, path string, body io.Reader, header ...string) (string, http.Header) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != status {
		b.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, text)
	}
	return html.UnescapeString(string(text)), resp.Header
}

func (b *browser) get(path string, wants ...string) string {
	b.t.Helper()
	text, _ := b.do(http.StatusOK, http.MethodGet, path, nil)
	b.wants(path, text, wants)
	return text
}

func (b *browser) wants(path, text string, wants []string) {
	b.t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			b.t.Errorf("%s does not say %q: %s", path, want, text)
		}
	}
}

// post sends the form of a page with its token.
func (b *browser) post(path, token string, form url.Values, wants ...string) string {
	b.t.Helper()
	form.Set("token", token)
	text, _ := b.do(http.StatusOK, http.MethodPost, path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	b.wants(path, text, wants)
	return text
}

func (b *browser) first(text, pattern string) string {
	b.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		b.t.Fatalf("%q is not on the page: %s", pattern, text)
	}
	return m[1]
}

const tokenField = `name="token" value="([^"]+)"`

// A new box is claimed; its admin makes a badge; a teacher comes in with it,
// prepares a lesson and adds a file; a pupil finds both, signed in as nobody.
func TestFromTheClaimToTheClass(t *testing.T) {
	b := openedBoxWith(t, func(c *Config) { c.Site = []front.Site{siteOf(site(t), "library.example")} })
	code, open := b.staff.auth.Claim()
	if !open {
		t.Fatal("a new box can't be claimed")
	}
	admin := newBrowser(t, b)
	admin.post("/en/claim", "", url.Values{"code": {code}})
	admin.get("/en/school/", "How the box is", "belongs to no region")
	desk := admin.get("/en/school/badges", "No badge has been made")
	made := admin.post("/en/school/badges", admin.first(desk, tokenField), url.Values{"name": {"Mme Curie"}, "until": {time.Now().AddDate(0, 1, 0).Format(time.DateOnly)}}, "shown once")
	secret := admin.first(made, `<p class="code">([^<]+)</p>`)

	teacher := newBrowser(t, b)
	teacher.do(http.StatusOK, http.MethodPost, "/en/sign-in/badge", strings.NewReader(url.Values{"code": {secret}}.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	teacher.do(http.StatusForbidden, http.MethodGet, "/en/school/", nil)
	form := teacher.get("/en/teach/new")
	token := teacher.first(form, tokenField)
	// The day has to be today where the box is, also at the end of one.
	today := time.Now().Local()
	lesson := teacher.post("/en/teach/new", token, url.Values{
		"title": {"The volcanoes"}, "class": {"5e B"}, "day": {today.Format(time.DateOnly)}, "clock": {"23:59"},
		"links": {"/o/library/volcano.html\nhttps://elsewhere.example/x"}, "do": {"save"}, "seen": {teacher.first(form, `name="seen" value="([^"]*)"`)},
	}, "The volcanoes")
	short := teacher.first(lesson, `/l/([A-Z0-9]{5})`)

	meta := "filename " + base64.StdEncoding.EncodeToString([]byte("lava.txt")) + ",title " + base64.StdEncoding.EncodeToString([]byte("How lava flows"))
	_, header := teacher.do(http.StatusCreated, http.MethodPost, "/teach/files/up/", nil,
		"Tus-Resumable", "1.0.0", "Upload-Length", "10", "Upload-Metadata", meta, "X-Preau-Token", token)
	at, err := url.Parse(header.Get("Location"))
	if err != nil || at.Path == "" {
		t.Fatalf("uploaded to %q: %v", header.Get("Location"), err)
	}
	teacher.do(http.StatusNoContent, http.MethodPatch, at.Path, strings.NewReader("ten bytes!"),
		"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream", "X-Preau-Token", token)

	pupil := newBrowser(t, b)
	pupil.do(http.StatusOK, http.MethodGet, "/en/teach/", nil) // is led to the sign-in
	pupil.get("/en/", "The volcanoes", "5e B")
	pupil.get("/en/l/"+strings.ToLower(short), "The volcanoes")
	deadline := time.Now().Add(time.Minute)
	for found := ""; !strings.Contains(found, "How lava flows"); found = pupil.get("/en/find?q=lava+flow&again=" + time.Now().Format("150405.000")) {
		if time.Now().After(deadline) {
			t.Fatalf("the file is not found: %s", found)
		}
		<-time.After(50 * time.Millisecond)
	}
	u, err := url.Parse(pupil.base)
	if err != nil {
		t.Fatal(err)
	}
	if cookies := pupil.http.Jar.Cookies(u); len(cookies) != 0 {
		t.Errorf("a pupil has cookies: %v", cookies)
	}
	admin.get("/fr/school/log", "badge fait : Mme Curie", "badge utilisé")
	admin.get("/en/school/", "The volcanoes", "How lava flows")
}

// What a teacher prepared by a badge they change by their account, once they have
// shown to have both; and what they prepare by either is of one author.
func TestABadgeAndAnAccountPrepareTheSameLesson(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: map[string]any{"roles": "teacher", "name": "Marie Curie"}})
	b := openedBoxWith(t, func(c *Config) {
		c.SignIn.Issuer, c.SignIn.ClientID, c.Public.Name = p.URL, authtest.Client, ""
		c.Site = []front.Site{siteOf(p.URL, "library.example")}
	})
	_, code, err := b.staff.auth.MakeBadge(t.Context(), auth.Person{Name: "admin"}, "Mme Curie", time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	tablet, desk, other := newBrowser(t, b), newBrowser(t, b), newBrowser(t, b)
	tablet.post("/en/sign-in/badge", "", url.Values{"code": {code}})
	form := tablet.get("/en/teach/new")
	prepared := tablet.post("/en/teach/new", tablet.first(form, tokenField), url.Values{
		"title": {"The volcanoes"}, "day": {time.Now().Format(time.DateOnly)}, "clock": {"23:59"}, "do": {"save"}, "seen": {""},
	}, "The volcanoes")
	edit := tablet.first(prepared, `href="(/en/teach/l/[^"/]+/edit)"`)

	desk.get("/en/sign-in/go", "Marie Curie")
	desk.do(http.StatusForbidden, http.MethodGet, edit, nil)
	tablet.get(tablet.first(tablet.get("/en/teach/", "Join my account"), `href="(/en/sign-in/join[^"]+)"`), "Mme Curie", "Marie Curie", "same person")
	tablet.get(edit, "The volcanoes")
	seen := `name="seen" value="([^"]*)"`
	page := desk.get(edit, "The volcanoes")
	desk.post(edit, desk.first(page, tokenField), url.Values{
		"title": {"Volcanoes and lava"}, "day": {time.Now().Format(time.DateOnly)}, "clock": {"23:59"}, "do": {"save"}, "seen": {desk.first(page, seen)},
	}, "Volcanoes and lava")
	tablet.get(edit, "Volcanoes and lava")
	if page := tablet.get("/en/teach/"); strings.Contains(page, "Join my account") {
		t.Error("they are asked again to join")
	}
	p.Behave(authtest.Behaviour{Claims: map[string]any{"sub": "paul", "roles": "teacher", "name": "Paul"}})
	other.get("/en/sign-in/go", "Paul")
	other.do(http.StatusForbidden, http.MethodGet, edit, nil)
	for _, l := range b.staff.store.List() {
		if l.By != "oidc:anne" {
			t.Errorf("%q is by %s", l.Title, l.By)
		}
	}
}

//go:build system && linux

package lab_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"preau/node/whole/ministry"
)

// browser is somebody's, on the school's network, at a box's secure address.
type browser struct {
	base string
	http *http.Client
}

func (s *school) browser(t *testing.T, c *country, n int, b *ministry.Box) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := s.device(c, n)
	client.Jar, client.Timeout = jar, time.Minute
	t.Cleanup(client.CloseIdleConnections)
	return &browser{"https://" + strings.TrimPrefix(b.URL, "http://"), client}
}

// do sends a request and returns the page, which must come with that status.
func (b *browser) do(t *testing.T, status int, method, path string, body io.Reader, fields ...string) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %.2000s", method, path, resp.StatusCode, status, text)
	}
	return html.UnescapeString(string(text)), resp.Header
}

func (b *browser) get(t *testing.T, path string) string {
	t.Helper()
	text, _ := b.do(t, http.StatusOK, http.MethodGet, path, nil)
	return text
}

// post sends a form.
func (b *browser) post(t *testing.T, path string, form url.Values) string {
	t.Helper()
	text, _ := b.do(t, http.StatusOK, http.MethodPost, path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	return text
}

// found is what a pattern's group is on a page.
func found(t *testing.T, page, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("%q is not on the page: %.3000s", pattern, page)
	}
	return m[1]
}

const formToken = `name="token" value="([^"]+)"`

// teacher has the school claim its box with the code of its console, make a
// badge, and a teacher sign in with it.
func (s *school) teacher(t *testing.T, c *country, b *ministry.Box) *browser {
	t.Helper()
	at := c.place(b.Name)
	out, err := c.CommandAt(t.Context(), at, "claim", "--box", "http://"+at.Admin, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var claim struct{ Code string }
	if err := json.Unmarshal(out, &claim); err != nil {
		t.Fatalf("the claim code: %v in %s", err, out)
	}
	head := s.browser(t, c, 0, b)
	head.post(t, "/fr/claim", url.Values{"code": {claim.Code}})
	desk := head.get(t, "/fr/school/badges")
	made := head.post(t, "/fr/school/badges", url.Values{
		"token": {found(t, desk, formToken)}, "name": {"Mme Curie"}, "until": {time.Now().AddDate(0, 1, 0).Format(time.DateOnly)},
	})
	teacher := s.browser(t, c, 1, b)
	teacher.post(t, "/fr/sign-in/badge", url.Values{"code": {found(t, made, `<p class="code">([^<]+)</p>`)}})
	return teacher
}

// prepare makes today's lesson of something that the teacher finds in the
// library, and returns the path of its page.
func (b *browser) prepare(t *testing.T, today, title, query string) string {
	t.Helper()
	form := url.Values{
		"token": {found(t, b.get(t, "/fr/teach/new"), formToken)}, "seen": {""}, "title": {title}, "class": {"5e B"},
		// The day has to be today where the box is, also at the end of one.
		"day": {today}, "clock": {"23:59"}, "q": {query}, "do": {"find"},
	}
	var page string
	within(t, time.Minute, func(context.Context) error { // until the box has heard of it
		if page = b.post(t, "/fr/teach/new", form); !strings.Contains(page, `name="item"`) {
			return fmt.Errorf("%q is not found", query)
		}
		return nil
	})
	form.Set("item", found(t, page, `name="item" value="([^"]+)"`))
	form.Set("do", "save")
	page = b.post(t, "/fr/teach/new", form)
	return "/fr/teach/l/" + found(t, page, `/teach/l/([^/"?]+)/`)
}

// upload adds a file as the teachers' page does, and returns where it lies.
func (b *browser) upload(t *testing.T, f *file) {
	t.Helper()
	token := found(t, b.get(t, "/fr/teach/new"), formToken)
	meta := "filename " + base64.StdEncoding.EncodeToString([]byte(f.name))
	_, header := b.do(t, http.StatusCreated, http.MethodPost, "/teach/files/up/", nil,
		"Tus-Resumable", "1.0.0", "Upload-Length", fmt.Sprint(len(f.content)), "Upload-Metadata", meta, "X-Preau-Token", token)
	at, err := url.Parse(header.Get("Location"))
	if err != nil || at.Path == "" {
		t.Fatalf("uploaded to %q: %v", header.Get("Location"), err)
	}
	b.do(t, http.StatusNoContent, http.MethodPatch, at.Path, strings.NewReader(string(f.content)),
		"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream", "X-Preau-Token", token)
}

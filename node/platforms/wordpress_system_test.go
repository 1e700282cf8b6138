//go:build system

package platforms_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"preau/node/platforms"
)

func marker(user string) string { return "only-for-" + user + "-0123456789abcdef" }

// short makes a folder with a short path, for sockets lie in it.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "preau-") //nolint:usetesting // t.TempDir's is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func get(t *testing.T, u, cookie string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp, string(text)
}

// TestTheWordPressIsARealOne, and what is a user's own there is seen by that
// user and by nobody else.
func TestTheWordPressIsARealOne(t *testing.T) {
	w, err := platforms.StartWordPress(t.Context(), short(t), marker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	open, err := w.Unlock(t.Context(), w.Passwords[platforms.Ann])
	if err != nil {
		t.Fatal(err)
	}
	comment, _, err := w.Comment(t.Context(), marker(platforms.Ann), "Bravo", true)
	if err != nil {
		t.Fatal(err)
	}
	_, unapproved, err := w.Comment(t.Context(), "x"+marker(platforms.Ann), "Encore bravo", false)
	if err != nil {
		t.Fatal(err)
	}
	in := w.Cookies(platforms.Ann)
	for name, test := range map[string]struct {
		path, cookie string
		status       int
		own          bool
	}{
		"the front page":                 {"/", "", 200, false},
		"the front page, logged in":      {"/", in, 200, true},
		"a post":                         {w.Post, "", 200, false},
		"a post, as who has commented":   {w.Post, comment, 200, true},
		"a comment that waits":           {unapproved, "", 200, true},
		"a page":                         {w.Page, "", 200, false},
		"a post with a password":         {w.Protected[platforms.Ann], "", 200, false},
		"a post with a password, opened": {w.Protected[platforms.Ann], open, 200, true},
		"a private post":                 {w.Private[platforms.Ann], "", 404, false},
		"a private post, its author":     {w.Private[platforms.Ann], in, 200, true},
		"a private post, another":        {w.Private[platforms.Bob], in, 404, false},
		"a draft":                        {w.Drafts[platforms.Ann], "", 404, false},
		"a draft, its author":            {w.Drafts[platforms.Ann], in, 200, true},
		"a picture":                      {w.Media, "", 200, false},
	} {
		resp, text := get(t, w.URL+test.path, test.cookie)
		// A header bar has the user's name on every page.
		has := strings.Contains(text, marker(platforms.Ann))
		if resp.StatusCode != test.status || has != test.own && test.status == 200 {
			t.Errorf("%s (%s): %d, own %v, want %d, %v: %v", name, test.path, resp.StatusCode, has, test.status, test.own, resp.Header)
		}
	}
	nonce, err := w.Nonce(t.Context(), platforms.Ann)
	if err != nil || len(nonce) != 10 {
		t.Errorf("a nonce: %q, %v", nonce, err)
	}
}

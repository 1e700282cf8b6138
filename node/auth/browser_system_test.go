//go:build system

package auth_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/auth/authtest"
	"preau/node/portal/look"
	"preau/node/webtest"
)

// The stories of signing in, in a browser that people have; and everybody can
// read every page.
func TestInABrowser(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("school")})
	b := newBox(t, p)
	inner := *b.now.Load()
	mux := http.NewServeMux()
	mux.Handle("/style/", look.Assets())
	mux.Handle("/", inner)
	var whole http.Handler = mux
	b.now.Store(&whole)
	code, _ := b.auth.Claim()
	_, badge, err := b.auth.MakeBadge(t.Context(), auth.Person{Name: "Admin"}, "Inès Petit", time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	pictures, _ := webtest.Pictures(t, "auth")
	job := map[string]string{
		"modules": webtest.Modules(t, webtest.Playwright, webtest.AxeCore), "chromium": webtest.Chromium(t), "scratch": t.TempDir(), "pictures": pictures,
		"base": b.tls.URL, "provider": p.URL, "claim": code, "badge": auth.BadgePath(badge),
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var said struct {
		Looked int
		Wrong  []string
	}
	if _, err := webtest.Script(ctx, filepath.Join("testdata", "browser.mjs"), job, &said); err != nil {
		t.Fatal(err)
	}
	for _, w := range said.Wrong {
		t.Error(w)
	}
	if said.Looked < 45 {
		t.Errorf("looked at %d pages only", said.Looked)
	}
}

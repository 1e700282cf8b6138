package portal_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"preau/node/portal/portaltest"
)

// Whoever follows all links from the home page comes to no dead end, in either
// language, and finds each page fit to be read aloud.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for name, world := range map[string]func() *portaltest.World{
		"a box in use": func() *portaltest.World { return portaltest.New(false) },
		"an empty box": func() *portaltest.World { return portaltest.New(true) },
		"a cut line": func() *portaltest.World {
			w := portaltest.New(false)
			w.Cut(time.Now().Add(-time.Hour))
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "a cut line" {
				t.Skip("its pages are nearly those of a box in use")
			}
			p := open(t, world())
			for lang, pages := range map[string]int{"fr": 0, "en": 0} {
				start := "/" + lang + "/"
				seen, queue := map[string]bool{start: true}, []string{start, start + "find?q=volcan", start + "find?q=zzz", start + "l/", start + "l/XXXXX"}
				for len(queue) > 0 {
					path := queue[0]
					queue = queue[1:]
					resp := get(t, p, path, "Accept-Language", map[string]string{"fr": "en", "en": "fr"}[lang]) // the address counts
					body := read(t, resp)
					if resp.StatusCode != http.StatusOK && !strings.HasSuffix(path, "XXXXX") {
						t.Errorf("%s: %d", path, resp.StatusCode)
					}
					if resp.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s sets a cookie", path)
					}
					if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || isFile(path) {
						continue
					}
					pages++
					policy := resp.Header.Get("Content-Security-Policy")
					if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
						t.Errorf("%s: its policy is %q", path, policy)
					}
					d := parse(t, body)
					for _, what := range d.wrong {
						t.Errorf("%s: %s", path, what)
					}
					if d.lang != lang || d.title == "" {
						t.Errorf("%s is in %q and called %q", path, d.lang, d.title)
					}
					for _, to := range append(d.links, d.loads...) {
						u, err := url.Parse(to)
						if err != nil {
							t.Errorf("%s leads to %q: %v", path, to, err)
							continue
						}
						if u.Host != "" {
							if u.Host != "radio.example" { // of the lesson
								t.Errorf("%s leads out to %s", path, to)
							}
							continue
						}
						other := map[string]string{"fr": "/en/", "en": "/fr/"}[lang]
						if u.Path == "" || strings.HasPrefix(u.Path, other) || seen[to] {
							continue
						}
						if !strings.HasPrefix(u.Path, start) && !isFile(u.Path) && !strings.HasPrefix(u.Path, "/style/") && !strings.HasPrefix(u.Path, "/l/") {
							t.Errorf("%s leads to %s and loses the language", path, to)
						}
						seen[to] = true
						queue = append(queue, to)
					}
				}
				if least := 8; pages < least {
					t.Errorf("%d pages only in %s", pages, lang)
				}
			}
		})
	}
}

func isFile(path string) bool {
	return strings.HasPrefix(path, "/r/") || strings.HasPrefix(path, "/d/") || strings.HasPrefix(path, "/o/")
}

package shelf_test

import (
	"net/http"
	"strings"
	"testing"

	"preau/cache/block"
	"preau/cache/page"
	"preau/cache/page/pagetest"
)

// What people see can be read aloud, in both languages, and goes on somewhere.
func TestPagesAreForEverybody(t *testing.T) {
	w := newWorld(t)
	w.upsert(w.publish("gone", noise(10, 21)))
	w.remove("gone")
	far := w.publish("far", noise(10, 22))
	far.Blocks, far.List = nil, block.Sum([]byte("no server has this list"))
	w.upsert(far)
	both := w.publish("both", noise(2_300_000, 23))
	both.Collection, both.Title, both.Language = "", "<Été>", "fr, en"
	w.upsert(both)
	one := w.publish("one", noise(1, 24))
	one.Language = "fr"
	w.upsert(one)
	w.upsert(w.publish("two", noise(20, 25)))
	w.upsert(w.publish("under", noise(20, 26))) // on the second part of the list
	tests := map[string]struct {
		path    string
		status  int
		french  []string
		english []string
		never   string
	}{
		"the list": {
			"/r/", http.StatusOK,
			[]string{"Ressources de l’académie", `aria-describedby="about-both"`, `<small id="about-both">2,3 Mo · pas encore`, "1 octet · ", `hreflang="fr">`, `rel="next">La suite`},
			[]string{"Resources of the region", `<small id="about-both">2.3 MB · not yet`, "1 byte · ", `rel="next">More`},
			`hreflang="fr, en"`,
		},
		"the rest of it": {"/r/?after=two", http.StatusOK, []string{`href="/r/under/`}, []string{`href="/r/under/`}, `rel="next"`},
		"an empty rest":  {"/r/?after=zz", http.StatusOK, []string{"Rien n’est publié"}, []string{"Nothing is published"}, "<li>"},
		"no such document": {
			"/r/none/a.pdf", http.StatusNotFound,
			[]string{"Ce document n’existe pas ici", `<a href="/r/">Toutes les ressources</a>`}, []string{"There is no such document", `<a href="/r/">All resources</a>`}, `<a href="">`,
		},
		"a document taken back": {"/r/gone/a.pdf", http.StatusGone, []string{"n’est plus publié"}, []string{"no longer published"}, `<a href="">`},
		"one that can't be fetched": {
			far.Path(), http.StatusGatewayTimeout,
			[]string{"pas encore sur la boîte", `<a href="">Réessayer</a>`, `<a href="/r/">`}, []string{"not yet on the school’s box", `<a href="">Try again</a>`}, "hreflang",
		},
	}
	for name, tt := range tests {
		for lang, want := range map[page.Lang][]string{page.French: tt.french, page.English: tt.english} {
			r := w.get(tt.path, "Accept", "text/html", "Accept-Language", string(lang))
			text := string(r.body)
			if r.status != tt.status || r.header.Get("Content-Language") != string(lang) || r.header.Get("Vary") != page.Vary {
				t.Errorf("%s: %d %v", name, r.status, r.header)
			}
			pagetest.Check(t, text, lang)
			for _, s := range want {
				if !strings.Contains(text, s) {
					t.Errorf("%s in %s lacks %q:\n%s", name, lang, s, text)
				}
			}
			if strings.Contains(text, tt.never) {
				t.Errorf("%s in %s has %q:\n%s", name, lang, tt.never, text)
			}
		}
		if tt.status == http.StatusOK {
			continue
		}
		r := w.get(tt.path, "Accept", "video/*,*/*;q=0.8")
		if r.status != tt.status || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") || strings.Contains(string(r.body), "<") || r.header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: a player got %d %s %s", name, r.status, r.header.Get("Content-Type"), r.body)
		}
	}
}

package portal

import (
	"net/http"
	"strings"
	"testing"
	"unicode"

	"preau/cache/page/pagetest"
)

func TestWordsAreComplete(t *testing.T) {
	pagetest.Complete(t, sayings, "Collections", "Collection", "Sites", "Licence", "1 document", "%d documents", "occitan")
	for status, both := range troubles {
		pagetest.Complete(t, both)
		if status == http.StatusOK {
			t.Error("all is well is no trouble")
		}
	}
}

// What is put into words has its place in both languages, and French keeps its
// thin spaces: no mark stands after a plain one, where a line could break.
func TestPlacesInWords(t *testing.T) {
	fr, en := sayings.French, sayings.English
	for _, pair := range [][2]string{{fr.LineDownAt, en.LineDownAt}, {fr.LineDownDay, en.LineDownDay}, {fr.Many, en.Many}, {fr.HereOf, en.HereOf}, {fr.Found, en.Found}, {fr.FoundOne, en.FoundOne}, {fr.FoundFirst, en.FoundFirst}, {fr.LaterMany, en.LaterMany}, {fr.Nothing, en.Nothing}, {fr.ReadySome, en.ReadySome}, {fr.PageOf, en.PageOf}} {
		if strings.Count(pair[0], "%") == 0 || strings.Count(pair[0], "%") != strings.Count(pair[1], "%") {
			t.Errorf("%q and %q do not have the same places", pair[0], pair[1])
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	order := []string{"", "a", "a 2", "a 02b", "a 10", "a 10 b", "a 100000000000000000000000", "b"}
	for i := range order {
		for j := range order {
			got := natural(order[i], order[j])
			if want := sign(i - j); sign(got) != want {
				t.Errorf("%q and %q: %d, want %d", order[i], order[j], got, want)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzSegment(f *testing.F) {
	for _, s := range []string{"", "-", "--", ".", "..", "-.-", "a/b", "été", "%2F", "a b?c#d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsFunc(name, unicode.IsControl) {
			return
		}
		s := segment(name)
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/?# ") {
			t.Fatalf("%q is %q in an address", name, s)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/c/"+s, nil)
		if err != nil {
			t.Fatal(err)
		}
		mux, got := http.NewServeMux(), "none"
		mux.HandleFunc("GET /c/{name}", func(_ http.ResponseWriter, r *http.Request) { got = named(r.PathValue("name")) })
		mux.ServeHTTP(nil, r)
		if got != name {
			t.Errorf("%q comes back from %q as %q", name, s, got)
		}
	})
}

func FuzzCutRune(f *testing.F) {
	f.Add([]byte("caf\xc3"))
	f.Add([]byte("\xf0\x9f\x98"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := cutRune(b)
		if n < 0 || n > 3 || n > len(b) {
			t.Fatalf("%q: %d", b, n)
		}
	})
}

package find_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"preau/node/portal/find"
)

// vocabulary is of words that begin alike and end alike.
var vocabulary = []string{"eau", "eaux", "eaus", "east", "volcan", "volcans", "vol", "x", "mer", "mers", "merci", "q1"}

// An index finds exactly what a look through all documents finds, whatever came,
// went and came again.
func TestItFindsWhatIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := find.New(40)
		there := map[string][]string{}
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			id := strconv.Itoa(rapid.IntRange(0, 60).Draw(t, "id"))
			if rapid.Bool().Draw(t, "remove") {
				x.Remove("k", id)
				delete(there, id)
				continue
			}
			words := rapid.SliceOfN(rapid.SampledFrom(vocabulary), 0, 6).Draw(t, "words")
			cutAt := rapid.IntRange(0, len(words)).Draw(t, "cut")
			err := x.Add(find.Doc{ID: id, Kind: "k", Title: strings.Join(words[:cutAt], " "), Description: strings.Join(words[cutAt:], ",")})
			_, replaced := there[id]
			if (err != nil) != (!replaced && len(there) == 40) {
				t.Fatalf("%d documents: %v", len(there), err)
			}
			if err == nil {
				there[id] = words
			}
		}
		if x.Len() != len(there) {
			t.Fatalf("%d documents, want %d", x.Len(), len(there))
		}
		asked := rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"e", "ea", "volc", "m"}, vocabulary...)), 1, 3, rapid.ID).Draw(t, "asked")
		var want []string
		for id, words := range there {
			if matches(words, asked) {
				want = append(want, id)
			}
		}
		hits, total := x.Search(strings.Join(asked, " "), 100)
		got := strings.Fields(ids(hits))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || total != len(want) {
			t.Fatalf("%q finds %v of %d, want %v", asked, got, total, want)
		}
		few, all := x.Search(strings.Join(asked, " "), 3)
		if all != total || ids(few) != ids(hits[:min(3, len(hits))]) {
			t.Fatalf("the first three are %v, of all they were %v", few, hits)
		}
		if !slices.IsSortedFunc(hits, func(a, b find.Hit) int { return b.Score - a.Score }) {
			t.Fatalf("not best first: %v", hits)
		}
	})
}

// matches is what all words must match means.
func matches(words, asked []string) bool {
	for i, a := range asked {
		ok := slices.ContainsFunc(words, func(w string) bool {
			one, other := strings.TrimRight(w, "sx"), strings.TrimRight(a, "sx")
			return w == a || i == len(asked)-1 && strings.HasPrefix(w, a) ||
				len(a) >= 4 && (w == a+"s" || w == a+"x" || one == other && w == a[:len(a)-1])
		})
		if !ok {
			return false
		}
	}
	return true
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{"", "l'eau", "ŒUF", "a\xffb", "İstanbul", "ﬁn ½ Ǆ", "l''''", "ⅷ", "\u0301e", "e\u0301\u0301", strings.Repeat("é", 100), "d'd'd'x", "北京大学"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, title, asked string) {
		x := find.New(2)
		if err := x.Add(find.Doc{ID: "1", Title: title}); err != nil {
			t.Fatal(err)
		}
		hits, total := x.Search(asked, 1)
		if len(hits) != total {
			t.Fatalf("%d of %d", len(hits), total)
		}
		// Who types a title, all of it, in capitals or not, finds it.
		if len(title) > 200 || len(strings.Fields(title)) > 8 {
			return
		}
		if _, any := x.Search(title, 1); any == 1 {
			for _, same := range []string{strings.ToUpper(title), strings.ToLower(title)} {
				if !strings.EqualFold(same, title) {
					continue // there are letters whose capitals are others'
				}
				if _, total := x.Search(same, 1); total != 1 {
					t.Errorf("%q does not find %q", same, title)
				}
			}
		}
	})
}

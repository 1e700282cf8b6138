package find_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/portal/find"
)

func indexOf(t *testing.T, docs ...find.Doc) *find.Index {
	t.Helper()
	x := find.New(1000)
	for _, d := range docs {
		if err := x.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func ids(hits []find.Hit) string {
	var out []string
	for _, h := range hits {
		out = append(out, h.ID)
	}
	return strings.Join(out, " ")
}

func TestWhatIsFound(t *testing.T) {
	x := indexOf(
		t,
		find.Doc{ID: "eau", Title: "Le cycle de l’eau", Filename: "cycle_eau-2024.pdf", Collection: "Sciences"},
		find.Doc{ID: "coeur", Title: "Le Cœur et le sang", Description: "Schémas à légender", Collection: "Sciences"},
		find.Doc{ID: "noel", Title: "Noël en Allemagne : die Straße", Collection: "Allemand"},
		find.Doc{ID: "fractions", Title: "Les fractions", Filename: "exo6e.pdf", Collection: "Mathématiques"},
		find.Doc{ID: "aujourd", Title: "Aujourd'hui : l'ÉCOLE d'été"},
		find.Doc{ID: "arabe", Title: "مَدْرَسَة الحي"},
	)
	for asked, want := range map[string]string{
		"eau": "eau", "l'eau": "eau", "L’EAU": "eau", "l´eau": "eau", "cycle de l'eau": "eau", "cycle eau": "eau", "eau cycle": "eau",
		"ea": "eau", "cyc": "eau", "cyc eau": "", "cycles": "eau", "2024": "eau", "pdf cycle": "eau",
		"coeur": "coeur", "cœur": "coeur", "COEUR": "coeur", "cœ": "coeur", "legender": "coeur", "schema": "coeur", "schéma légender": "coeur",
		"noel": "noel", "Noël": "noel", "NOE\u0308L": "noel", "strasse": "noel", "straße": "noel",
		"fraction": "fractions", "fractions": "fractions", "fractionner": "", "6e": "", "exo6e": "fractions", "mathematiques fractions": "fractions",
		"ecole": "aujourd", "aujourd'hui": "aujourd", "ete": "aujourd", "d'été": "aujourd",
		"مدرسة": "arabe",
		"":      "", " ": "", "...": "", "\xff": "", "sang fractions": "", "le": "eau coeur fractions aujourd", "the": "",
	} {
		hits, total := x.Search(asked, 10)
		got := ids(hits)
		if asked == "le" { // in whatever order
			got = ""
			if slices.ContainsFunc(hits, func(h find.Hit) bool { return h.ID == "eau" }) {
				got = want
			}
		}
		if got != want || asked != "le" && total != len(hits) {
			t.Errorf("%q finds %q of %d, want %q", asked, got, total, want)
		}
	}
}

func TestWhatComesFirst(t *testing.T) {
	old, late := time.Unix(1e9, 0), time.Unix(1.5e9, 0)
	x := indexOf(
		t,
		find.Doc{ID: "collection", Title: "A", Collection: "volcan"},
		find.Doc{ID: "description", Title: "A", Description: "volcan"},
		find.Doc{ID: "filename", Title: "A", Filename: "volcan.pdf", Collection: "volcan"},
		find.Doc{ID: "all-but-title", Title: "A", Filename: "volcan", Description: "volcan", Collection: "volcan"},
		find.Doc{ID: "begun", Title: "le grand volcanologue"},
		find.Doc{ID: "long", Title: "dans le grand volcan vert", At: old},
		find.Doc{ID: "later", Title: "dans le petit volcan rouge", At: late},
		find.Doc{ID: "short", Title: "Volcan"},
	)
	hits, total := x.Search("volcan", 5)
	if got := ids(hits); got != "short later long begun all-but-title" || total != 8 {
		t.Errorf("%s, of %d", got, total)
	}
	hits, _ = x.Search("volcan", 100)
	if got := ids(hits[5:]); got != "filename description collection" {
		t.Errorf("the rest: %s", got)
	}
}

func TestADocumentIsReplacedAndRemoved(t *testing.T) {
	x := indexOf(t, find.Doc{ID: "1", Kind: "r", Title: "ancien"}, find.Doc{ID: "1", Kind: "d", Title: "ancien"}, find.Doc{ID: "1", Kind: "r", Title: "nouveau"})
	if hits, _ := x.Search("ancien", 9); len(hits) != 1 || hits[0].Kind != "d" {
		t.Errorf("the old title finds %v", hits)
	}
	if hits, _ := x.Search("nouveau", 9); len(hits) != 1 || hits[0].Kind != "r" {
		t.Errorf("the new title finds %v", hits)
	}
	x.Remove("d", "1")
	x.Remove("d", "1")
	x.Remove("d", "never there")
	if hits, total := x.Search("ancien", 9); len(hits)+total != 0 || x.Len() != 1 {
		t.Errorf("what was removed is found: %v; %d left", hits, x.Len())
	}
}

func TestSomeOfTheDocuments(t *testing.T) {
	x := indexOf(t, find.Doc{ID: "1", Title: "mot", Here: true}, find.Doc{ID: "2", Title: "mot un", Level: "CM2"}, find.Doc{ID: "3", Title: "mot un deux", Here: true})
	found := func(which find.Among, q string, n int) string {
		hits, total := x.SearchAmong(which, q, n)
		return strconv.Itoa(total) + ": " + ids(hits)
	}
	check := func(here, away string) {
		t.Helper()
		if got := found(find.Here, "mot", 1); got != here {
			t.Errorf("here is %s, want %s", got, here)
		}
		if got := found(find.Away, "mot", 9); got != away {
			t.Errorf("away is %s, want %s", got, away)
		}
	}
	check("2: 1", "1: 2")
	x.Mark("", "2", true)
	x.Mark("", "1", false)
	x.Mark("", "never there", true)
	check("2: 2", "1: 1")
	if got := found(find.All, "cm2 mot", 9); got != "1: 2" {
		t.Errorf("of a level: %s", got)
	}
	for i := range 3000 { // enough for the rest to be moved together
		if err := x.Add(find.Doc{ID: "x", Title: strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	check("2: 2", "1: 1")
}

func TestAFullIndexTakesNoMore(t *testing.T) {
	x := find.New(2)
	for i, want := range []error{nil, nil, find.ErrFull} {
		if err := x.Add(find.Doc{ID: strconv.Itoa(i), Title: "mot"}); !errors.Is(err, want) {
			t.Errorf("document %d: %v, want %v", i, err, want)
		}
	}
	if err := x.Add(find.Doc{ID: "0", Title: "autre"}); err != nil {
		t.Errorf("one that is there is replaced: %v", err)
	}
	x.Remove("", "1")
	if err := x.Add(find.Doc{ID: "2", Title: "mot"}); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if hits, _ := x.Search("mot", 9); ids(hits) != "2" {
		t.Errorf("%v", hits)
	}
}

func TestManyComingAndGoingLeaveNothing(t *testing.T) {
	x := find.New(5000)
	for round := range 4 {
		for i := range 3000 {
			if err := x.Add(find.Doc{ID: strconv.Itoa(i), Title: "mot" + strconv.Itoa(i) + " tour" + strconv.Itoa(round)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, total := x.Search("tour3", 1); total != 3000 || x.Len() != 3000 {
		t.Errorf("%d found, %d there", total, x.Len())
	}
	if _, total := x.Search("tour2", 1); total != 0 {
		t.Errorf("%d of those replaced", total)
	}
	for i := range 2999 {
		x.Remove("", strconv.Itoa(i))
	}
	if hits, total := x.Search("mot", 5); total != 1 || hits[0].ID != "2999" {
		t.Errorf("%v of %d", hits, total)
	}
}

func TestItIsSearchedWhileItChanges(t *testing.T) {
	x := find.New(500)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1500 {
				id := strconv.Itoa(w*1000 + i%120)
				if i%3 == 2 {
					x.Remove("", id)
				} else if err := x.Add(find.Doc{ID: id, Title: "commun " + id}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 300 {
				hits, total := x.Search("commun", 50)
				if len(hits) > total || len(hits) > 50 {
					t.Errorf("%d of %d", len(hits), total)
				}
			}
		})
	}
	wg.Wait()
}

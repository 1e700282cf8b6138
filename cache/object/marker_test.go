package object_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"preau/cache/object"
)

func marker(t *testing.T, n byte) object.Marker {
	t.Helper()
	m, err := object.NewMarker([]byte{object.MarkKeySize - 1: n})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMarksFindWhatIsMeant(t *testing.T) {
	m := marker(t, 1)
	deep := "/" + strings.Repeat("d/", 30) + "x"
	tagged := http.Header{"Surrogate-Key": {"lesson-7 Class-A"}, "Cache-Tag": {"x, y"}}
	tests := map[string]struct {
		path, query string
		header      http.Header
		mark        object.Mark
		want        bool
	}{
		"the URL":                        {path: "/a/b", mark: m.Exact("s", "/a/b"), want: true},
		"the URL spelt otherwise":        {path: "/a%20b/%C3%A9", mark: m.Exact("s", "/a b/é"), want: true},
		"with dot segments":              {path: "/a/./x/../b", mark: m.Exact("s", "/a/b"), want: true},
		"another URL":                    {path: "/a/b", mark: m.Exact("s", "/a/c")},
		"another query":                  {path: "/a/b", query: "q=1", mark: m.Exact("s", "/a/b")},
		"the query":                      {path: "/a/b", query: "q=%31", mark: m.Exact("s", "/a/b?q=1"), want: true},
		"another site":                   {path: "/a/b", mark: m.Exact("z", "/a/b")},
		"the whole site":                 {path: "/a/b", mark: m.Site("s"), want: true},
		"another's whole site":           {path: "/a/b", mark: m.Site("z")},
		"the root":                       {path: "/a/b", mark: m.Prefix("s", "/"), want: true},
		"its folder":                     {path: "/a/b", query: "q=1", mark: m.Prefix("s", "/a/"), want: true},
		"its folder without slash":       {path: "/a/b", mark: m.Prefix("s", "/a"), want: true},
		"itself with any query":          {path: "/a/b", query: "q=1", mark: m.Prefix("s", "/a/b"), want: true},
		"a name that begins alike":       {path: "/ab/c", mark: m.Prefix("s", "/a")},
		"below it":                       {path: "/a", mark: m.Prefix("s", "/a/b")},
		"too deep for its own prefix":    {path: deep, mark: m.Prefix("s", deep), want: true},
		"as deep, elsewhere":             {path: deep, mark: m.Prefix("s", "/e"+deep)},
		"a tag":                          {path: "/", header: tagged, mark: m.Tag("s", "lesson-7"), want: true},
		"a tag in other letters":         {path: "/", header: tagged, mark: m.Tag("s", "CLASS-a"), want: true},
		"a tag of the other field":       {path: "/", header: tagged, mark: m.Tag("s", "y"), want: true},
		"a tag it has not":               {path: "/", header: tagged, mark: m.Tag("s", "lesson")},
		"a tag that is spelt as a path":  {path: "/a", mark: m.Tag("s", "/a")},
		"another key":                    {path: "/a", mark: marker(t, 2).Exact("s", "/a")},
		"a site that ends as one begins": {path: "b/", mark: m.Exact("s/b", "/")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := slices.Contains(m.Marks("s", tt.path, tt.query, tt.header), tt.mark); got != tt.want {
				t.Errorf("found = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWhoseMarksAreNotKnownIsMeant(t *testing.T) {
	m, other := marker(t, 1), marker(t, 2)
	none := func(object.Mark) bool { return false }
	o := &object.Object{Site: "s", Header: http.Header{}}
	if !o.HasMark(m.KeyID(), none) {
		t.Error("an object without marks is not meant")
	}
	o.SetMarks(m, "/a", "")
	if o.HasMark(m.KeyID(), none) || !o.HasMark(m.KeyID(), func(x object.Mark) bool { return x == m.Exact("s", "/a") }) {
		t.Error("an object with marks is not told by them")
	}
	if !o.HasMark(other.KeyID(), none) {
		t.Error("an object with marks of another key is not meant")
	}
	var tags []string
	for i := range object.MaxTags + 1 {
		tags = append(tags, fmt.Sprint("t", i))
	}
	o.Header.Set("Surrogate-Key", strings.Join(tags, " "))
	o.SetMarks(m, "/a", "")
	if !o.HasMark(m.KeyID(), none) {
		t.Error("an object with too many tags is not meant")
	}
	if _, err := object.NewMarker(make([]byte, 31)); err == nil {
		t.Error("a short key is taken")
	}
}

// TestMarksAreForEver: a mark in a purge must be the one that an older version
// stored.
func TestMarksAreForEver(t *testing.T) {
	m := marker(t, 1)
	got := fmt.Sprint(m.KeyID(), m.Site("s"), m.Exact("s", "/a?b"), m.Prefix("s", "/a/b"), m.Tag("s", "T"))
	const want = "3418500532 f8d29e15bda11107 d4c28cc55844104f 4e09529bb7602f4e c671f0739c4aadfa"
	if got != want {
		t.Errorf("marks are %s", got)
	}
	for _, x := range m.Marks("s", "/a/b", "", nil) {
		if back, err := object.ParseMark(x.String()); err != nil || back != x {
			t.Errorf("mark %v reads as %v, %v", x, back, err)
		}
	}
	if _, err := object.ParseMark("xyz"); err == nil {
		t.Error("nonsense is read as a mark")
	}
}

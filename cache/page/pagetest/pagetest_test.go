package pagetest

import (
	"strings"
	"testing"

	"preau/cache/page"
)

const good = `<!doctype html>
<html lang="fr"><head><meta charset="utf-8"><title>Été</title><style>a{color:red}</style></head>
<body><main><h1>Été</h1><p>Des mots<br>encore</p><h2>Suite</h2><ul>
<li><a href="" aria-describedby="about-a">A</a><small id="about-a">1 octet</small></li>
</ul></main></body></html>`

func TestFaults(t *testing.T) {
	if got := faults(good, page.French); len(got) > 0 {
		t.Errorf("a good page: %q", got)
	}
	if got := faults(good, page.English); len(got) != 1 {
		t.Errorf("a page in the other language: %q", got)
	}
	for name, change := range map[string][2]string{
		"no language":         {` lang="fr"`, ""},
		"no title":            {"<title>Été</title>", ""},
		"another title":       {"<title>Été", "<title>Hiver"},
		"no heading":          {"<h1>Été</h1>", ""},
		"two headings":        {"<h2>Suite</h2>", "<h1>Suite</h1>"},
		"a level is skipped":  {"<h2>Suite</h2>", "<h3>Suite</h3>"},
		"no main":             {"<main>", "<div>"},
		"a link to nowhere":   {`<a href=""`, "<a"},
		"a link without name": {">A</a>", "></a>"},
		"an empty paragraph":  {"Des mots<br>encore", "<br>"},
		"described by none":   {`id="about-a"`, ""},
		"described twice":     {"<p>", `<p id="about-a">`},
		"an identifier cut":   {"<p>", `<p id="a b">`},
		"a script":            {"<p>", "<script>1</script><p>"},
		"a picture":           {"<p>", `<img src="x"><p>`},
		"another order":       {"<p>", `<p tabindex="2">`},
		"no end":              {"</h1>", ""},
	} {
		body := strings.Replace(good, change[0], change[1], 1)
		if body == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if len(faults(body, page.French)) == 0 {
			t.Errorf("%s: no fault was found", name)
		}
	}
}

func TestDifferences(t *testing.T) {
	type words struct {
		Title string
		lines []string
		where map[int]string
	}
	fr := words{"Un", []string{"mot"}, map[int]string{1: "ici"}}
	tests := map[string]struct {
		en    words
		alike []string
		right bool
	}{
		"complete":        {words{"One", []string{"word"}, map[int]string{1: "here"}}, nil, true},
		"alike, as meant": {words{"Un", []string{"word"}, map[int]string{1: "here"}}, []string{"Un"}, true},
		"alike":           {words{"Un", []string{"word"}, map[int]string{1: "here"}}, nil, false},
		"a word missing":  {words{"", []string{"word"}, map[int]string{1: "here"}}, nil, false},
		"a line missing":  {words{"One", nil, map[int]string{1: "here"}}, nil, false},
		"none of a map":   {words{"One", []string{"word"}, nil}, nil, false},
		"another key":     {words{"One", []string{"word"}, map[int]string{2: "here"}}, nil, false},
	}
	for name, tt := range tests {
		if got := differences(page.Both[words]{French: fr, English: tt.en}, tt.alike...); (len(got) == 0) != tt.right {
			t.Errorf("%s: %q, want right = %v", name, got, tt.right)
		}
	}
	if got := differences(page.Both[words]{}); len(got) == 0 {
		t.Error("no words at all are complete")
	}
}

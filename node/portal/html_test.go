package portal_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// document is what matters of a page to those who can't see it, and to a browser
// that obeys its policy.
type document struct {
	links, loads []string // where it leads, and what it loads by itself
	count        map[string]int
	lang, title  string
	wrong        []string
}

func (d *document) has(link string) bool { return slices.Contains(d.links, link) }

func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// words is what is read aloud of a node.
func words(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	if label, ok := attr(n, "aria-label"); ok {
		return label
	}
	if hidden, _ := attr(n, "aria-hidden"); hidden == "true" {
		return ""
	}
	if n.Data == "img" {
		alt, _ := attr(n, "alt")
		return alt
	}
	var b strings.Builder
	for c := range n.ChildNodes() {
		b.WriteString(words(c))
	}
	return strings.TrimSpace(b.String())
}

func parse(t *testing.T, body string) *document {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{count: map[string]int{}}
	ids, pointed, level := map[string]bool{}, []string{}, 0
	bad := func(what string) { d.wrong = append(d.wrong, what) }
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		d.count[n.Data]++
		for _, a := range n.Attr {
			switch {
			case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
				bad("an attribute " + a.Key)
			case a.Key == "id":
				if ids[a.Val] {
					bad("the identifier " + a.Val + " twice")
				}
				ids[a.Val] = true
			case a.Key == "aria-labelledby" || a.Key == "aria-describedby" || a.Key == "for":
				pointed = append(pointed, strings.Fields(a.Val)...)
			case a.Key == "tabindex" && a.Val != "0":
				bad("another order")
			}
		}
		src, hasSrc := attr(n, "src")
		href, hasHref := attr(n, "href")
		switch n.Data {
		case "html":
			d.lang, _ = attr(n, "lang")
		case "title":
			d.title = words(n)
		case "a":
			d.links = append(d.links, href)
			if !hasHref || words(n) == "" {
				bad("a link without an address or without words: " + href)
			}
		case "form":
			if action, _ := attr(n, "action"); !strings.HasPrefix(action, "/") {
				bad("a form that leads to " + action)
			}
		case "button":
			if words(n) == "" {
				bad("a button without words")
			}
		case "script":
			if !hasSrc || n.FirstChild != nil {
				bad("a script on the page itself")
			}
			d.loads = append(d.loads, src)
		case "style":
			bad("style on the page itself")
		case "link":
			d.loads = append(d.loads, href)
		case "img":
			d.loads = append(d.loads, src)
			if _, ok := attr(n, "alt"); !ok {
				bad("a picture without words: " + src)
			}
		case "iframe":
			d.loads = append(d.loads, src)
			if title, _ := attr(n, "title"); title == "" {
				bad("a frame without a name")
			}
		case "video", "audio":
			if hasSrc {
				d.links = append(d.links, src)
			}
			if words(n) == "" {
				bad(n.Data + " without a name")
			}
		case "track":
			d.links = append(d.links, src)
		case "input":
			_, labelled := attr(n, "aria-label")
			id, _ := attr(n, "id")
			kind, _ := attr(n, "type")
			if !labelled && id == "" && kind != "hidden" {
				bad("a field without a label")
			}
		case "h1", "h2", "h3", "h4":
			at := int(n.Data[1] - '0')
			if at > level+1 {
				bad(n.Data + " skips a level: " + words(n))
			}
			if words(n) == "" {
				bad(n.Data + " is empty")
			}
			level = at
		case "li":
			if class, _ := attr(n.Parent, "class"); strings.Contains(" "+class+" ", " items ") {
				d.count["ul.items>li"]++
			}
		}
	}
	for _, id := range pointed {
		if !ids[id] {
			bad("nothing is called " + id)
		}
	}
	for _, one := range []string{"h1", "main", "header", "footer", "title"} {
		if d.count[one] != 1 {
			bad("not one " + one)
		}
	}
	return d
}

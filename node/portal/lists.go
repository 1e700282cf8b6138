package portal

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"preau/cache/page"
	"preau/node/portal/find"
	"preau/node/portal/look"
)

// pageLength is how many things one page of a list has.
const pageLength = 50

// noName is what stands in an address for no collection.
const noName = "-"

var (
	collectionsPage = look.Must("pages/collections.html", files, "pages/parts.html")
	collectionPage  = look.Must("pages/collection.html", files, "pages/parts.html")
	findPage        = look.Must("pages/find.html", files, "pages/parts.html")
)

// row is a thing in a list.
type row struct {
	*Entry
	Mark, MarkText string
	Where          string // its collection, where the list is not of one
}

// reach says of each kind of things whether what is not here could be fetched now.
type reach map[Kind]bool

// reachNow is asked once for a page.
func (p *Portal) reachNow() reach {
	line := true
	if p.parts.Line != nil {
		if s := p.parts.Line.Line(); s.Known && !s.Up {
			line = false
		}
	}
	out := reach{Published: line, Added: line}
	for kind, s := range map[Kind]Source{Published: p.parts.Published, Added: p.parts.Added} {
		if r, ok := s.(Reacher); ok {
			out[kind] = r.Reach()
		}
	}
	return out
}

func (can reach) row(e *Entry, lang page.Lang) row {
	say := sayings.In(lang)
	out := row{Entry: e, Mark: "away", MarkText: say.Away, Where: e.Collection}
	switch {
	case e.Whole():
		out.Mark, out.MarkText = "here", say.Whole
	case e.Held > 0:
		out.Mark, out.MarkText = "part", say.Partly
	case can[e.Kind]:
		out.MarkText = say.OnRequest
	}
	return out
}

func (can reach) rows(entries []*Entry, lang page.Lang) []row {
	out := make([]row, len(entries))
	for i, e := range entries {
		out[i] = can.row(e, lang)
	}
	return out
}

// segment is a collection's name in an address.
func segment(name string) string {
	switch {
	case name == "":
		return noName
	case strings.Trim(name, "-.") == "": // would be another, or a step in the path
		return "-" + url.PathEscape(name)
	}
	return url.PathEscape(name)
}

// named is what segment was made of.
func named(segment string) string {
	switch {
	case segment == noName:
		return ""
	case strings.Trim(segment, "-.") == "":
		return segment[1:]
	}
	return segment
}

func (p *Portal) collections(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, "collections", collectionsPage, func(context.Context) look.Page {
		say, v := sayings.In(look.Lang(r)), p.library.now()
		type body struct {
			Cards   []card
			LeftOut bool
			Pages   pager
			Reading bool
		}
		b := body{LeftOut: v.more, Pages: pagerOf(r, "/c/", len(v.collections), 60, say), Reading: !v.read}
		for _, c := range v.collections[b.Pages.from:b.Pages.to] {
			b.Cards = append(b.Cards, cardOf(c, say))
		}
		return look.Page{Title: say.Collections, Wide: true, Body: b, Words: say}
	})
}

func (p *Portal) collection(w http.ResponseWriter, r *http.Request) {
	name := named(r.PathValue("name"))
	if p.library.now().byName[name] == nil {
		p.fail(w, r, http.StatusNotFound)
		return
	}
	p.answer(w, r, "collection", collectionPage, func(context.Context) look.Page {
		lang := look.Lang(r)
		say := sayings.In(lang)
		c := p.library.now().byName[name]
		if c == nil { // it went just now
			c = &collection{Name: name}
		}
		type body struct {
			Rows  []row
			Text  string
			Here  string
			Bytes int64
			Pages pager
		}
		b := body{Text: count(len(c.Entries), say), Bytes: c.Bytes, Pages: pagerOf(r, "/c/"+segment(name), len(c.Entries), pageLength, say)}
		b.Here = hereOf(c, say)
		b.Rows = p.reachNow().rows(c.Entries[b.Pages.from:b.Pages.to], lang)
		for i := range b.Rows {
			b.Rows[i].Where = ""
		}
		if name == "" {
			name = say.NoCollection
		}
		return look.Page{Title: name, Body: b, Words: say, Crumbs: []look.Crumb{{To: "/c/", Label: say.Collections}}}
	})
}

func (p *Portal) find(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, "find", findPage, func(context.Context) look.Page {
		lang := look.Lang(r)
		say, v := sayings.In(lang), p.library.now()
		type body struct {
			Query   string
			Asked   bool
			Rows    []row
			Text    string
			Only    string // how many are shown, if not all
			Later   []row  // what can't be fetched now
			Later1  string // how many those are
			Cards   []card
			LeftOut bool
		}
		b := body{Query: queryOf(r), LeftOut: v.more}
		if b.Query != "" {
			b.Asked = true
			f := p.search(b.Query, lang)
			b.Rows, b.Later = f.now, f.later
			switch f.total {
			case 0:
				b.Text = fmt.Sprintf(say.Nothing, b.Query)
			case 1:
				b.Text = fmt.Sprintf(say.FoundOne, b.Query)
			default:
				b.Text = fmt.Sprintf(say.Found, f.total, b.Query)
			}
			if f.total-f.totalLater > len(b.Rows) {
				b.Only = fmt.Sprintf(say.FoundFirst, len(b.Rows))
			}
			switch f.totalLater {
			case 0:
			case 1:
				b.Later1 = say.LaterOne
			default:
				b.Later1 = fmt.Sprintf(say.LaterMany, f.totalLater)
			}
		}
		if len(b.Rows)+len(b.Later) == 0 {
			for _, c := range v.collections[:min(homeCollections, len(v.collections))] {
				b.Cards = append(b.Cards, cardOf(c, say))
			}
		}
		out := look.Page{Title: say.FoundTitle, Home: true, Body: b, Words: say}
		if b.Asked {
			out.Title = b.Text
		}
		return out
	})
}

// found is what a search comes to: what can be opened now, and while what is
// published can't be fetched, what can't.
type found struct {
	now, later        []row
	total, totalLater int
}

func (p *Portal) search(query string, lang page.Lang) (out found) {
	can := p.reachNow()
	take := func(which find.Among) (rows []row, total int) {
		hits, total := p.library.index.SearchAmong(which, query, pageLength)
		for _, h := range hits {
			if e, ok := p.library.get(Kind(h.Kind), h.ID); ok {
				rows = append(rows, can.row(e, lang))
			}
		}
		return rows, total
	}
	if can[Published] {
		out.now, out.total = take(find.All)
		return out
	}
	here := 0
	out.now, here = take(find.Here)
	out.later, out.totalLater = take(find.Away)
	out.total = here + out.totalLater
	return out
}

// queryOf is what is looked for, bounded.
func queryOf(r *http.Request) string {
	q := strings.TrimSpace(strings.ToValidUTF8(r.URL.Query().Get("q"), ""))
	if runes := []rune(q); len(runes) > 200 {
		q = string(runes[:200])
	}
	return q
}

// pager is where in a long list a page is.
type pager struct {
	Prev, Next string // paths
	Text       string // empty if there is one page only
	from, to   int
}

func pagerOf(r *http.Request, path string, n, length int, say saying) pager {
	last := max(1, (n+length-1)/length)
	at, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil {
		at = 1
	}
	at = min(max(at, 1), last)
	out := pager{from: (at - 1) * length, to: min(at*length, n)}
	link := func(n int) string {
		if n == 1 {
			return path
		}
		return path + "?page=" + strconv.Itoa(n)
	}
	if last > 1 {
		out.Text = fmt.Sprintf(say.PageOf, at, last)
	}
	if at > 1 {
		out.Prev = link(at - 1)
	}
	if at < last {
		out.Next = link(at + 1)
	}
	return out
}

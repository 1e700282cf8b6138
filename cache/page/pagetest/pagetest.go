// Package pagetest looks at pages as those do who can't see them, and at words
// as those do who read the other language. It is for tests only; it can't tell
// whether words are kind, or right.
package pagetest

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"preau/cache/page"
)

// Check reports what keeps a page from being read aloud, or walked through with
// the keyboard.
func Check(t *testing.T, body string, lang page.Lang) {
	t.Helper()
	wrong := faults(body, lang)
	for _, what := range wrong {
		t.Error(what)
	}
	if len(wrong) > 0 {
		t.Log(body)
	}
}

func faults(body string, lang page.Lang) []string {
	w := walk{text: map[string]*strings.Builder{}, ids: map[string]bool{}}
	d := xml.NewDecoder(strings.NewReader(body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []string{"the page can't be read: " + err.Error()}
		}
		w.take(token)
	}
	w.end(lang)
	return w.wrong
}

// walk is what was met on the way through a page.
type walk struct {
	open         []xml.StartElement
	text         map[string]*strings.Builder // of the elements that are open or came last, by name
	ids          map[string]bool
	pointed      []string // identifiers that something is described by
	level, mains int
	heads        int // of the first level
	lang         string
	title, h1    string
	wrong        []string
}

func (w *walk) say(ok bool, what string) {
	if !ok {
		w.wrong = append(w.wrong, what)
	}
}

func attr(e xml.StartElement, name string) (string, bool) {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

func (w *walk) take(token xml.Token) {
	switch e := token.(type) {
	case xml.StartElement:
		w.start(e.Copy())
	case xml.CharData:
		for _, o := range w.open {
			w.text[o.Name.Local].Write(e)
		}
	case xml.EndElement:
		w.finish()
	}
}

func (w *walk) start(e xml.StartElement) {
	name := e.Name.Local
	w.open = append(w.open, e)
	w.text[name] = &strings.Builder{}
	switch name {
	case "html":
		w.lang, _ = attr(e, "lang")
	case "main":
		w.mains++
	case "h1", "h2", "h3":
		level := int(name[1] - '0')
		w.say(level <= w.level+1, name+" skips a level")
		w.level = level
		if level == 1 {
			w.heads++
		}
	case "a":
		_, ok := attr(e, "href")
		w.say(ok, "a link that the keyboard does not reach")
	case "script", "img", "iframe", "object":
		w.say(false, "there is a "+name)
	}
	if id, ok := attr(e, "id"); ok {
		w.say(id != "" && !strings.ContainsAny(id, " \t\n") && !w.ids[id], "the identifier "+id+" is empty, cut or given twice")
		w.ids[id] = true
	}
	if id, ok := attr(e, "aria-describedby"); ok {
		w.pointed = append(w.pointed, id)
	}
	if lang, ok := attr(e, "lang"); ok {
		w.say(lang != "", "a language without a name")
	}
	for _, name := range []string{"tabindex", "autofocus", "onclick", "style"} {
		_, ok := attr(e, name)
		w.say(!ok, "an attribute "+name)
	}
}

func (w *walk) finish() {
	if len(w.open) == 0 {
		return
	}
	name := w.open[len(w.open)-1].Name.Local
	w.open = w.open[:len(w.open)-1]
	text := strings.TrimSpace(w.text[name].String())
	switch name {
	case "title":
		w.title = text
	case "h1":
		w.h1 = text
	}
	switch name {
	case "title", "h1", "h2", "h3", "a", "li", "p":
		w.say(text != "", name+" is empty")
	}
}

func (w *walk) end(lang page.Lang) {
	w.say(w.lang == string(lang), "the page says that it is in "+w.lang)
	w.say(w.heads == 1 && w.mains == 1, "there is not one h1 in one main")
	w.say(w.title != "" && w.title == w.h1, "the window is called "+w.title+", the page "+w.h1)
	for _, id := range w.pointed {
		w.say(w.ids[id], "nothing is called "+id)
	}
}

// Complete reports words that are there in one language and not in the other, or
// the same in both. Those that are to be alike in both are named.
func Complete[T any](t *testing.T, both page.Both[T], alike ...string) {
	t.Helper()
	for _, what := range differences(both, alike...) {
		t.Error(what)
	}
}

func differences[T any](both page.Both[T], alike ...string) []string {
	p := pair{alike: alike}
	p.compare(reflect.ValueOf(both.French), reflect.ValueOf(both.English), reflect.TypeFor[T]().String())
	if p.words == 0 {
		p.wrong = append(p.wrong, "there are no words")
	}
	return p.wrong
}

// pair is what was found when the words of both languages were held together.
type pair struct {
	alike []string
	words int
	wrong []string
}

func (p *pair) compare(fr, en reflect.Value, at string) {
	differ := func(a, b any) {
		p.wrong = append(p.wrong, fmt.Sprintf("%s: %v in French, %v in English", at, a, b))
	}
	switch fr.Kind() {
	case reflect.String:
		a, b := fr.String(), en.String()
		if (a == "") != (b == "") || a == b && a != "" && !slices.Contains(p.alike, a) {
			differ(strconv.Quote(a), strconv.Quote(b))
		}
		p.words += len(a)
	case reflect.Struct:
		for i := range fr.NumField() {
			p.compare(fr.Field(i), en.Field(i), at+"."+fr.Type().Field(i).Name)
		}
	case reflect.Slice, reflect.Array:
		if fr.Len() != en.Len() {
			differ(fr.Len(), en.Len())
			return
		}
		for i := range fr.Len() {
			p.compare(fr.Index(i), en.Index(i), at)
		}
	case reflect.Map:
		if fr.Len() != en.Len() {
			differ(fr.Len(), en.Len())
			return
		}
		for _, key := range fr.MapKeys() {
			if !en.MapIndex(key).IsValid() {
				differ(key, "nothing")
				continue
			}
			p.compare(fr.MapIndex(key), en.MapIndex(key), at)
		}
	default: // no words
	}
}

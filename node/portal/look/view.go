package look

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"preau/cache/page"
)

// View is a page as its template sees it.
type View struct {
	Page
	Lang   page.Lang
	House  House
	Nav    []NavItem
	Person *Person
	Say    Words // the frame's own

	prefix, path, query string
}

// viewOf is what a page is to whoever asked.
func viewOf(r *http.Request, p Page) View {
	said := spokenOf(r)
	v := View{Page: p, Lang: said.lang, House: houseOf(r), Say: frameWords.In(said.lang), prefix: said.prefix, path: r.URL.Path, query: r.URL.RawQuery}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		v.query = ""
	}
	if v.House.Nav != nil {
		v.Nav = v.House.Nav(r)
	}
	if v.House.Person != nil {
		v.Person = v.House.Person(r)
	}
	return v
}

// With is the view with another body, for a part of a template.
func (v View) With(body any) View {
	v.Body = body
	return v
}

// Path is a path of the portal in the language that was chosen.
func (v View) Path(p string) string { return v.prefix + p }

// Asset is the address of one of look's own static files.
func (View) Asset(name string) string { return Asset(name) }

// Icon is a small picture; it says nothing to those who can't see it.
func (View) Icon(name string) template.HTML { return Icon(name) }

// Size is a number of bytes in words.
func (v View) Size(n int64) string { return page.Size(n, v.Lang) }

// Day is a date in words.
func (v View) Day(t time.Time) string { return Day(t, v.Lang) }

// Clock is a time of day.
func (v View) Clock(t time.Time) string { return t.Local().Format("15:04") }

// Stamp is a time as machines read it, for the datetime of a time element.
func (View) Stamp(t time.Time) string { return t.Format(time.RFC3339) }

// Date is a date as a form's field has it.
func (View) Date(t time.Time) string { return t.Local().Format(time.DateOnly) }

// Here reports whether the page is the one at p, or below it.
func (v View) Here(p string) bool {
	return v.path == p || p != "/" && strings.HasPrefix(v.path, strings.TrimSuffix(p, "/")+"/")
}

// WindowTitle is what the window is called.
func (v View) WindowTitle() string {
	if v.Title == v.House.Title {
		return v.Title
	}
	return v.Title + " · " + v.House.Title
}

// Tongue is a language to change to.
type Tongue struct {
	Lang      page.Lang
	Name, URL string
	Now       bool
}

// Tongues are the languages, and where the same page is in each.
func (v View) Tongues() []Tongue {
	at := (&url.URL{Path: v.path}).EscapedPath()
	if v.query != "" {
		at += "?" + v.query
	}
	return []Tongue{
		{page.French, "Français", "/fr" + at, v.Lang == page.French},
		{page.English, "English", "/en" + at, v.Lang == page.English},
	}
}

var months = page.Both[[12]string]{
	French:  [12]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"},
	English: [12]string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
}

var weekdays = page.Both[[7]string]{
	French:  [7]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"},
	English: [7]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
}

// Day is a date in words, as it is where the box is: lundi 23 novembre 2026.
func Day(t time.Time, l page.Lang) string {
	t = t.Local()
	day := t.Format("2")
	if t.Day() == 1 && l == page.French {
		day = "1er"
	}
	return weekdays.In(l)[t.Weekday()] + " " + day + " " + months.In(l)[t.Month()-1] + " " + t.Format("2006")
}

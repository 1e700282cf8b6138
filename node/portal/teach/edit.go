package teach

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"preau/node/lesson"
	"preau/node/portal/look"
)

// form is a lesson as it is written and changed.
type form struct {
	Token      string
	Action     string
	New        bool
	Title      string
	Class      string
	Day, Clock string // as fields have them
	Links      string // one a line
	Picked     []Found
	Query      string
	Asked      bool // something was looked for
	Found      []Found
	Recent     []Found // files of the school
	Library    bool
	Seen       string // the version that was changed
	Wrong      map[string]string
	Problem    string // of all of it
}

func (t *Teach) create(w http.ResponseWriter, r *http.Request, who Person) {
	f := form{Action: Prefix + "new", New: true}
	// The next school day at eight is as good a guess as any.
	at := time.Now().AddDate(0, 0, 1)
	for at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
		at = at.AddDate(0, 0, 1)
	}
	f.Day, f.Clock = at.Format(time.DateOnly), "08:00"
	if r.Method != http.MethodPost {
		if it, ok := keyed(r.URL.Query().Get("with")); ok { // from a page that offers it
			f.pick(t, it)
		}
		if l, err := t.parts.Lessons.Get(r.URL.Query().Get("copy")); err == nil {
			f.from(t, l)
		}
		t.writeForm(w, r, f, http.StatusOK)
		return
	}
	l, ok := t.read(w, r, &f, lesson.Lesson{By: who.Subject})
	if !ok {
		return
	}
	l, err := t.parts.Lessons.Create(l)
	t.saved(w, r, who, f, l, err)
}

func (t *Teach) edit(w http.ResponseWriter, r *http.Request, who Person) {
	l, ok := t.mine(w, r, who)
	if !ok {
		return
	}
	f := form{Action: pathOf(l.ID, "edit")}
	if r.Method != http.MethodPost {
		f.Seen = seen(l.Version)
		f.Day, f.Clock = l.Date.Local().Format(time.DateOnly), l.Date.Local().Format("15:04")
		f.from(t, l)
		t.writeForm(w, r, f, http.StatusOK)
		return
	}
	next, ok := t.read(w, r, &f, l)
	if !ok {
		return
	}
	version, known := unseen(f.Seen)
	if !known {
		version = lesson.Version{}
	}
	next, err := t.parts.Lessons.Update(next, version)
	t.saved(w, r, who, f, next, err)
}

// from fills in what a lesson has.
func (f *form) from(t *Teach, l lesson.Lesson) {
	f.Title, f.Class = l.Title, l.Class
	var links []string
	for _, it := range l.Items {
		if it.Kind == lesson.Link {
			links = append(links, it.URL)
			continue
		}
		f.pick(t, it)
	}
	f.Links = strings.Join(links, "\n")
}

func seen(v lesson.Version) string { return strconv.FormatUint(v.N, 10) + " " + v.Box }

func unseen(s string) (lesson.Version, bool) {
	n, box, ok := strings.Cut(s, " ")
	num, err := strconv.ParseUint(n, 10, 64)
	return lesson.Version{N: num, Box: box}, ok && err == nil
}

// saved leads on from a form, or shows it again with what is wrong.
func (t *Teach) saved(w http.ResponseWriter, r *http.Request, who Person, f form, l lesson.Lesson, err error) {
	say := wordsOf(r)
	switch {
	case err == nil:
		t.note(r, who, "lesson saved", l.Title)
		http.Redirect(w, r, look.Path(r, pathOf(l.ID, "")), http.StatusSeeOther)
		return
	case errors.Is(err, lesson.ErrChanged):
		f.Problem = say.Changed
		if now, err := t.parts.Lessons.Get(l.ID); err == nil {
			f.Seen = seen(now.Version) // the next time it is meant
		}
		t.writeForm(w, r, f, http.StatusConflict)
		return
	case errors.Is(err, lesson.ErrUnknown):
		look.Fail(w, r, http.StatusNotFound, say.NoLesson)
		return
	case errors.Is(err, lesson.ErrInvalid):
		f.Problem = say.Invalid
	case errors.Is(err, lesson.ErrFull):
		f.Problem = say.Full
	default:
		t.log.ErrorContext(r.Context(), "a lesson can't be kept", "err", err)
		look.Fail(w, r, http.StatusInternalServerError, say.NotSaved)
		return
	}
	t.writeForm(w, r, f, http.StatusUnprocessableEntity)
}

// read reads a form. It is not ok if the form was shown again.
func (t *Teach) read(w http.ResponseWriter, r *http.Request, f *form, l lesson.Lesson) (lesson.Lesson, bool) {
	say := wordsOf(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		look.Fail(w, r, http.StatusRequestEntityTooLarge, say.BadForm)
		return l, false
	}
	word := func(name string) string {
		s := strings.ToValidUTF8(r.PostForm.Get(name), "")
		return strings.Join(strings.Fields(s), " ")
	}
	f.Title, f.Class, f.Day, f.Clock, f.Query, f.Seen = word("title"), word("class"), word("day"), word("clock"), word("q"), r.PostForm.Get("seen")
	f.Links, f.Wrong = strings.ToValidUTF8(r.PostForm.Get("links"), ""), map[string]string{}
	for _, k := range r.PostForm["item"] {
		if it, ok := keyed(k); ok && len(f.Picked) <= lesson.MaxItems {
			f.pick(t, it)
		}
	}
	if r.PostForm.Get("do") == "find" {
		f.Asked = true
		if t.parts.Library != nil && f.Query != "" {
			f.Found = t.parts.Library.Find(f.Query, mostFound)
		}
		t.writeForm(w, r, *f, http.StatusOK)
		return l, false
	}
	l.Title, l.Class = f.Title, f.Class
	if f.Title == "" {
		f.Wrong["title"] = say.NeedTitle
	}
	for name, s := range map[string]string{"title": f.Title, "class": f.Class} {
		if utf8.RuneCountInString(s) > 100 {
			f.Wrong[name] = say.TooLong
		}
	}
	at, err := time.ParseInLocation(time.DateOnly+" 15:04", f.Day+" "+f.Clock, time.Local)
	if err != nil {
		f.Wrong["day"] = say.NeedDate
	}
	l.Date = at
	l.Items = f.items(l.Items)
	if n := len(l.Items); n > lesson.MaxItems {
		f.Wrong["links"] = fmt.Sprintf(say.TooMany, lesson.MaxItems)
	}
	for _, it := range l.Items {
		if it.Validate() != nil {
			f.Wrong["links"] = say.BadLink
		}
	}
	if len(f.Wrong) > 0 {
		f.Problem = say.Invalid
		t.writeForm(w, r, *f, http.StatusUnprocessableEntity)
		return l, false
	}
	return l, true
}

// items are the form's things, with the titles that those had before.
func (f *form) items(before []lesson.Item) (out []lesson.Item) {
	add := func(it lesson.Item) {
		for _, old := range before {
			if old.Kind == it.Kind && old.URL == it.URL && old.ID == it.ID && it.Title == "" {
				it.Title = old.Title
			}
		}
		if !slices.ContainsFunc(out, func(o lesson.Item) bool { return o.Kind == it.Kind && o.URL == it.URL && o.ID == it.ID }) {
			out = append(out, it)
		}
	}
	for line := range strings.Lines(f.Links) {
		for link := range strings.FieldsSeq(line) {
			add(lesson.Item{Kind: lesson.Link, URL: link})
		}
	}
	for _, p := range f.Picked {
		title := p.Title
		for len(title) > 200 {
			title = strings.ToValidUTF8(title[:200], "")
		}
		add(lesson.Item{Kind: p.Kind, ID: p.ID, Title: title})
	}
	return out
}

// pick adds a thing to those that are chosen.
func (f *form) pick(t *Teach, it lesson.Item) {
	found := Found{Kind: it.Kind, ID: it.ID, Title: it.Title}
	if t.parts.Library != nil {
		if known, ok := t.parts.Library.Named(it.Kind, it.ID); ok {
			found = known
		}
	}
	if found.Title == "" {
		found.Title = it.ID
	}
	f.Picked = append(f.Picked, found)
}

// Key names a thing in the form.
func (f Found) Key() string { return key(lesson.Item{Kind: f.Kind, ID: f.ID}) }

// Icon is a picture of its sort.
func (f Found) Icon() string { return look.IconOf(f.ContentType) }

// Class is its sort for style sheets.
func (f Found) Class() string { return look.Kind(f.ContentType).Class() }

func (t *Teach) writeForm(w http.ResponseWriter, r *http.Request, f form, status int) {
	say := wordsOf(r)
	f.Token, f.Library = t.parts.Token(r), t.parts.Library != nil
	chosen := func(x Found) bool {
		return slices.ContainsFunc(f.Picked, func(p Found) bool { return p.Kind == x.Kind && p.ID == x.ID })
	}
	f.Found = slices.DeleteFunc(f.Found, chosen)
	if t.parts.Files != nil {
		for _, file := range t.parts.Files.Files(8) {
			f.Recent = append(f.Recent, Found{Kind: lesson.Deposit, ID: file.ID, Title: named(file.Title, file.Filename), ContentType: file.ContentType, Bytes: file.Bytes})
		}
	}
	f.Recent = slices.DeleteFunc(f.Recent, func(x Found) bool {
		return chosen(x) || slices.ContainsFunc(f.Found, func(y Found) bool { return x.Kind == y.Kind && x.ID == y.ID })
	})
	title := say.EditTitle
	if f.New {
		title = say.NewTitle
	}
	t.write(w, r, editPage, look.Page{Title: title, Status: status, Body: f})
}

func named(title, filename string) string {
	if title != "" {
		return title
	}
	return filename
}

package teach

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"preau/cache/page"
	"preau/node/lesson"
	"preau/node/portal/look"
)

// pastAfter is how long after its time a lesson is among those that were.
const pastAfter = 12 * time.Hour

// card is a lesson in the list.
type card struct {
	lesson.Lesson
	Path                       string
	Ready, Coming, Cannot, All int
	Light                      lesson.Light
	Says                       string // how it stands, in words
}

func (t *Teach) card(l lesson.Lesson, say Words) card {
	c := card{Lesson: l, Path: pathOf(l.ID, ""), All: len(l.Items), Light: lesson.Ready}
	for _, st := range t.parts.Lights.States(l) {
		switch st.Light {
		case lesson.Ready:
			c.Ready++
		case lesson.Cannot:
			c.Cannot++
		default:
			c.Coming++
		}
	}
	switch {
	case c.All == 0:
		c.Light, c.Says = lesson.Waiting, say.Empty
	case c.Cannot == 1:
		c.Light, c.Says = lesson.Cannot, fmt.Sprintf(say.OneCannot, c.Ready, c.All)
	case c.Cannot > 0:
		c.Light, c.Says = lesson.Cannot, fmt.Sprintf(say.SomeCannot, c.Ready, c.All, c.Cannot)
	case c.Coming > 0:
		c.Light, c.Says = lesson.Arriving, fmt.Sprintf(say.SomeReady, c.Ready, c.All)
	default:
		c.Says = say.AllReady
	}
	return c
}

// lightIcon is the picture of a light. Its words say the same.
func lightIcon(l lesson.Light) string {
	switch l {
	case lesson.Ready:
		return "here"
	case lesson.Arriving:
		return "clock"
	case lesson.Cannot:
		return "no"
	}
	return "wait"
}

// LightIcon is the picture beside the words.
func (c card) LightIcon() string { return lightIcon(c.Light) }

// LightIcon is the picture beside the words.
func (r row) LightIcon() string { return lightIcon(r.Light) }

func pathOf(id, what string) string {
	p := Prefix + "l/" + id
	if what != "" {
		p += "/" + what
	}
	return p
}

func (t *Teach) list(w http.ResponseWriter, r *http.Request, who Person) {
	say, now := wordsOf(r), time.Now()
	var body struct {
		Coming, Past []card
		Join         string
	}
	if t.parts.Join != nil {
		body.Join = t.parts.Join(r)
	}
	for _, l := range t.parts.Lessons.List() {
		c := t.card(l, say)
		if l.Date.Before(now.Add(-pastAfter)) {
			if len(body.Past) < mostFiles {
				body.Past = append(body.Past, c)
			}
			continue
		}
		body.Coming = append(body.Coming, c)
	}
	slices.Reverse(body.Coming) // the next one first
	t.write(w, r, listPage, look.Page{Title: say.Lessons, Lead: fmt.Sprintf(say.Hello, who.Name), Crumbs: []look.Crumb{}, Body: body})
}

// row is an item on a lesson's page.
type row struct {
	lesson.State
	Title   string
	LightIs string // the light in words
	Why     string
	When    string // when it will be ready, in words
	Percent int64  // of what is to come; below 0 if that is not known
	To      string // where it can be looked at; empty if it can't
	Class   string
	Icon    string
}

// shownLesson is a lesson as its page shows it.
type shownLesson struct {
	card
	Mine bool // who looks may change it
	Rows []row
}

func (t *Teach) shown(l lesson.Lesson, r *http.Request, who Person) shownLesson {
	lang, say := look.Lang(r), wordsOf(r)
	out := shownLesson{card: t.card(l, say), Mine: l.MayChange(who.Subject, who.Admin)}
	for i, st := range t.parts.Lights.States(l) {
		it := l.Items[i]
		sort := look.Kind(st.Type)
		if st.Video {
			sort = look.Video
		}
		out.Rows = append(out.Rows, row{
			State: st, Title: titleOf(it, st), LightIs: st.Light.Words(lang), Why: st.Reason.Words(lang), When: when(st.ReadyAt, time.Now(), say, lang),
			Percent: percent(st), To: target(it, st), Class: sort.Class(), Icon: look.IconOf(cmp.Or(st.Type, "application/octet-stream")),
		})
		if it.Kind == lesson.Link && st.Type == "" {
			out.Rows[i].Class, out.Rows[i].Icon = "web", "link"
		}
	}
	return out
}

// titleOf is what an item is called: by whoever prepared it, by itself, or by the
// end of its address.
func titleOf(it lesson.Item, st lesson.State) string {
	name := cmp.Or(it.Title, st.Title)
	if name == "" && it.URL != "" {
		name = it.URL
		if u, err := url.Parse(it.URL); err == nil && u.Host != "" {
			name = u.Host + u.Path
		}
	}
	return cmp.Or(name, it.ID)
}

// target is where an item can be looked at from here. An address that was typed is
// followed only if it is one of the web.
func target(it lesson.Item, st lesson.State) string {
	if st.URL != "" && st.Light != lesson.Cannot && !st.Video {
		return st.URL
	}
	if u, err := url.Parse(it.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return it.URL
	}
	return ""
}

func percent(st lesson.State) int64 {
	switch {
	case st.Light == lesson.Ready || st.Light == lesson.Cannot || st.Bytes < 0:
		return -1
	case st.Bytes == 0:
		return 0
	}
	return min(st.Have*100/st.Bytes, 99)
}

// when says at what time something will be ready.
func when(at, now time.Time, say Words, lang page.Lang) string {
	if at.IsZero() {
		return ""
	}
	// To the minute, and never earlier than what was reckoned.
	at = at.Add(time.Minute - 1).Truncate(time.Minute).Local()
	clock := at.Format("15:04")
	if y, m, d := at.Date(); func() bool { ny, nm, nd := now.Local().Date(); return ny == y && nm == m && nd == d }() {
		return fmt.Sprintf(say.ReadyAt, clock)
	}
	return fmt.Sprintf(say.ReadyOn, look.Day(at, lang), clock)
}

// find gives the lesson of a path, or answers that there is none.
func (t *Teach) find(w http.ResponseWriter, r *http.Request) (lesson.Lesson, bool) {
	l, err := t.parts.Lessons.Get(r.PathValue("id"))
	if err != nil {
		look.Fail(w, r, http.StatusNotFound, wordsOf(r).NoLesson)
		return l, false
	}
	return l, true
}

// mine is find for who is going to change the lesson: it is its author's, and the
// school's admins'.
func (t *Teach) mine(w http.ResponseWriter, r *http.Request, who Person) (lesson.Lesson, bool) {
	l, ok := t.find(w, r)
	if ok && !l.MayChange(who.Subject, who.Admin) {
		say := wordsOf(r).NotYours
		say.Links = append([]page.Link{{To: Prefix + "new?copy=" + l.ID, Label: wordsOf(r).Copy}}, say.Links...)
		look.Fail(w, r, http.StatusForbidden, say)
		return l, false
	}
	return l, ok
}

func (t *Teach) lesson(w http.ResponseWriter, r *http.Request, who Person) {
	l, ok := t.find(w, r)
	if !ok {
		return
	}
	t.write(w, r, lessonPage, look.Page{Title: l.Title, Bare: true, Body: t.shown(l, r, who), Scripts: []string{look.Asset("live.js")}})
}

func (t *Teach) lessonLive(w http.ResponseWriter, r *http.Request, who Person) {
	l, ok := t.find(w, r)
	if !ok {
		return
	}
	say := wordsOf(r)
	t.live(w, r, []func() (<-chan struct{}, func()){t.parts.Lights.Watch, t.parts.Lessons.Watch}, func() ([]byte, error) {
		if now, err := t.parts.Lessons.Get(l.ID); err == nil {
			l = now
		}
		return lessonPage.Part(r, "items.html", look.Page{Title: l.Title, Words: say, Body: t.shown(l, r, who)})
	})
}

// show is for the wall, and for paper: a code to scan and a short address.
func (t *Teach) show(w http.ResponseWriter, r *http.Request, _ Person) {
	l, ok := t.find(w, r)
	if !ok {
		return
	}
	say := wordsOf(r)
	t.write(w, r, showPage, look.Page{
		Title: l.Title, Wide: true, Crumbs: []look.Crumb{{To: Prefix, Label: say.Lessons}, {To: pathOf(l.ID, ""), Label: l.Title}},
		Body: struct {
			lesson.Lesson
			Address string
		}{l, r.Host + "/l/"},
	})
}

func (t *Teach) delete(w http.ResponseWriter, r *http.Request, who Person) {
	l, ok := t.mine(w, r, who)
	if !ok {
		return
	}
	say := wordsOf(r)
	if r.Method != http.MethodPost {
		t.write(w, r, deletePage, look.Page{
			Title: say.DeleteTitle, Lead: l.Title, Crumbs: []look.Crumb{{To: Prefix, Label: say.Lessons}, {To: pathOf(l.ID, ""), Label: l.Title}},
			Body: struct{ Token, Path string }{t.parts.Token(r), pathOf(l.ID, "")},
		})
		return
	}
	if err := t.parts.Lessons.Delete(l.ID); err != nil && !errors.Is(err, lesson.ErrUnknown) {
		t.log.ErrorContext(r.Context(), "a lesson can't be deleted", "err", err)
		look.Fail(w, r, http.StatusInternalServerError, say.NotSaved)
		return
	}
	t.note(r, who, "lesson deleted", l.Title)
	http.Redirect(w, r, look.Path(r, Prefix), http.StatusSeeOther)
}

// key names an item in a form.
func key(it lesson.Item) string { return string(it.Kind) + ":" + it.ID }

// keyed reads what key wrote.
func keyed(s string) (lesson.Item, bool) {
	kind, id, ok := strings.Cut(s, ":")
	it := lesson.Item{Kind: lesson.Kind(kind), ID: id}
	return it, ok && it.Kind != lesson.Link && it.Validate() == nil
}

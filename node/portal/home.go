package portal

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
)

// What the home page shows of each sort; the rest is one tap further.
const (
	homeCollections = 12
	homeRecent      = 8
	homeSites       = 6
)

var (
	homePage = look.Must("pages/home.html", files, "pages/parts.html", "pages/line.html")
)

type homeBody struct {
	Line        lineBody
	Lessons     []lessonCard
	Codes       bool // there are lessons at all
	Collections []card
	Rest        bool // there are more
	Recent      []row
	Sites       []Site
	Yard        string
	Total, Here int
	LeftOut     bool
	Empty       bool
	Reading     bool
}

// card is a collection on a page.
type card struct {
	Name, Path, Hue, Icon string
	Count                 int
	Text, Here            string
}

// lessonCard is a lesson on a page.
type lessonCard struct {
	Lesson
	State string
	Done  bool
}

func (p *Portal) home(w http.ResponseWriter, r *http.Request) {
	p.answer(w, r, "home", homePage, func(ctx context.Context) look.Page {
		lang := look.Lang(r)
		say, v := sayings.In(lang), p.library.now()
		body := homeBody{
			Yard: assets.Asset("yard.svg"), Line: p.lineNow(lang), Codes: p.parts.Lessons != nil, Total: v.total, Here: v.here, LeftOut: v.more,
			Recent: p.reachNow().rows(v.recent[:min(homeRecent, len(v.recent))], lang),
		}
		for i, c := range v.collections {
			if i == homeCollections {
				body.Rest = true
				break
			}
			body.Collections = append(body.Collections, cardOf(c, say))
		}
		if p.parts.Lessons != nil {
			for _, l := range p.parts.Lessons.Today(p.now()) {
				body.Lessons = append(body.Lessons, lessonCardOf(l, say))
			}
		}
		if p.parts.Sites != nil {
			sites := p.sitesNow(ctx)
			body.Sites = sites[:min(homeSites, len(sites))]
		}
		body.Empty = v.total == 0 && len(body.Lessons) == 0 && len(body.Sites) == 0
		body.Reading = !v.read
		return look.Page{Title: p.cfg.Title, Bare: true, Wide: true, Home: true, Body: body, Words: say, Scripts: []string{look.Asset("live.js")}}
	})
}

func cardOf(c *collection, say saying) card {
	out := card{Name: c.Name, Path: "/c/" + segment(c.Name), Hue: hueOf(c.Name), Icon: iconOf(c), Count: len(c.Entries), Text: count(len(c.Entries), say)}
	if c.Name == "" {
		out.Name, out.Hue = say.NoCollection, "grey"
	}
	out.Here = hereOf(c, say)
	return out
}

// hereOf says how much of a collection opens without the line.
func hereOf(c *collection, say saying) string {
	switch c.Here {
	case 0:
		return ""
	case len(c.Entries):
		return say.HereAll
	}
	return fmt.Sprintf(say.HereOf, c.Here)
}

func count(n int, say saying) string {
	if n == 1 {
		return say.One
	}
	return fmt.Sprintf(say.Many, n)
}

// hueOf gives a collection a colour that is its own and stays.
func hueOf(name string) string {
	hues := [...]string{"red", "purple", "ochre", "blue", "green", "teal"}
	sum := uint32(2166136261)
	for _, b := range []byte(name) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return hues[sum>>8%uint32(len(hues))]
}

// iconOf is that of what a collection is made of, if it is one thing.
func iconOf(c *collection) string {
	first := c.Entries[0].Sort()
	if slices.ContainsFunc(c.Entries, func(e *Entry) bool { return e.Sort() != first }) {
		return "folder"
	}
	return first.Icon()
}

func lessonCardOf(l Lesson, say saying) lessonCard {
	ready := 0
	for _, it := range l.Items {
		if it.Light == Ready {
			ready++
		}
	}
	out := lessonCard{Lesson: l, Done: ready == len(l.Items) && ready > 0}
	switch {
	case out.Done:
		out.State = say.ReadyAll
	case len(l.Items) > 0:
		out.State = fmt.Sprintf(say.ReadySome, ready, len(l.Items))
	}
	return out
}

// lineBody is how the line is, in words.
type lineBody struct {
	Shown, Up bool
	Text      string
}

func (p *Portal) lineNow(lang page.Lang) lineBody {
	if p.parts.Line == nil {
		return lineBody{}
	}
	return lineIn(p.parts.Line.Line(), p.now(), lang)
}

func lineIn(s LineState, now time.Time, lang page.Lang) lineBody {
	say := sayings.In(lang)
	out := lineBody{Shown: true, Up: s.Up || !s.Known, Text: say.LineUnknown}
	switch {
	case !s.Known:
		out.Shown = false
	case s.Up:
		out.Text = say.LineUp
	case s.Since.IsZero():
		out.Text = say.LineDown
	case sameDay(s.Since, now):
		out.Text = fmt.Sprintf(say.LineDownAt, s.Since.Local().Format("15:04"))
	default:
		out.Text = fmt.Sprintf(say.LineDownDay, look.Day(s.Since, lang))
	}
	return out
}

func sameDay(a, b time.Time) bool {
	return a.Local().Format(time.DateOnly) == b.Local().Format(time.DateOnly)
}

// lineEvery is how often a page that watches the line looks.
const lineEvery = 2 * time.Second

// liveLine tells when the line goes or comes.
func (p *Portal) liveLine(w http.ResponseWriter, r *http.Request) {
	if p.parts.Line == nil {
		p.lost(w, r)
		return
	}
	lang, first := look.Lang(r), true
	var said lineBody
	tick := time.NewTicker(lineEvery)
	defer tick.Stop()
	p.live.Serve(w, r, func(ctx context.Context) ([]byte, error) {
		for {
			now := p.lineNow(lang)
			if first || now != said {
				first, said = false, now
				return homePage.Part(r, "line.html", look.Page{Body: now, Words: sayings.In(lang)})
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-tick.C:
			}
		}
	})
}

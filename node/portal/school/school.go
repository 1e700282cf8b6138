// Package school is what the person who looks after a school's box sees: how it
// stands, in words; its disk, its neighbours, the line over a day, what the box
// saved and how that is reckoned, lessons to come, what waits for the centre, and
// what was done on it by whom.
//
// It asks those who know, each time, and keeps nothing. It names no device and no
// pupil, changes nothing on the box but teachers' badges, and lets nobody in: who
// may see it, and that a form comes from its own pages, is for its caller to see to.
package school

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
	"preau/node/usage"
)

// Prefix opens the paths of all of these pages.
const Prefix = "/school/"

const (
	liveEvery = 3 * time.Second
	actions   = 200 // shown at most
)

//go:embed *.html static
var files embed.FS

// Static are this package's static files, for look.Assets.
var Static = look.MustBundle(files, "static")

// State is how a box stands at one moment.
type State struct {
	Now        time.Time
	Box        Box
	Sites      []Site
	Disk       Disk
	Held       int64 // resources that can be had without a line
	Neighbours []Neighbour
	Pooled     bool // the box looks for others in its school
	Deposits   Deposits
	Lessons    []Lesson // to come, soonest first
	Background Background
}

// Box is which one it is and whether its region can be reached.
type Box struct {
	Name, School, Region, Version string
	Enrolled                      bool
	Problem                       string // why it can't take part in its region, as its log says it
	Server                        string // of the region, that is followed; empty: none can be reached
	Since                         time.Time
	Certificate                   time.Time // until when it is good; zero: there is none
	WithoutDisk                   string    // why it runs from memory: tpm, or any other reason; empty: it does not
	GivenUp                       []string  // versions that did not come back well
}

// Site is one web site's line.
type Site struct {
	Name  string
	Up    bool
	Since time.Time // zero: it was never seen to be otherwise
}

// Disk is what the cache may take and takes, in bytes.
type Disk struct {
	Used, Budget int64
	Full         bool // the disk itself: requests pass through
}

// Neighbour is another box of the school.
type Neighbour struct {
	Name         string
	There        bool
	Leaving      bool
	Free         int64 // bytes
	Given, Taken int64 // by this box to it and from it
	Problem      string
}

// Deposits are what was added here and is not in the centre yet.
type Deposits struct {
	Closed bool // nothing can be added now
	Count  int
	Bytes  int64
	Oldest time.Time
	First  []Deposit
}

// Deposit is one of them.
type Deposit struct {
	Title    string
	Bytes    int64
	At       time.Time
	InRegion bool
	Waiting  page.Both[string] // why; may be empty
}

// Lesson is one to come.
type Lesson struct {
	Title, Class, Path    string
	At                    time.Time
	Ready, Coming, Cannot int // items
}

// Background is what IT allows for what is fetched ahead.
type Background struct {
	Rate  int64 // bytes a second; 0: no bound
	Hours []Hours
}

// Hours are minutes after midnight; To may lie before From.
type Hours struct{ From, To int }

// Action is one thing that somebody did.
type Action struct {
	At   time.Time
	Who  string
	What page.Both[string]
}

// Sources are who knows.
type Sources struct {
	State func(ctx context.Context) State
	// Bins are quarters of an hour (usage.Book).
	Bins func(from, to time.Time) ([]usage.Bin, error)
	// Actions are the latest, latest first; nil: none are kept.
	Actions func(most int) ([]Action, error)
	Badges  Badges // nil: none can be made
}

// Pages are the admin's pages.
type Pages struct {
	src  Sources
	live *look.Live
	log  *slog.Logger
	mux  *http.ServeMux
}

var (
	homePage = look.Must("home.html", files, "state.html", "added.html", "boxes.html", "day.html", "live.html")
	logPage  = look.Must("log.html", files)
)

// New checks that somebody knows. live carries the parts that change.
func New(src Sources, live *look.Live, log *slog.Logger) (*Pages, error) {
	if src.State == nil || src.Bins == nil || live == nil || log == nil {
		return nil, errors.New("school: State, Bins, live and log are needed")
	}
	p := &Pages{src: src, live: live, log: log, mux: http.NewServeMux()}
	p.mux.HandleFunc("GET "+Prefix+"{$}", p.home)
	p.mux.HandleFunc("GET "+Prefix+"live", p.changes)
	p.mux.HandleFunc("GET "+Prefix+"log", p.actions)
	if src.Badges != nil {
		p.addBadges()
	}
	p.mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		look.Fail(w, r, http.StatusNotFound, words.In(look.Lang(r)).missing())
	})
	return p, nil
}

// ServeHTTP implements http.Handler for the paths below Prefix.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Pages) home(w http.ResponseWriter, r *http.Request) {
	lang := look.Lang(r)
	say := words.In(lang)
	s := p.src.State(r.Context())
	day, err := p.day(r, s)
	if err != nil {
		p.log.WarnContext(r.Context(), "what was used can't be shown", "err", err)
	}
	made := look.Page{
		Title: say.Title, Wide: true, Private: true, Words: say,
		Scripts: []string{look.Asset("live.js")}, Styles: []string{Static.Asset("school.css")},
		Body: view{State: s, Told: tell(s, lang), Day: day, Badges: p.src.Badges != nil},
	}
	if err := homePage.Write(w, r, made); err != nil {
		p.fail(w, r, err)
	}
}

// view is what the templates see.
type view struct {
	State
	Told   []Sentence
	Day    Day
	Badges bool // can be made
}

// changes streams what is said of the box now, whenever that is something else.
func (p *Pages) changes(w http.ResponseWriter, r *http.Request) {
	lang := look.Lang(r)
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	var last []byte
	p.live.Serve(w, r, func(ctx context.Context) ([]byte, error) {
		for {
			s := p.src.State(ctx)
			part, err := homePage.Part(r, "live.html", look.Page{Words: words.In(lang), Private: true, Body: view{State: s, Told: tell(s, lang)}})
			if err != nil || !bytes.Equal(part, last) {
				last = part
				return part, err
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-tick.C:
			}
		}
	})
}

func (p *Pages) actions(w http.ResponseWriter, r *http.Request) {
	say := words.In(look.Lang(r))
	var all []Action
	if p.src.Actions != nil {
		var err error
		if all, err = p.src.Actions(actions); err != nil {
			p.log.WarnContext(r.Context(), "the log of what was done can't be read", "err", err)
			look.Fail(w, r, http.StatusServiceUnavailable, say.unread())
			return
		}
	}
	made := look.Page{
		Title: say.LogTitle, Lead: say.LogLead, Private: true, Words: say,
		Crumbs: []look.Crumb{{To: Prefix, Label: say.Title}}, Body: all,
	}
	if err := logPage.Write(w, r, made); err != nil {
		p.fail(w, r, err)
	}
}

func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	p.log.ErrorContext(r.Context(), "a page can't be made", "path", r.URL.Path, "err", err)
	look.Fail(w, r, http.StatusInternalServerError, words.In(look.Lang(r)).broken())
}

// day is the day that is asked for, today if none is.
func (p *Pages) day(r *http.Request, s State) (Day, error) {
	now := s.Now.Local()
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.Local)
	from := today
	if asked, err := time.ParseInLocation(time.DateOnly, r.URL.Query().Get("day"), time.Local); err == nil &&
		!asked.After(today) && today.Sub(asked) < usage.Kept-24*time.Hour {
		from = asked
	}
	bins, err := p.src.Bins(from, from.AddDate(0, 0, 1))
	return draw(from, today, bins, s.Background, look.Lang(r)), err
}

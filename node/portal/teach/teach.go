// Package teach is what teachers see of a box: their lessons, what stands ready of
// each, a page for the wall with the short address, and where they add files of
// their own.
//
// It keeps nothing itself: lessons are node/lesson's, files that come in
// node/upload's. Who may come in, and that a form was sent from these pages, is for
// whoever mounts it to see to (/teach/, behind a check of role and token); it only
// puts the token into its forms. All of it works without scripts but for adding
// files, where a script sends them piece by piece.
package teach

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"preau/cache/page"
	"preau/node/lesson"
	"preau/node/portal/look"
	"preau/node/upload"
)

// Prefix opens the paths of all of these pages, and UploadPrefix those to which
// files are sent: it is for upload.Config.
const (
	Prefix       = "/teach/"
	UploadPrefix = "/teach/files/up/"
)

const (
	liveEvery = 700 * time.Millisecond // at most so often is a page told of news
	mostFound = 20
	mostFiles = 50
	maxForm   = 256 << 10
)

//go:embed *.html static
var files embed.FS

// Static are this package's static files, for look.Assets.
var Static = look.MustBundle(files, "static")

var (
	listPage   = look.Must("list.html", files)
	lessonPage = look.Must("lesson.html", files, "items.html")
	editPage   = look.Must("edit.html", files)
	showPage   = look.Must("show.html", files)
	deletePage = look.Must("delete.html", files)
	filesPage  = look.Must("files.html", files, "added.html")
)

// Person is who is signed in.
type Person struct {
	Subject string // what the provider calls them, for ever
	Name    string
	Admin   bool // of the school
}

// Found is something of the catalogue, or a file of the school, that a lesson can
// have.
type Found struct {
	Kind        lesson.Kind // Published or Deposit
	ID          string
	Title       string
	ContentType string
	Bytes       int64
	Where       string // the collection it is in; may be empty
}

// File is one that was added in the school.
type File struct {
	ID, Title, Filename, ContentType string
	Path                             string // of the page that shows it
	Bytes                            int64
	At                               time.Time
	State                            Stage
}

// Stage is how far a file has come.
type Stage string

// The stages, in their order.
const (
	OnBox    Stage = "box"
	InRegion Stage = "region"
	Safe     Stage = "central"
)

// Library finds things for lessons. Its methods may be called concurrently.
type Library interface {
	// Find returns what matches a query best, at most n.
	Find(query string, n int) []Found
	// Named returns one thing, for its title.
	Named(kind lesson.Kind, id string) (Found, bool)
}

// Files are what was added in the school. Its methods may be called concurrently.
type Files interface {
	// Files returns at most n, latest first.
	Files(n int) []File
	// Watch returns a channel that has something to receive when one has changed,
	// until stop is called.
	Watch() (changed <-chan struct{}, stop func())
}

// Lights tell how the items of lessons stand: a *lesson.Preparer.
type Lights interface {
	States(l lesson.Lesson) []lesson.State
	Watch() (changed <-chan struct{}, stop func())
}

// Parts are what the pages are made of. Library, Files and Uploads may be nil.
type Parts struct {
	Lessons *lesson.Store
	Lights  Lights
	Library Library
	Files   Files
	Uploads *upload.Server
	Live    *look.Live
	// Who is signed in, and Token what goes with that person's forms.
	Who   func(r *http.Request) (Person, bool)
	Token func(r *http.Request) string
	// Join, unless nil, is where who came by a badge joins it to their account; empty
	// if there is nothing to join.
	Join func(r *http.Request) string
	// Log, unless nil, takes note of what somebody has done.
	Log func(ctx context.Context, who Person, action, what string)
}

// Teach is the teachers' pages.
type Teach struct {
	parts Parts
	log   *slog.Logger
	mux   *http.ServeMux
}

// New makes the pages. They are a handler for all paths below Prefix.
func New(parts Parts, log *slog.Logger) (*Teach, error) {
	if parts.Lessons == nil || parts.Lights == nil || parts.Live == nil || parts.Who == nil || parts.Token == nil {
		return nil, errors.New("teach: lessons, lights, live, who and token must be given")
	}
	t := &Teach{parts: parts, log: log.With("part", "teach"), mux: http.NewServeMux()}
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request, Person){
		"GET /teach/{$}":            t.list,
		"GET /teach/new":            t.create,
		"POST /teach/new":           t.create,
		"GET /teach/l/{id}":         t.lesson,
		"GET /teach/l/{id}/live":    t.lessonLive,
		"GET /teach/l/{id}/edit":    t.edit,
		"POST /teach/l/{id}/edit":   t.edit,
		"GET /teach/l/{id}/delete":  t.delete,
		"POST /teach/l/{id}/delete": t.delete,
		"GET /teach/l/{id}/show":    t.show,
		"GET /teach/files":          t.files,
		"GET /teach/files/live":     t.filesLive,
		"POST /teach/files/remove":  t.remove,
		"/teach/":                   t.lost,
	} {
		t.mux.HandleFunc(pattern, t.in(h))
	}
	if parts.Uploads != nil {
		t.mux.Handle(UploadPrefix, parts.Uploads.Handler(func(r *http.Request) string {
			who, _ := parts.Who(r)
			return who.Subject
		}))
	}
	return t, nil
}

// ServeHTTP implements http.Handler.
func (t *Teach) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }

// in lets those in who are signed in. Others were sent to sign in before.
func (t *Teach) in(next func(http.ResponseWriter, *http.Request, Person)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok := t.parts.Who(r)
		if !ok || who.Subject == "" {
			look.Fail(w, r, http.StatusUnauthorized, wordsOf(r).SignIn)
			return
		}
		next(w, r, who)
	}
}

func wordsOf(r *http.Request) Words { return words.In(look.Lang(r)) }

// write answers with a page.
func (t *Teach) write(w http.ResponseWriter, r *http.Request, kind *look.Template, p look.Page) {
	p.Private, p.Words = true, wordsOf(r)
	p.Styles = append(p.Styles, Static.Asset("teach.css"))
	if p.Crumbs == nil {
		p.Crumbs = []look.Crumb{{To: Prefix, Label: wordsOf(r).Lessons}}
	}
	if err := kind.Write(w, r, p); err != nil {
		t.log.ErrorContext(r.Context(), "a page can't be made", "err", err)
		look.Fail(w, r, http.StatusInternalServerError, wordsOf(r).Broken)
	}
}

func (t *Teach) lost(w http.ResponseWriter, r *http.Request, _ Person) {
	look.Fail(w, r, http.StatusNotFound, wordsOf(r).Lost)
}

func (t *Teach) note(r *http.Request, who Person, action, what string) {
	if t.parts.Log != nil {
		t.parts.Log(r.Context(), who, action, what)
	}
}

// live sends a part of a page at once, and again whenever it has become another.
func (t *Teach) live(w http.ResponseWriter, r *http.Request, watches []func() (<-chan struct{}, func()), part func() ([]byte, error)) {
	woken := make(chan struct{}, 1)
	ctx, end := context.WithCancel(r.Context())
	var on sync.WaitGroup
	defer on.Wait()
	defer end()
	for _, watch := range watches {
		changed, stop := watch()
		defer stop()
		on.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-changed:
				}
				select {
				case woken <- struct{}{}:
				default:
				}
			}
		})
	}
	var last []byte
	t.parts.Live.Serve(w, r, func(ctx context.Context) ([]byte, error) {
		for {
			now, err := part()
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(now, last) {
				last = now
				return now, nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-woken:
			}
			pause := time.NewTimer(liveEvery)
			select {
			case <-ctx.Done():
				pause.Stop()
				return nil, ctx.Err()
			case <-pause.C:
			}
		}
	})
}

// notice is a page's word about what has gone wrong with a form.
type notice = page.Notice

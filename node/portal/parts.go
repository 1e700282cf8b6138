package portal

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"path"
	"strings"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
)

var (
	// ErrNone reports a thing that is not there.
	ErrNone = errors.New("there is no such thing")
	// ErrGone reports a thing that was there.
	ErrGone = errors.New("it is not there any more")
)

// Kind is where a thing comes from, and the letter in its address.
type Kind string

// The kinds of things.
const (
	Published Kind = "r" // by the region
	Added     Kind = "d" // in the school
)

// Entry is one thing to look at or to download.
type Entry struct {
	Kind        Kind
	ID          string
	Title       string
	Filename    string
	Description string
	Collection  string // as people call it
	ContentType string
	Language    string // as in Content-Language
	Level       string // for whom it is, in a word: CM2
	Licence     string
	Bytes       int64
	Held        int64 // of them, on this box
	At          time.Time
	// Stage is how far something added is: "box", "region", "centre".
	Stage string
}

// Name is what people call it.
func (e Entry) Name() string { return cmp.Or(e.Title, e.Filename, e.ID) }

// Whole reports whether it opens without the line.
func (e Entry) Whole() bool { return e.Held >= e.Bytes }

// Path is where its bytes are.
func (e Entry) Path() string {
	return "/" + string(e.Kind) + "/" + e.ID + "/" + url.PathEscape(e.Filename)
}

// See is where the page on it is.
func (e Entry) See() string { return "/see/" + string(e.Kind) + "/" + e.ID }

// Sort is what people call its kind of file.
func (e Entry) Sort() look.Sort {
	if s := look.Kind(e.ContentType); s != look.Other || e.ContentType != "application/octet-stream" {
		return s
	}
	return look.Kind(typeOf(e.Filename))
}

// Class and Icon are how it looks in a list.
func (e Entry) Class() string { return e.Sort().Class() }

// Icon is the name of its icon.
func (e Entry) Icon() string { return e.Sort().Icon() }

// briefly bounds what a list says of one thing, in characters.
const briefly = 160

// Brief is the beginning of its description.
func (e Entry) Brief() string {
	runes := []rune(strings.Join(strings.Fields(e.Description), " "))
	if len(runes) <= briefly {
		return string(runes)
	}
	short := string(runes[:briefly])
	if i := strings.LastIndexByte(short, ' '); i > 0 {
		short = short[:i]
	}
	return short + "…"
}

// Lang is the language of its words where it says just one.
func (e Entry) Lang() string {
	if strings.ContainsAny(e.Language, ", ") || e.Language == "" {
		return ""
	}
	return e.Language
}

// typeOf guesses a media type from a name, for what came without.
func typeOf(name string) string {
	return map[string]string{
		".pdf": "application/pdf", ".odt": "application/vnd.oasis.opendocument.text", ".mp4": "video/mp4", ".webm": "video/webm",
		".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".zip": "application/zip", ".txt": "text/plain",
	}[strings.ToLower(path.Ext(name))]
}

// Source is things of one kind. Its methods may be called concurrently.
type Source interface {
	// List returns a part of all there is, what comes after a position, "" for the
	// first, and the position to go on from, "" if there is no more. It asks nobody
	// outside the box.
	List(ctx context.Context, after string) (entries []Entry, next string, err error)
	// Look returns a thing as it is now, or as it was listed last if that is known
	// to be as good. It may leave empty what is in was. Errors: ErrNone, ErrGone.
	Look(ctx context.Context, was Entry) (Entry, error)
}

// Watcher is a Source that tells when something may have changed. The others
// are asked now and then, as one is whose Watch gives no channel.
type Watcher interface {
	Watch() (changed <-chan struct{}, stop func())
}

// Teller is a Watcher that tells what has changed too, so that nothing else need
// be read again. Its Look gives all that List does.
type Teller interface {
	Watcher
	// Since returns the ids of what may have changed after a mark that it gave, and
	// the mark of now. Where known is false anything may have, as since 0.
	Since(mark uint64) (ids []string, now uint64, known bool)
}

// Reacher is a Source that knows whether what is not on this box could be fetched
// now. Of the others it depends on the line.
type Reacher interface{ Reach() bool }

// Lessons is what teachers have prepared. Its methods may be called concurrently,
// for each page: they have to be quick.
type Lessons interface {
	// Today returns the lessons of the day of now, earliest first.
	Today(now time.Time) []Lesson
	// ByCode finds a lesson by the code of its short address, in any case.
	ByCode(code string) (Lesson, bool)
}

// Lesson is what a class is to find.
type Lesson struct {
	Code, Title, Class string
	Date               time.Time
	Items              []LessonItem
}

// LessonItem is one thing of a lesson.
type LessonItem struct {
	Title string
	// Kind and ID name a thing of the library; for what is not in it both are empty
	// and To leads there: a path on this box, or an address elsewhere.
	Kind Kind
	ID   string
	To   string
	// Stream is the path on this box of a playlist (HLS) that can be played in
	// place of To; may be empty.
	Stream string
	Type   string // its media type, or empty
	Bytes  int64  // 0 if that is not known
	Light  Light
	Why    page.Both[string] // in a few words; may be empty
}

// Light says whether a lesson's item can be had.
type Light string

// The lights.
const (
	Ready    Light = "ready"
	Arriving Light = "arriving"
	Waiting  Light = "waiting"
	Cannot   Light = "cannot"
)

// Sites is the web sites that the box answers for.
type Sites interface {
	Sites(ctx context.Context) []Site
}

// Site is one of them.
type Site struct {
	Name  string
	Up    bool      // its line works
	Since time.Time // zero if that is not known
	Pages []SitePage
}

// SitePage is something of a site that is stored and may be listed.
type SitePage struct {
	Path, Type string
	Bytes      int64 // −1 if not known
	Whole      bool
}

// Line is how the school's line is. It is asked often, and answers at once.
type Line interface {
	Line() LineState
}

// LineState is how the line is.
type LineState struct {
	Known bool // false: nothing has been asked over it yet
	Up    bool
	Since time.Time // it has been so; zero if that is not known
}

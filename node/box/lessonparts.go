package box

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"preau/cache/storage"
	"preau/node/follow"
	"preau/node/lesson"
)

// lessonLine is the school's line as what is fetched for lessons needs it.
type lessonLine struct {
	lines *lines
	box   *Box
}

func (l lessonLine) ahead() (follow.Ahead, bool) {
	if f := l.box.region.follower.Load(); f != nil {
		return f.Ahead(), true
	}
	return follow.Ahead{}, false
}

// WaitN implements lesson.Line.
func (l lessonLine) WaitN(ctx context.Context, n int) error {
	if a, ok := l.ahead(); ok {
		return a.WaitN(ctx, n)
	}
	return ctx.Err()
}

// Rate implements lesson.Line.
func (l lessonLine) Rate() int64 {
	if a, ok := l.ahead(); ok {
		return a.Rate()
	}
	return 0
}

// Talking implements lesson.Line.
func (l lessonLine) Talking() bool { return l.box.talking() }

// When implements lesson.Line.
func (l lessonLine) When(now time.Time) (open bool, change time.Time) {
	if a, ok := l.ahead(); ok {
		return a.When(now)
	}
	return true, time.Time{}
}

// Up implements lesson.Line.
func (l lessonLine) Up(site string) bool {
	for _, s := range l.lines.states() {
		if s.Name == site {
			return s.Up
		}
	}
	return false
}

// lessonShelf is what the region has published.
type lessonShelf struct{ region *membership }

// Resource implements lesson.Shelf.
func (s lessonShelf) Resource(id string) (lesson.Resource, bool) {
	f := s.region.follower.Load()
	if f == nil {
		return lesson.Resource{}, false
	}
	it, held, err := f.Resource(id)
	if err != nil {
		return lesson.Resource{}, false
	}
	return lesson.Resource{
		Title: cmp.Or(it.Title, it.Filename), Path: it.Path(), ContentType: it.ContentType,
		Length: it.Length, Held: held, Complete: held >= it.Length,
	}, true
}

// Want implements lesson.Shelf.
func (s lessonShelf) Want(_ context.Context, ids []string) error {
	f := s.region.follower.Load()
	if f == nil {
		return errors.New("what is known of the region is not open")
	}
	f.Prepare(ids)
	return nil
}

// lessonDeposits are the files that were added in the school.
type lessonDeposits struct{ deposits *deposits }

// Deposit implements lesson.Deposits.
func (l lessonDeposits) Deposit(id string) (lesson.Resource, bool) {
	_, box, leave, ok := l.deposits.use(context.Background())
	if !ok {
		return lesson.Resource{}, false
	}
	defer leave()
	d, err := box.Look(id)
	if err != nil || !d.Here {
		return lesson.Resource{}, false
	}
	return lesson.Resource{
		Title: cmp.Or(d.Title, d.Filename), Path: addedEntry(d).Path(), ContentType: d.ContentType,
		Length: d.Length, Held: d.Length, Complete: true,
	}, true
}

// lessonPins keep what is stored for lessons.
type lessonPins struct{ box *Box }

// Room implements lesson.Pins.
func (p lessonPins) Room() int64 {
	if s := p.box.front.Storage(); s != nil {
		return s.Room()
	}
	return 0
}

// Set implements lesson.Pins.
func (p lessonPins) Set(ctx context.Context, pins []lesson.Pin) error {
	s := p.box.front.Storage()
	if s == nil {
		return errors.New("no storage is open")
	}
	var all []storage.Holding
	for _, pin := range pins {
		plain, err := url.PathUnescape(pin.Place.Path)
		if err != nil {
			continue // nothing can lie there
		}
		r := (&http.Request{
			Method: http.MethodGet, Host: pin.Place.Host, Header: http.Header{"Accept": {"*/*"}},
			URL: &url.URL{Path: plain, RawPath: pin.Place.Path, RawQuery: pin.Place.Query},
		}).WithContext(ctx)
		for i, key := range p.box.front.Handler().Keys(r) {
			bytes := pin.Bytes
			if i > 0 {
				bytes = 0 // they are counted with the first
			}
			all = append(all, storage.Holding{Key: key, Bytes: bytes})
		}
	}
	if left := s.Hold(all); len(left) > 0 {
		return fmt.Errorf("%w: %d of %d things for lessons", storage.ErrPinsFull, len(left), len(all))
	}
	return nil
}

// lessonOthers are the school's other boxes.
type lessonOthers struct{ near *neighbourhood }

// Boxes implements lesson.Others.
func (o lessonOthers) Boxes() (names []string) {
	others, _ := o.near.Order("lessons")
	for _, b := range others {
		names = append(names, b.Name)
	}
	return names
}

// Lessons implements lesson.Others.
func (o lessonOthers) Lessons(ctx context.Context, box string, have []lesson.Stamp) ([]lesson.Lesson, error) {
	others, _ := o.near.Order("lessons")
	for _, b := range others {
		if b.Name == box {
			return lesson.Ask(ctx, b.RoundTripper, "https://"+box+lessonsPath, have)
		}
	}
	return nil, fmt.Errorf("ask %s for lessons: it has left", box)
}

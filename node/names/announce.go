package names

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"preau/node/locate"
)

const (
	// announceLook is how often it is looked, on the box alone, whether there is
	// something to tell.
	announceLook = 3 * time.Second
	// announceAgain is how often the same is told again: the region forgets after
	// an hour from where a box was heard.
	announceAgain = 10 * time.Minute
	// announcePause is before another try.
	announcePause = 30 * time.Second
	// announceWithin bounds one.
	announceWithin = 20 * time.Second
)

// ErrUnknown is what Line.Tell returns where the region is too old to know of
// public names.
var ErrUnknown = errors.New("the region's server is too old to send devices to boxes")

// Line is the way to the region.
type Line interface {
	// Connected is the server that is followed, if any, and since when.
	Connected() (server string, since time.Time)
	// Tell sends a request to it.
	Tell(ctx context.Context, path string, body []byte) ([]byte, error)
}

// Announcer tells the region under which name the box can be reached. All methods
// may be called concurrently.
type Announcer struct {
	say func() (what locate.Announcement, why string)
	log *slog.Logger

	mu    sync.Mutex
	taken bool
	why   string
}

// NewAnnouncer announces what say returns, which is asked often. Where that has no
// host, why says why devices are not to be sent here.
func NewAnnouncer(say func() (what locate.Announcement, why string), log *slog.Logger) *Announcer {
	return &Announcer{say: say, log: log.With("part", "names"), why: "the region was not told yet"}
}

// Taken reports whether devices are sent to this box, and if not why.
func (a *Announcer) Taken() (taken bool, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken, a.why
}

// Run tells the region, again after each change of what there is to say or of the
// server, until ctx ends.
func (a *Announcer) Run(ctx context.Context, line Line) error {
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	var said locate.Announcement
	var to string
	var since, told, tried time.Time
	failed := false
	for {
		server, from := line.Connected()
		now := time.Now()
		what, why := a.say()
		if what.Host == "" {
			a.note(false, why)
		}
		silent := what.Host == "" && said.Host == "" // nothing to take back
		news := !silent && (server != to || !from.Equal(since) || !what.Equal(said) || now.Sub(told) >= announceAgain)
		// A server that failed a moment ago is left alone, whatever there is to say.
		if server != "" && news && (server != to || !from.Equal(since) || !failed || now.Sub(tried) >= announcePause) {
			to, since, tried = server, from, now
			if failed = !a.tell(ctx, line, what); failed {
				told = time.Time{}
			} else {
				said, told = what, now
			}
		}
		if server == "" && what.Host != "" {
			a.note(false, "no server of the region is followed")
			to = "" // and all is told again
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *Announcer) tell(ctx context.Context, line Line, what locate.Announcement) bool {
	body, err := json.Marshal(what)
	if err != nil {
		a.note(false, err.Error())
		return false
	}
	during, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	var r locate.Reply
	text, err := line.Tell(during, locate.AnnouncePath, body)
	if err == nil {
		if err = json.Unmarshal(text, &r); err != nil {
			err = fmt.Errorf("what the region says makes no sense: %w", err)
		}
	}
	if errors.Is(err, ErrUnknown) {
		a.note(false, ErrUnknown.Error())
		return true // as good as told: it will not know of it in a minute
	}
	if err != nil {
		if ctx.Err() == nil && a.note(false, err.Error()) {
			a.log.InfoContext(ctx, "the region was not told the box's public name", "err", err)
		}
		return false
	}
	if what.Host != "" && a.note(r.Taken, r.Why) {
		a.log.InfoContext(ctx, "the region was told the box's public name", "name", what.Host, "taken", r.Taken, "why", r.Why)
	}
	return true
}

// note takes down how it stands, and reports whether that is news.
func (a *Announcer) note(taken bool, why string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	news := a.taken != taken || a.why != why
	a.taken, a.why = taken, why
	return news
}

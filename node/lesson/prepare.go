package lesson

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/upstream"
	"preau/node/watch"
)

// Config says how a Preparer behaves. Start from DefaultConfig.
type Config struct {
	// Again is how often what is ready is looked at anew, and Soon so in the last
	// day before a lesson. What is no more at its site, or another version, shows
	// then and not in front of the class.
	Again, Soon time.Duration
	// Retry is how long what can't be had waits, and grows to Again.
	Retry time.Duration
	// Keep is how long after its time a lesson's things are kept.
	Keep time.Duration
	// Apart is what lies between two beginnings of what a rate is kept of and no
	// pace holds back, as another box fetches it. The cache finishes by itself what
	// was asked for twice within a minute.
	Apart time.Duration
	// Burst is the least of that which comes at a time.
	Burst int64
	// MaxHeight is the height of the picture that is kept of a video, if there is
	// one that is not larger.
	MaxHeight int
}

// DefaultConfig returns what suits a school.
func DefaultConfig() Config {
	return Config{Again: 24 * time.Hour, Soon: 2 * time.Hour, Retry: 2 * time.Minute, Keep: 24 * time.Hour, Apart: 61 * time.Second, Burst: 16 << 20, MaxHeight: 480}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Again <= 0 || c.Soon <= 0 || c.Retry <= 0 || c.Apart <= 0 {
		errs = append(errs, errors.New("again, soon, retry, apart: must be longer than 0"))
	}
	if c.Keep < 0 || c.MaxHeight < 1 || c.Burst < 1 {
		errs = append(errs, errors.New("keep, max_height, burst: must be 0, 1 and 1 at least"))
	}
	return errors.Join(errs...)
}

// Line is the school's line, as what is fetched in the background needs it. Its
// methods may be called concurrently.
type Line interface {
	// WaitN returns when n more bytes may come in the background, or ctx's error.
	WaitN(ctx context.Context, n int) error
	// Rate is how many bytes a second may come in the background; 0: as they come.
	Rate() int64
	// Talking reports whether people talk to each other over the line.
	Talking() bool
	// When reports whether anything may be fetched ahead at a time, and when that
	// changes; zero if it never does.
	When(now time.Time) (open bool, change time.Time)
	// Up reports whether a site can be reached, as far as is known.
	Up(site string) bool
}

// Resource is a published resource.
type Resource struct {
	Title, Path, ContentType string
	Length, Held             int64
	Complete                 bool
}

// Shelf is what is published. Its methods may be called concurrently.
type Shelf interface {
	// Resource returns what is known of one; false if it is not published.
	Resource(id string) (Resource, bool)
	// Want has the resources with these ids, and no others for lessons' sake,
	// fetched and kept.
	Want(ctx context.Context, ids []string) error
}

// Deposits are the files that were added in the school.
type Deposits interface {
	// Deposit returns one that can be had from this box; false if there is none.
	Deposit(id string) (Resource, bool)
}

// Pins keep stored responses from being given up. Its methods may be called
// concurrently.
type Pins interface {
	// Room is how many bytes may be kept beside what is.
	Room() int64
	// Set says what is to be kept for lessons: what is stored of these places, and
	// nothing else any more.
	Set(ctx context.Context, places []Pin) error
}

// Pin is one stored response that must stay, and how long it is.
type Pin struct {
	Place Place
	Bytes int64
}

// Parts are what a Preparer works with. Shelf, Deposits and Pins may be nil.
type Parts struct {
	Lessons  *Store
	Sites    *Sites
	Box      http.Handler // the cache's face for devices
	Line     Line
	Shelf    Shelf
	Deposits Deposits
	Pins     Pins
}

// State is how an item stands.
type State struct {
	Light   Light
	Reason  Reason
	Bytes   int64     // of all that it needs; below 0 while that is not known
	Have    int64     // of them that are here
	ReadyAt time.Time // zero while it is not known
	// Title is what the item is called where it is, Type its media type, and URL
	// where pages link to: a path of the box, or beginning with // of one of its
	// names. They may be empty.
	Title, Type, URL string
	// Video: URL is a playlist (HLS), for a player.
	Video bool
}

// Preparer gives lights. Its methods may be called concurrently.
type Preparer struct {
	cfg   Config
	parts Parts
	log   *slog.Logger
	met   *metrics

	mu      sync.Mutex
	works   map[Item]*work // by item without its title
	order   []Item
	hold    Reason // why nothing is fetched now
	speed   float64
	current Item
	paces   map[string]*upstream.Pace // of places that are not here whole
	bell    watch.Bell
}

// work is what is known of an item.
type work struct {
	State
	date   time.Time // of the first lesson that needs it
	looked bool      // it was asked for once, be it with a few bytes
	due    time.Time // when to look again
	wait   time.Duration
	pins   []Pin
}

// NewPreparer checks cfg and starts nothing.
func NewPreparer(cfg Config, parts Parts, log *slog.Logger, reg prometheus.Registerer) (*Preparer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("lesson config: %w", err)
	}
	if parts.Lessons == nil || parts.Sites == nil || parts.Box == nil || parts.Line == nil {
		return nil, errors.New("lesson: lessons, sites, box and line must be given")
	}
	p := &Preparer{cfg: cfg, parts: parts, log: log.With("part", "lesson"), works: map[Item]*work{}, paces: map[string]*upstream.Pace{}}
	var err error
	p.met, err = newMetrics(reg, p)
	return p, err
}

func (it Item) key() Item {
	it.Title = ""
	return it
}

// Run prepares until ctx ends.
func (p *Preparer) Run(ctx context.Context) error {
	changed, stop := p.parts.Lessons.Watch()
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		p.plan(ctx, time.Now())
		if it, mode := p.next(time.Now()); mode != idle {
			p.do(ctx, it, mode)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
	return nil
}

// plan notes what lessons need now, the soonest first, and lets go of all else.
func (p *Preparer) plan(ctx context.Context, now time.Time) {
	lessons := p.parts.Lessons.List()
	slices.Reverse(lessons) // the soonest first
	needed := map[Item]time.Time{}
	var order []Item
	var ids []string
	for _, l := range lessons {
		if l.Date.Add(p.cfg.Keep).Before(now) {
			continue
		}
		for _, it := range l.Items {
			if _, twice := needed[it.key()]; twice {
				continue
			}
			needed[it.key()] = l.Date
			order = append(order, it.key())
			if it.Kind == Published {
				ids = append(ids, it.ID)
			}
		}
	}
	p.mu.Lock()
	dropped, added := false, false
	for it := range p.works {
		if _, ok := needed[it]; !ok {
			delete(p.works, it)
			dropped = true
		}
	}
	for it, date := range needed {
		if p.works[it] == nil {
			p.works[it] = &work{State: State{Light: Waiting, Reason: ReasonQueue, Bytes: -1}}
			added = true
		}
		p.works[it].date = date
	}
	p.order = order
	if dropped {
		clear(p.paces) // whose they were is not known; what is under way keeps its own
	}
	if dropped || added {
		p.bell.Tell()
	}
	p.mu.Unlock()
	if p.parts.Shelf != nil && (dropped || added) {
		if err := p.parts.Shelf.Want(ctx, ids); err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "what lessons want of the catalogue can't be noted", "err", err)
		}
	}
	if dropped {
		p.pin(ctx)
	}
}

// mode is what is done with an item.
type mode int

const (
	idle  mode = iota
	look       // a few bytes at most, whatever the hour
	bring      // all of it
)

// next is what to do now.
func (p *Preparer) next(now time.Time) (Item, mode) {
	hold := p.holds(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != hold {
		p.hold = hold
		p.bell.Tell()
	}
	for _, it := range p.order {
		w := p.works[it]
		// While nothing may be brought, what had a trouble is looked at again.
		again := w.Light == Ready || it.Kind != Link || hold != "" && w.Reason != ReasonQueue
		if !w.looked || !now.Before(w.due) && again {
			return it, look
		}
	}
	if hold != "" {
		return Item{}, idle
	}
	for _, it := range p.order {
		if w := p.works[it]; it.Kind == Link && !now.Before(w.due) {
			return it, bring
		}
	}
	return Item{}, idle
}

// holds is why nothing may be fetched ahead now.
func (p *Preparer) holds(now time.Time) Reason {
	if open, _ := p.parts.Line.When(now); !open {
		return ReasonHours
	}
	if p.parts.Line.Talking() {
		return ReasonTalking
	}
	return ""
}

// do looks at an item or brings it, and notes how it stands.
func (p *Preparer) do(ctx context.Context, it Item, m mode) {
	p.mu.Lock()
	w := p.works[it]
	p.current = it
	if m == bring {
		w.Light, w.Reason = Arriving, ""
		p.bell.Tell()
	}
	p.mu.Unlock()
	var out outcome
	switch it.Kind {
	case Link:
		out = p.link(ctx, it, m)
	case Published:
		out = p.published(it)
	default:
		out = p.deposit(it)
	}
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	p.current = Item{}
	w.looked = true
	if out.again { // what is missing is fetched when its turn comes
		w.Light, w.Reason, w.due = Waiting, ReasonQueue, time.Time{}
	} else {
		w.Light, w.Reason = out.light, out.reason
	}
	if out.bytes >= 0 {
		w.Bytes = out.bytes
	}
	w.Have, w.pins = out.have, out.pins
	w.Title, w.Type, w.URL, w.Video = cmp.Or(out.title, w.Title), cmp.Or(out.kind, w.Type), cmp.Or(out.url, w.URL), out.video
	if !out.again {
		w.due = p.due(w, time.Now(), it.Kind)
	}
	p.bell.Tell()
	p.mu.Unlock()
	p.pin(ctx)
}

// due is when to look at an item again. p.mu is held.
func (p *Preparer) due(w *work, now time.Time, kind Kind) time.Time {
	switch {
	case kind != Link:
		return now.Add(5 * time.Second) // it costs nothing
	case w.Light == Ready:
		w.wait = 0
		if w.date.Sub(now) < 24*time.Hour {
			return now.Add(p.cfg.Soon)
		}
		return now.Add(p.cfg.Again)
	}
	w.wait = min(max(2*w.wait, p.cfg.Retry), p.cfg.Again)
	if w.Reason == ReasonLine || w.Reason == ReasonStorage {
		w.wait = min(w.wait, p.cfg.Retry) // it may be back any moment
	}
	return now.Add(w.wait)
}

// pin has kept what lessons need.
func (p *Preparer) pin(ctx context.Context) {
	if p.parts.Pins == nil {
		return
	}
	p.mu.Lock()
	var all []Pin
	for _, it := range p.order {
		all = append(all, p.works[it].pins...)
	}
	p.mu.Unlock()
	if err := p.parts.Pins.Set(ctx, all); err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "what lessons need can't be kept from being given up", "err", err)
	}
}

// States says how the items of a lesson stand, in their order.
func (p *Preparer) States(l Lesson) []State {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.foresee(now)
	out := make([]State, len(l.Items))
	for i, it := range l.Items {
		w := p.works[it.key()]
		if w == nil {
			out[i] = State{Light: Waiting, Reason: ReasonQueue, Bytes: -1}
			continue
		}
		st := w.State
		if st.Light == Waiting && st.Reason == ReasonQueue && p.hold != "" {
			st.Reason = p.hold
		}
		st.ReadyAt = at[it.key()]
		out[i] = st
	}
	return out
}

// foresee says when what is not here will be, as far as that follows from how fast
// the line was and how much there is. p.mu is held.
func (p *Preparer) foresee(now time.Time) map[Item]time.Time {
	out := map[Item]time.Time{}
	speed := p.speed
	if rate := float64(p.parts.Line.Rate()); rate > 0 && (speed == 0 || rate < speed) && speed > 0 {
		speed = rate
	}
	if speed <= 0 || p.hold == ReasonTalking {
		return out // nobody knows for how long
	}
	open, change := p.parts.Line.When(now)
	at := now
	if !open {
		if change.IsZero() {
			return out
		}
		at = change
	}
	for _, it := range p.order {
		w := p.works[it]
		if it.Kind != Link || w.Light == Ready || w.Light == Cannot || w.Reason == ReasonLine || w.Reason == ReasonTrouble {
			continue
		}
		if w.Bytes < 0 || !w.looked {
			return out // and so nothing is known of those behind it
		}
		at = at.Add(time.Duration(float64(max(w.Bytes-w.Have, 0)) / speed * float64(time.Second)))
		if open && !change.IsZero() && at.After(change) {
			return out // it goes on the next day, at an hour that is not known here
		}
		out[it] = at
	}
	return out
}

// Watch returns a channel that has something to receive whenever a state has
// changed, until stop is called.
func (p *Preparer) Watch() (changed <-chan struct{}, stop func()) { return p.bell.Watch() }

// published looks at a resource of the catalogue, which is fetched by who follows
// that.
func (p *Preparer) published(it Item) outcome {
	if p.parts.Shelf == nil {
		return outcome{light: Cannot, reason: ReasonGone, bytes: -1}
	}
	r, ok := p.parts.Shelf.Resource(it.ID)
	out := outcome{light: Arriving, bytes: r.Length, have: r.Held, title: r.Title, kind: r.ContentType, url: r.Path}
	switch {
	case !ok:
		return outcome{light: Cannot, reason: ReasonGone, bytes: -1}
	case r.Complete:
		out.light = Ready
	case r.Held == 0:
		out.light, out.reason = Waiting, ReasonQueue
	}
	return out
}

func (p *Preparer) deposit(it Item) outcome {
	if p.parts.Deposits != nil {
		if r, ok := p.parts.Deposits.Deposit(it.ID); ok {
			return outcome{light: Ready, bytes: r.Length, have: r.Length, title: r.Title, kind: r.ContentType, url: r.Path}
		}
	}
	return outcome{light: Cannot, reason: ReasonGone, bytes: -1}
}

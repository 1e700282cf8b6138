// Package portal is what pupils see of a box: today's lessons, the collections,
// what was added lately, a search over all of it, a page on each thing with a
// preview and its size before the download, and whether it opens without the
// line. Nobody signs in for it, and it sets no cookie.
//
// What there is comes from interfaces declared here (Parts): what the region
// has published, what was added in the school, lessons, the sites that the box
// answers for, and how the line is. Any of them may be missing. Of the first two
// a library is kept in memory that follows them (Run): it has at most Config.Most
// things, and says so when there are more. The pages of teachers and of the
// school are others' and are mounted here, under the same frame (look).
//
// The package stores nothing, fetches nothing over the line, and knows neither
// how bytes are kept nor who may do what. Bytes are served by Parts.Files.
//
// Metrics: preau_portal_pages_total{page,result}: home, collections, collection,
// find, see, lesson, sites, other; made, kept, failed.
// preau_portal_things: how many the library has. preau_portal_left_out: 1 while
// there are more than it may have.
package portal

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/portal/look"
)

// Config is what can be told to the portal.
type Config struct {
	Enabled bool   `toml:"enabled" doc:"false: the box has no pages of its own but the lists under /r/ and /d/."`
	Title   string `toml:"title" doc:"What the pages are called, at their top and in the window: the school's name, say. At most 60 characters."`
	// Most is how many things the library holds.
	Most int `toml:"-"`
}

// mostTitle bounds the portal's title, in characters.
const mostTitle = 60

// DefaultConfig is a portal without a school's name.
func DefaultConfig() Config { return Config{Enabled: true, Title: "Préau", Most: 100_000} }

// Validate reports every mistake at once. A portal that is not there has none.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var errs []error
	if n := len([]rune(c.Title)); n == 0 || n > mostTitle {
		errs = append(errs, fmt.Errorf("title: has %d characters, and may have 1 to %d", n, mostTitle))
	}
	if c.Most < 1 {
		errs = append(errs, errors.New("most: must be at least 1"))
	}
	return errors.Join(errs...)
}

// Parts is what the portal shows. What is nil is not there.
type Parts struct {
	Published Source // by the region
	Added     Source // in the school
	Lessons   Lessons
	Sites     Sites
	Line      Line
	// Files serves the paths below /r/, /d/ and /o/.
	Files http.Handler
	// Mounted has the pages of others, by patterns of http.ServeMux: "/teach/".
	Mounted map[string]http.Handler
	Assets  []*look.Bundle // that these pages use
	// Places gives their main places, and Person who is signed in. Both may be nil.
	Places func(r *http.Request) []look.NavItem
	Person func(r *http.Request) *look.Person
}

// Portal is the pupils' pages. Its methods may be called concurrently.
type Portal struct {
	cfg     Config
	parts   Parts
	log     *slog.Logger
	met     *metrics
	library *library
	live    *look.Live
	pages   *pages
	handler http.Handler
	sites   atomic.Pointer[seenSites]
}

//go:embed static
var static embed.FS

//go:embed pages
var files embed.FS

var assets = look.MustBundle(static, "static")

// liveReaders is how many pages are told at once when the line goes or comes.
const liveReaders = 300

// New checks cfg and registers metrics; it starts nothing.
func New(cfg Config, parts Parts, log *slog.Logger, reg prometheus.Registerer) (*Portal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("portal config: %w", err)
	}
	if parts.Files == nil {
		return nil, errors.New("portal: nothing serves files")
	}
	p := &Portal{
		cfg: cfg, parts: parts, log: log.With("part", "portal"),
		library: newLibrary(cfg.Most), live: look.NewLive(liveReaders), pages: newPages(),
	}
	var err error
	if p.met, err = newMetrics(reg, p.library); err != nil {
		return nil, err
	}
	p.handler = p.routes()
	return p, nil
}

// Run keeps the library current until ctx ends, then ends what is being watched.
func (p *Portal) Run(ctx context.Context) error {
	defer p.live.Close()
	return p.library.run(ctx, p.log, map[Kind]Source{Published: p.parts.Published, Added: p.parts.Added})
}

// ServeHTTP serves the portal, and what is mounted in it.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// now is the time that pages go by.
func (*Portal) now() time.Time { return time.Now() }

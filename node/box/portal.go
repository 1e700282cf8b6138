package box

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/cache/shelf"
	"preau/node/follow"
	"preau/node/front"
	"preau/node/portal"
	"preau/replication/catalogue"
	"preau/replication/outbox"
)

// openPortal makes the box's own pages. files serves all else under its names.
func (b *Box) openPortal(files http.Handler) (http.Handler, error) {
	cfg := b.cfg.Portal
	if !cfg.Enabled {
		return files, nil
	}
	lines := &lines{of: b.front.Snapshot, states: b.front.Lines, doubt: b.front.Doubt, began: time.Now(), connected: b.region.connected}
	parts := portal.Parts{Line: lines, Files: apart(files)}
	if len(b.cfg.Site) > 0 {
		parts.Sites = lines
	}
	if !b.region.alone {
		parts.Published = publishedThings{b.region.catalogue}
	}
	if b.deposits.wanted {
		parts.Added = addedThings{b.deposits}
	}
	s, err := b.openStaff(lines)
	if err != nil {
		return nil, err
	}
	s.mount(&parts)
	p, err := portal.New(cfg, parts, b.log, b.reg)
	if err != nil {
		return nil, err
	}
	b.portal, b.staff = p, s
	everybody := slices.ContainsFunc(b.cfg.Site, func(s front.Site) bool { return slices.Contains(s.Hosts, "*") })
	sites := func(host string) bool { return b.front.Handler().Owns(host) || everybody && !b.ownName(host) }
	b.front.Handler().SetHome(func(r *http.Request) string {
		if sites(r.Host) {
			return b.homeFor(r)
		}
		return "/"
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sites(r.Host) {
			files.ServeHTTP(w, r)
			return
		}
		p.ServeHTTP(w, r)
	}), nil
}

// homeFor is where who is on a site's own host finds the box's pages: its secure
// address, else the name that the school's boxes answer to on the LAN. Without
// either no address is sure to lead there, and none is given.
func (b *Box) homeFor(r *http.Request) string {
	if home := b.home(); home != "" {
		return home + "/"
	}
	name := b.cfg.Neighbours.Name
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !b.wantsNeighbours() || name == "" || r.TLS != nil || !ok {
		return ""
	}
	host := name + ".local"
	if at.Port != 80 {
		host = net.JoinHostPort(host, strconv.Itoa(at.Port))
	}
	return "http://" + host + "/"
}

// ownName reports a name that leads to this box and to no site: its public name,
// what devices find by multicast DNS, where only boxes answer for them, and what
// is looked for on the machine itself only (RFC 6761, section 6.3).
func (b *Box) ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".localhost") || host != "" && host == strings.ToLower(b.cfg.Public.Name)
}

// published is what is known of what the region has published (follow.Follower).
type published interface {
	Catalogue(ctx context.Context, after string, most int) (list []follow.Listed, next string, err error)
	Listed(id string) (follow.Listed, error)
	Published() (changed <-chan struct{}, stop func())
	PublishedSince(mark uint64) (ids []string, now uint64, known bool)
	Connected() (server string, since time.Time)
}

func (m *membership) connected() (server string, since time.Time, follows bool) {
	f := m.follower.Load()
	if f == nil {
		return "", time.Time{}, false
	}
	server, since = f.Connected()
	return server, since, true
}

// catalogue is nil while nothing is known of the region.
func (m *membership) catalogue() published {
	if f := m.follower.Load(); f != nil {
		return f
	}
	return nil
}

// publishedThings is what the region has published, for people.
type publishedThings struct{ of func() published }

// listedAtOnce is how many things one part of a list has.
const listedAtOnce = 1000

// List implements portal.Source.
func (p publishedThings) List(ctx context.Context, after string) ([]portal.Entry, string, error) {
	of := p.of()
	if of == nil {
		return nil, "", nil
	}
	list, next, err := of.Catalogue(ctx, after, listedAtOnce)
	if err != nil {
		return nil, "", err
	}
	out := make([]portal.Entry, len(list))
	for i, l := range list {
		out[i] = publishedEntry(l)
	}
	return out, next, nil
}

// Look implements portal.Source.
func (p publishedThings) Look(_ context.Context, was portal.Entry) (portal.Entry, error) {
	of := p.of()
	if of == nil {
		return was, portal.ErrNone
	}
	l, err := of.Listed(was.ID)
	switch {
	case err == nil:
		return publishedEntry(l), nil
	case errors.Is(err, shelf.ErrGone), errors.Is(err, shelf.ErrUnknown) && was.Title+was.Filename != "": // it was listed
		return was, portal.ErrGone
	case errors.Is(err, shelf.ErrUnknown):
		return was, portal.ErrNone
	}
	return was, err
}

// Watch implements portal.Watcher.
func (p publishedThings) Watch() (changed <-chan struct{}, stop func()) {
	if of := p.of(); of != nil {
		return of.Published()
	}
	return nil, func() {}
}

// Since implements portal.Teller.
func (p publishedThings) Since(mark uint64) (ids []string, now uint64, known bool) {
	if of := p.of(); of != nil {
		return of.PublishedSince(mark)
	}
	return nil, 0, false
}

// Reach implements portal.Reacher: what is published comes by way of the region.
func (p publishedThings) Reach() bool {
	of := p.of()
	if of == nil {
		return false
	}
	server, _ := of.Connected()
	return server != ""
}

func publishedEntry(l follow.Listed) portal.Entry {
	return portal.Entry{
		Kind: portal.Published, ID: l.ID, Title: l.Title, Filename: l.Filename, Description: l.Description, Collection: l.Collection,
		ContentType: l.ContentType, Language: l.Language, Level: l.Level, Licence: l.Licence, Bytes: l.Length, Held: l.Held, At: l.ModTime,
	}
}

// addedThings is what was added in the school and is on this box.
type addedThings struct{ deposits *deposits }

// List implements portal.Source.
func (a addedThings) List(ctx context.Context, _ string) ([]portal.Entry, string, error) {
	_, box, leave, ok := a.deposits.use(ctx)
	if !ok {
		return nil, "", nil // the folder can't be opened yet, or not any more
	}
	defer leave()
	var out []portal.Entry
	for _, d := range box.all() {
		if d.Here { // of the others there is nothing to open
			out = append(out, addedEntry(d))
		}
	}
	return out, "", nil
}

// Look implements portal.Source.
func (a addedThings) Look(ctx context.Context, was portal.Entry) (portal.Entry, error) {
	_, box, leave, ok := a.deposits.use(ctx)
	if !ok {
		return was, portal.ErrNone
	}
	defer leave()
	d, err := box.Look(was.ID)
	switch {
	case errors.Is(err, outbox.ErrNotFound):
		return was, portal.ErrNone
	case err != nil:
		return was, err
	case !d.Here:
		return was, portal.ErrGone
	}
	return addedEntry(d), nil
}

// Watch implements portal.Watcher. While the folder can't be opened nothing is
// told, and the portal asks now and then.
func (a addedThings) Watch() (changed <-chan struct{}, stop func()) {
	if box := a.deposits.opened.Load(); box != nil {
		return box.Watch()
	}
	return nil, func() {}
}

func addedEntry(d outbox.Deposit) portal.Entry {
	stage := map[outbox.State]string{outbox.OnBox: "box", outbox.InRegion: "region", outbox.InCentral: "centre"}
	description, licence := catalogue.TakeLicence(d.Description)
	return portal.Entry{
		Kind: portal.Added, ID: d.ID, Title: d.Title, Filename: d.Filename, Description: description, Collection: d.Collection,
		ContentType: d.ContentType, Licence: licence, Bytes: d.Length, Held: d.Length, At: d.At, Stage: stage[d.State],
	}
}

// seenFor is how long it is remembered how the sites and their lines are.
const seenFor = 3 * time.Second

// lines is the sites and the school's line, for people.
type lines struct {
	of     func(ctx context.Context) front.Snapshot
	states func() []front.SiteState
	doubt  func(since time.Time) // has sites asked that have not answered since
	began  time.Time
	// connected is the region's server, empty without one, and since when it is so:
	// zero if never. The box may follow no region.
	connected func() (server string, since time.Time, follows bool)

	looking sync.Mutex
	mu      sync.Mutex
	seen    front.Snapshot
	at      time.Time
}

// snapshot is how the sites are, or were a moment ago. Those who come while
// somebody looks get what was seen before.
func (l *lines) snapshot(ctx context.Context) front.Snapshot {
	l.mu.Lock()
	seen, at := l.seen, l.at
	l.mu.Unlock()
	if !at.IsZero() && (time.Since(at) < seenFor || !l.looking.TryLock()) {
		return seen
	}
	if at.IsZero() {
		l.looking.Lock() // for the first time there is nothing else to tell
	}
	defer l.looking.Unlock()
	seen = l.of(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.at = seen, time.Now()
	return seen
}

// Sites implements portal.Sites.
func (l *lines) Sites(ctx context.Context) []portal.Site {
	s := l.snapshot(ctx)
	out := make([]portal.Site, len(s.Sites))
	for i, site := range s.Sites {
		out[i] = portal.Site{Name: site.Name, Up: site.Up, Since: site.Since}
		for _, held := range s.Held {
			if held.Site == site.Name {
				out[i].Pages = append(out[i].Pages, portal.SitePage{Path: held.Path, Type: held.Type, Bytes: held.Bytes, Whole: held.Complete})
			}
		}
	}
	return out
}

// reach reports whether any site can be reached, for the region: see follow.Config.
func (b *Box) reach(since time.Time) (up, known bool) {
	b.front.Doubt(since)
	for _, site := range b.front.Lines() {
		up, known = up || site.Up, true
	}
	return up, known
}

// Line implements portal.Line: the line is there while the region or any site
// can be reached over it, and has been down since the last of them went. When the
// region goes, sites that nobody asks at the time are asked.
func (l *lines) Line() portal.LineState {
	var out portal.LineState
	hear := func(up bool, since time.Time) {
		switch {
		case up && !out.Up:
			out = portal.LineState{Known: true, Up: true, Since: since}
		case up == out.Up && since.After(out.Since), !out.Known:
			out.Known, out.Since = true, since
		}
	}
	if server, since, follows := l.connected(); follows {
		if server != "" || !since.IsZero() {
			hear(server != "", since)
		}
		if server == "" { // what sites said before is no news of the line any more
			if since.IsZero() {
				since = l.began
			}
			l.doubt(since)
		}
	}
	for _, site := range l.states() {
		hear(site.Up, site.Since)
	}
	return out
}

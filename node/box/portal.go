package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"preau/cache/shelf"
	"preau/node/front"
	"preau/node/portal"
	"preau/replication/outbox"
)

// openPortal makes the box's own pages. files serves all else under its names.
func (b *Box) openPortal(files http.Handler) (http.Handler, error) {
	cfg := b.cfg.Portal
	if !cfg.Enabled {
		return files, nil
	}
	lines := &lines{of: b.front.Snapshot, states: b.front.Lines, region: b.region}
	parts := portal.Parts{Line: lines, Files: apart(files)}
	if len(b.cfg.Site) > 0 {
		parts.Sites = lines
	}
	if !b.region.alone {
		parts.Published = publishedThings{b.region.shelf}
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
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.front.Handler().Owns(r.Host) || everybody && !b.ownName(r.Host) {
			files.ServeHTTP(w, r)
			return
		}
		p.ServeHTTP(w, r)
	}), nil
}

// ownName reports a name that leads to this box and to no site: its public name,
// and what devices find by multicast DNS, where only boxes answer for them.
func (b *Box) ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".local") || host != "" && host == strings.ToLower(b.cfg.Public.Name)
}

// publishedThings is what the region has published, as its list says.
type publishedThings struct {
	shelf func() http.Handler // nil while nothing is known of the region
}

// shelf serves what is published, or is nil while nothing is known of that.
func (m *membership) shelf() http.Handler {
	if f := m.follower.Load(); f != nil {
		return f.Shelf()
	}
	return nil
}

// mostList bounds one part of a list in memory: it has a thousand items, and
// each of their words has a bound.
const mostList = 8 << 20

// errList is a list that can't be had now.
var errList = errors.New("what is published can't be listed now")

// List implements portal.Source.
func (p publishedThings) List(ctx context.Context, after string) ([]portal.Entry, string, error) {
	handler := p.shelf()
	if handler == nil {
		return nil, "", nil
	}
	got, err := ask(ctx, handler, http.MethodGet, shelf.Prefix+"?"+url.Values{"after": {after}}.Encode())
	if err != nil {
		return nil, "", err
	}
	if got.status != http.StatusOK {
		return nil, "", fmt.Errorf("%w: %s", errList, http.StatusText(got.status))
	}
	var list struct {
		Items []struct {
			ID, Collection, Title, Path, Language, Licence string
			ContentType                                    string `json:"content_type"`
			Bytes                                          int64
			HeldBytes                                      int64 `json:"held_bytes"`
			Modified                                       time.Time
		}
		Next string
	}
	if err := json.Unmarshal(got.body.Bytes(), &list); err != nil {
		return nil, "", fmt.Errorf("read the list of what is published: %w", err)
	}
	out := make([]portal.Entry, len(list.Items))
	for i, it := range list.Items {
		name, err := url.PathUnescape(it.Path[strings.LastIndexByte(it.Path, '/')+1:])
		if err != nil {
			name = ""
		}
		out[i] = portal.Entry{
			ID: it.ID, Title: it.Title, Filename: name, Collection: it.Collection, ContentType: it.ContentType,
			Language: it.Language, Licence: it.Licence, Bytes: it.Bytes, Held: it.HeldBytes, At: it.Modified,
		}
	}
	next := ""
	if u, err := url.Parse(list.Next); err == nil {
		next = u.Query().Get("after")
	}
	return out, next, nil
}

// Look implements portal.Source. What was taken back is not shown from that
// moment; the rest is as it was listed last.
func (p publishedThings) Look(ctx context.Context, was portal.Entry) (portal.Entry, error) {
	handler := p.shelf()
	if handler == nil {
		return was, portal.ErrNone
	}
	got, err := ask(ctx, handler, http.MethodHead, shelf.Prefix+was.ID) // leads on to the file
	if err != nil {
		return was, err
	}
	switch got.status {
	case http.StatusFound:
		return was, nil
	case http.StatusGone:
		return was, portal.ErrGone
	case http.StatusNotFound:
		return was, portal.ErrNone
	}
	return was, fmt.Errorf("%w: %s", errList, http.StatusText(got.status))
}

// asked is an answer of the box to itself.
type asked struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *asked) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *asked) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *asked) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > mostList {
		return 0, errList
	}
	return a.body.Write(p)
}

func ask(ctx context.Context, h http.Handler, method, target string) (*asked, error) {
	r, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for what is published: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	a := &asked{header: http.Header{}}
	h.ServeHTTP(a, r)
	return a, nil
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
	return portal.Entry{
		Kind: portal.Added, ID: d.ID, Title: d.Title, Filename: d.Filename, Description: d.Description, Collection: d.Collection,
		ContentType: d.ContentType, Bytes: d.Length, Held: d.Length, At: d.At, Stage: stage[d.State],
	}
}

// seenFor is how long it is remembered how the sites and their lines are.
const seenFor = 3 * time.Second

// lines is the sites and the school's line, for people.
type lines struct {
	of     func(ctx context.Context) front.Snapshot
	states func() []front.SiteState
	region *membership

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

// Line implements portal.Line: the line is there while the region or any site
// can be reached over it, and has been down since the last of them went.
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
	if f := l.region.follower.Load(); f != nil {
		if server, since := f.Connected(); server != "" || !since.IsZero() {
			hear(server != "", since)
		}
	}
	for _, site := range l.states() {
		hear(site.Up, site.Since)
	}
	return out
}

package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"preau/cache/archive"
	"preau/cache/archive/propfind"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// Bounds of what is listed for one archive.
const (
	mostListings = 16 << 20 // bytes of listings in memory
	mostItems    = 2000     // in a folder, with all that lies below
	mostDepth    = 10
	// listedFor is how long a listing holds without asking again.
	listedFor = 30 * time.Second
)

// listing is what a site has under a path that may be a folder.
type listing struct {
	kind  listingKind
	items []listedFile
	at    time.Time
	lease time.Time // until when it may stand in for a site that can't be asked

	layout *archive.Layout // with the sums that it has learnt
	last   time.Time       // when something in it changed last
}

// listedFile is a file or folder of a listing.
type listedFile struct {
	Name     string    `cbor:"1,keyasint"` // within the folder; that of a folder ends in a slash
	Path     string    `cbor:"-"`          // escaped, as the site knows it: a secret may be part of it
	Size     int64     `cbor:"3,keyasint"`
	Modified time.Time `cbor:"4,keyasint"`
	ETag     string    `cbor:"5,keyasint"`
}

type listingKind uint8

const (
	listFailed listingKind = iota // the site can't be asked, or is in trouble
	listFolder
	listFile  // no folder, or none that can be listed: it is asked for as it is
	listOwn   // everybody has to ask for themselves
	listGone  // there is nothing any more
	listLarge // more than is made an archive of here
)

// errLarge reports a folder with too much in it.
var errLarge = errors.New("more is in the folder than an archive is made of here")

// listingKey is the key of the listing for x, and of what is stored of it.
func (x *exchange) listingKey() object.Key {
	f := x.plan.Folder
	parts := append([]string{x.site.Name, "listing", f.List.Path, f.List.Query}, f.Files...)
	if x.site.PreserveHost {
		parts = append(parts, "", strings.ToLower(x.r.Host))
	}
	return x.store.Key(parts...)
}

// listing returns what the site has under x's folder, asking it at most once for
// all who want to know. fresh says that it need not be asked.
func (x *exchange) listing() (l *listing, fresh bool) {
	key := x.listingKey()
	l, ok := x.h.listings.Get(key)
	if !ok {
		if l = x.keptListing(key); l != nil {
			x.h.listings.Set(key, l)
		}
	}
	return l, l != nil && time.Since(l.at) < listedFor && time.Until(l.at) <= 0
}

// list has the folder listed. It returns nil if the client left before.
func (x *exchange) list(old *listing) *listing {
	key := x.listingKey()
	x.h.mu.Lock()
	p := x.h.lists[key]
	if p == nil {
		if x.h.closed {
			x.h.mu.Unlock()
			return &listing{}
		}
		p = &listingFlight{done: make(chan struct{})}
		x.h.lists[key] = p
		x.h.work.Add(1)
		t := x.task(nil)
		go func() {
			defer t.h.work.Done()
			p.result = t.list(key, old)
			t.h.mu.Lock()
			delete(t.h.lists, key)
			t.h.mu.Unlock()
			close(p.done)
		}()
	}
	x.h.mu.Unlock()
	select {
	case <-p.done:
		return p.result
	case <-x.r.Context().Done():
		return nil
	}
}

// listingFlight is one listing that is under way; its result is set before done
// is closed.
type listingFlight struct {
	done   chan struct{}
	result *listing
}

// list asks the site what is in the folder, and remembers it.
func (t *task) list(key object.Key, old *listing) *listing {
	ctx, cancel := context.WithCancel(t.h.ctx)
	defer cancel()
	l := &listing{at: time.Now()}
	folder := t.asking.plan.Folder
	var wanted func(name string) bool
	if len(folder.Files) > 0 {
		wanted = func(name string) bool { return slices.Contains(folder.Files, strings.TrimSuffix(name, "/")) }
	}
	err := t.listFolder(ctx, l, folder.List, "", 0, wanted)
	switch {
	case errors.Is(err, errLarge):
		l.kind = listLarge
	case err != nil:
		t.h.log.Debug("a folder can't be listed", "site", t.site.Name, "err", err)
		l.kind = listFailed
	case l.kind == listFolder:
		l.layOut(old)
	}
	switch l.kind {
	case listFailed:
		return l
	case listFolder:
		t.keepListing(key, l)
	default: // what was listed may not stand in for it
		t.h.forgetListing(t.site, t.store, key)
	}
	if l.kind == listFile || l.kind == listLarge || l.kind == listFolder {
		t.h.listings.Set(key, l)
	}
	return l
}

// pathIn is the path of what has that name in a folder, or below it.
func pathIn(folder, name string) string {
	var path strings.Builder
	path.WriteString(strings.TrimSuffix(folder, "/"))
	for step := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		path.WriteString("/" + url.PathEscape(step))
	}
	return path.String()
}

// listFolder adds to l what is in one folder, whose name in the archive is
// prefix, and below. wanted, unless nil, says what of it is.
func (t *task) listFolder(ctx context.Context, l *listing, at profile.Target, prefix string, depth int, wanted func(string) bool) error {
	if depth > mostDepth {
		return errLarge
	}
	to := t.site.Upstream.URL(at.Path, at.Query)
	found, err := t.propfind(ctx, l, to)
	if err != nil || l.kind != listFolder {
		if depth > 0 && err == nil {
			return fmt.Errorf("a folder in the folder can't be listed")
		}
		return err
	}
	var below []listedFile
	self := false
	for _, item := range found {
		name, ok := item.Below(to.EscapedPath())
		switch {
		case !ok || strings.Contains(name, "/"):
			return fmt.Errorf("the listing has something that is not in the folder")
		case name == "":
			self = true
			if !item.Folder {
				l.kind = listFile
				return nil
			}
			continue
		case wanted != nil && !wanted(name):
			continue
		case len(l.items) == mostItems:
			return errLarge
		case !item.Folder && item.Size < 0:
			return fmt.Errorf("the listing has a file without its size")
		}
		f := listedFile{
			Name: prefix + name, Path: pathIn(at.Path, name),
			Size: item.Size, Modified: item.Modified, ETag: item.ETag,
		}
		if item.Folder {
			f.Name, f.Size, f.ETag = f.Name+"/", 0, ""
			below = append(below, f)
		}
		l.items = append(l.items, f)
	}
	if !self {
		return fmt.Errorf("the listing does not say what it is of")
	}
	for _, f := range below {
		if err := t.listFolder(ctx, l, profile.Target{Path: f.Path, Query: at.Query}, f.Name, depth+1, nil); err != nil {
			return err
		}
	}
	return nil
}

// propfind asks for one folder's entries (RFC 4918 section 9.1), and sets l's
// kind by what the profile says of the answer.
func (t *task) propfind(ctx context.Context, l *listing, to *url.URL) ([]propfind.Item, error) {
	header := http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"identity"}, "User-Agent": {agent},
		"Depth": {"1"}, "X-Requested-With": {"XMLHttpRequest"},
	}
	rfc9111.Via(header, 1, 1, Name)
	req := t.request(vouch.With(ctx, vouch.Fetch{Neighbour: t.near}), to, header)
	req.Method = "PROPFIND"
	resp, err := t.site.Upstream.Fetch(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as is wanted
	ruling := t.site.rule(t.asking.asked, t.asking.plan, resp, 0)
	switch {
	case ruling.Effect == profile.Gone:
		t.isGone(ruling)
		l.kind = listGone
	case ruling.Effect == profile.Own:
		t.isOwn(ruling)
		l.kind = listOwn
	case ruling.Effect == profile.Next:
		l.kind = listFile // it can't be listed: the other targets tell
	case resp.StatusCode != http.StatusMultiStatus:
		return nil, fmt.Errorf("the site answers %d", resp.StatusCode)
	default:
		l.kind = listFolder
		l.lease = l.at.Add(t.site.RulesFor(ruling.Header).StaleWhenDown)
		return propfind.Parse(resp.Body, mostItems+1)
	}
	return nil, nil
}

// layOut lays the archive out, or takes over old's if it is the same: that one
// knows the files' sums.
func (l *listing) layOut(old *listing) {
	entries := make([]archive.Entry, len(l.items))
	for i, f := range l.items {
		entries[i] = archive.Entry{Name: f.Name, Size: f.Size, Modified: f.Modified, Version: f.ETag}
		if f.Modified.After(l.last) {
			l.last = f.Modified
		}
	}
	layout, err := archive.New(entries)
	if err != nil {
		l.kind = listLarge // or with names that no archive should have
		return
	}
	l.layout = layout
	same := func(a, b listedFile) bool { return a.Name == b.Name }
	if old != nil && old.layout != nil && old.layout.ETag() == layout.ETag() && slices.EqualFunc(old.items, l.items, same) {
		l.layout = old.layout
	}
}

// weight is about what a listing takes in memory.
func (l *listing) weight() uint32 {
	n := 300
	for _, f := range l.items {
		n += 300 + 2*len(f.Name) + len(f.Path) + len(f.ETag)
	}
	return uint32(n)
}

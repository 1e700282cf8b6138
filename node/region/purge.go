package region

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"preau/cache/object"
	"preau/node/control"
	"preau/replication/catalogue"
)

// purge has every box forget something. URLs may be secrets, so what the
// region remembers of one is its mark.
func (g *Region) purge(r *http.Request) (any, error) {
	q, err := decode[control.PurgeRequest](r)
	if err != nil {
		return nil, err
	}
	if q.ID == "" {
		q.ID = newID("purge")
	} else if index, done, err := g.decided(q.ID); err != nil || done {
		return control.Done{ID: q.ID, Index: index}, err
	}
	p, err := g.purgeOf(q)
	if f, ok := errors.AsType[failure](err); ok && f.status == http.StatusNotFound {
		// This server may be behind.
		if err := g.catchUp(r.Context()); err != nil {
			return nil, err
		}
		p, err = g.purgeOf(q)
	}
	if err != nil {
		return nil, err
	}
	p.ID, p.By, p.Reason = q.ID, by(r), q.Reason
	return g.put(r, p)
}

// decided is the index of a purge that was decided under an id before: whoever
// repeats it did not hear the answer.
func (g *Region) decided(id string) (index uint64, done bool, err error) {
	view, err := g.state.View()
	if err != nil {
		return 0, false, err
	}
	rec, err := view.Get(catalogue.KindPurge, id)
	done = err == nil
	return rec.Index, done, errors.Join(ignore(err, catalogue.ErrNotFound), view.Close())
}

func (g *Region) purgeOf(q control.PurgeRequest) (catalogue.Purge, error) {
	given := 0
	for _, set := range []bool{q.URL != "", q.Prefix != "", q.Tag != "", q.All, q.Resource != "", q.Collection != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		return catalogue.Purge{}, invalid("say exactly one thing to purge: a URL, a prefix, a tag, all of a site, a resource or a collection")
	}
	switch {
	case q.Resource != "":
		if _, ok, err := get[catalogue.Resource](g, catalogue.KindResource, q.Resource); err != nil || !ok {
			return catalogue.Purge{}, errors.Join(err, missing("resource", q.Resource))
		}
		return catalogue.Purge{Scope: catalogue.ScopeResource, Target: q.Resource}, nil
	case q.Collection != "":
		if _, ok, err := get[catalogue.Collection](g, catalogue.KindCollection, q.Collection); err != nil || !ok {
			return catalogue.Purge{}, errors.Join(err, missing("collection", q.Collection))
		}
		return catalogue.Purge{Scope: catalogue.ScopeCollection, Target: q.Collection}, nil
	}
	region, ok, err := get[catalogue.Region](g, catalogue.KindRegion, catalogue.Region{}.RecordID())
	if err != nil {
		return catalogue.Purge{}, err
	}
	if !ok {
		return catalogue.Purge{}, errNoRegion
	}
	marker, err := object.NewMarker(region.MarkKey[:])
	if err != nil {
		return catalogue.Purge{}, fmt.Errorf("mark key: %w", err)
	}
	site, rest, err := g.siteOf(q)
	if err != nil {
		return catalogue.Purge{}, err
	}
	p := catalogue.Purge{Site: site}
	switch {
	case q.All:
		p.Scope = catalogue.ScopeSite
	case q.Tag != "":
		p.Scope, p.Mark = catalogue.ScopeTag, [8]byte(marker.Tag(site, q.Tag))
	case q.Prefix != "":
		p.Scope, p.Mark = catalogue.ScopePrefix, [8]byte(marker.Prefix(site, rest))
	default:
		p.Scope, p.Mark = catalogue.ScopeExact, [8]byte(marker.Exact(site, rest))
	}
	return p, nil
}

func missing(kind, id string) error {
	return failure{http.StatusNotFound, "not_found", fmt.Errorf("there is no %s %q: preau list %ss shows what there is", kind, id, kind)}
}

// siteOf finds the site that a purge is about, and the path (and query) that
// remains: of a path with --site, or of a whole URL of a site of this server's.
func (g *Region) siteOf(q control.PurgeRequest) (site, rest string, err error) {
	text := q.URL + q.Prefix
	if text == "" || strings.HasPrefix(text, "/") {
		if q.Site == "" {
			return "", "", invalid("say of which site: --site NAME, as in the boxes' configuration")
		}
		return q.Site, text, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", "", invalid("%q is neither a path that begins with / nor a web address", text)
	}
	for _, s := range g.cfg.Site {
		base, err := s.UpstreamURL()
		if err != nil || base.Host != u.Host || q.Site != "" && q.Site != s.Name {
			continue
		}
		if path, ok := strings.CutPrefix(u.EscapedPath(), strings.TrimSuffix(base.EscapedPath(), "/")); ok && (path == "" || path[0] == '/') {
			return s.Name, withQuery(path, u), nil
		}
	}
	if q.Site != "" {
		return q.Site, withQuery(u.EscapedPath(), u), nil
	}
	return "", "", invalid("no site of this server is at %s: add --site NAME, as in the boxes' configuration", u.Host)
}

func withQuery(path string, u *url.URL) string {
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path
}

// progress is how many boxes have carried out what was decided.
func (g *Region) progress(r *http.Request) (any, error) {
	var index uint64
	if _, err := fmt.Sscan(r.PathValue("index"), &index); err != nil {
		return nil, invalid("%q is not a log index", r.PathValue("index"))
	}
	present, silent := g.everywhere(r.Context())
	out := control.Progress{Index: index, Silent: silent}
	known, err := g.knownBoxes()
	if err != nil {
		return nil, err
	}
	out.Known = len(known)
	for name, p := range present {
		if _, ok := known[name]; !ok || !p.Connected {
			continue
		}
		out.Connected++
		if p.Index >= index {
			out.Confirmed++
		} else if len(out.Waiting) < 20 {
			out.Waiting = append(out.Waiting, name)
		}
	}
	return out, nil
}

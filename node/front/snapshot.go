package front

import (
	"context"
	"time"

	"preau/cache/edge"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
)

// mostHeld bounds the stored resources that a snapshot lists for each site.
const mostHeld = 200

// Snapshot is a look at a running cache for people.
type Snapshot struct {
	Objects                  int64
	UsedBytes, BudgetBytes   int64
	Full                     bool
	Totals                   edge.Totals
	SentBytes, ReceivedBytes int64 // to clients, from the sites
	Sites                    []SiteState
	Fills                    []FillState
	Held                     []HeldState
}

// SiteState is what is known of a site's line.
type SiteState struct {
	Name  string
	Up    bool
	Cause string
	Since time.Time
}

// FillState is one body that is being fetched. Path is empty for what must not
// be listed.
type FillState struct {
	Path         string
	Held, Length int64 // bytes; Length is −1 while it isn't known
	Readers      int
}

// HeldState is one stored resource that may be listed.
type HeldState struct {
	Site, Path, Type string
	Bytes            int64 // −1 if not known
	Complete, Fresh  bool
}

// Lines are the states of the sites' lines: of a Snapshot that which costs nothing.
func (f *Front) Lines() (out []SiteState) {
	for i, line := range f.lines {
		st := line.State()
		out = append(out, SiteState{Name: f.cfg.Sites[i].Name, Up: st.Up, Cause: string(st.Cause), Since: st.Since})
	}
	return out
}

// Doubt has the sites asked soon whether they can be reached that are taken to be
// and have not shown it since then.
func (f *Front) Doubt(since time.Time) {
	for _, line := range f.lines {
		if st := line.State(); st.Up && st.LastOK.Before(since) {
			line.Doubt()
		}
	}
}

// Snapshot describes the cache as it is now. It may be called at any time.
func (f *Front) Snapshot(ctx context.Context) Snapshot {
	out := Snapshot{Sites: f.Lines()}
	for i, line := range f.lines {
		t := f.edge.Totals(f.cfg.Sites[i].Name)
		out.Totals.Hits += t.Hits
		out.Totals.Stale += t.Stale
		out.Totals.Revalidated += t.Revalidated
		out.Totals.Misses += t.Misses
		out.Totals.Collapsed += t.Collapsed
		out.Totals.Passed += t.Passed
		out.Totals.Errors += t.Errors
		out.SentBytes += t.SentBytes
		out.ReceivedBytes += line.ReceivedBytes()
	}
	s := f.store.Load()
	if s == nil {
		return out
	}
	out.Objects = s.Objects().Count()
	out.UsedBytes, out.BudgetBytes, out.Full = s.Usage()
	paths := map[fill.ID]string{}
	for i, site := range f.sites {
		if !f.cfg.Sites[i].List {
			continue
		}
		n := 0
		err := s.Objects().Listed(ctx, site.Name, func(o *object.Object) bool {
			paths[fill.ID(o.ID)] = o.Lists
			out.Held = append(out.Held, held(o, site.RulesFor(o.Header)))
			n++
			return n < mostHeld
		})
		if err != nil {
			f.log.DebugContext(ctx, "what is held can't be listed", "err", err)
		}
	}
	s.Fills().Bodies(func(body *fill.Body) {
		st := body.Status()
		if st.Fetches > 0 || st.Waiting {
			out.Fills = append(out.Fills, FillState{Path: paths[st.ID], Held: st.Held, Length: st.Length, Readers: st.Readers})
		}
	})
	return out
}

func held(o *object.Object, rules rfc9111.Rules) HeldState {
	resp := rfc9111.Response{Status: o.Status, Header: o.Header, RequestTime: o.RequestTime, ResponseTime: o.ResponseTime}
	d := rfc9111.Decide(nil, resp, time.Now(), rules)
	return HeldState{
		Site: o.Site, Path: o.Lists, Type: o.Header.Get("Content-Type"), Bytes: o.Length, Complete: o.Complete,
		Fresh: d.Use == rfc9111.Fresh && o.Doubt == object.NoDoubt,
	}
}

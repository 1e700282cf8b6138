package region

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// reportsFor is how long it is remembered that a box sent wrong bytes.
	reportsFor = 30 * 24 * time.Hour
	// reportsMost bounds the pairs of boxes of which something is remembered.
	reportsMost = 4096
	// reportsEvery is how often, at most, one box is heard about the same other.
	reportsEvery = time.Minute
)

// reported remembers which boxes sent wrong bytes to others of their school. It
// lies in a file of this server's own, and the servers put together what they
// have when somebody asks. It is told to operators and changes nothing: the word
// of one box is not enough to shut out another.
type reported struct {
	file string

	mu sync.Mutex
	of map[string]map[string]control.Report // by the box, then by who tells
}

// open reads what this server remembers. A file that can't be read is begun anew.
func (s *reported) open(file string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.of = file, map[string]map[string]control.Report{}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s.of)
	}
	if err != nil {
		s.of = map[string]map[string]control.Report{}
		return fmt.Errorf("read which boxes were reported: %w", err)
	}
	s.forget(now)
	return nil
}

// forget drops what is old, and the oldest if it is too much. The lock is held.
func (s *reported) forget(now time.Time) {
	type pair struct{ box, by string }
	var all []pair
	for box, by := range s.of {
		maps.DeleteFunc(by, func(_ string, r control.Report) bool { return now.Sub(r.At) > reportsFor })
		if len(by) == 0 {
			delete(s.of, box)
		}
		for name := range by {
			all = append(all, pair{box, name})
		}
	}
	if len(all) <= reportsMost {
		return
	}
	slices.SortFunc(all, func(x, y pair) int { return s.of[x.box][x.by].At.Compare(s.of[y.box][y.by].At) })
	for _, p := range all[:len(all)-reportsMost] {
		if delete(s.of[p.box], p.by); len(s.of[p.box]) == 0 {
			delete(s.of, p.box)
		}
	}
}

// note remembers what one box says of another, and reports whether it is news.
func (s *reported) note(box string, r control.Report, now time.Time) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.of[box][r.By]
	if known && r.At.Sub(old.At) < reportsEvery {
		return false
	}
	if s.of[box] == nil {
		s.of[box] = map[string]control.Report{}
	}
	// A box that was started again counts from the beginning.
	r.Times = max(r.Times, old.Times)
	s.of[box][r.By] = r
	s.forget(now)
	return true
}

// keep writes it all down.
func (s *reported) keep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(s.of)
	if err == nil {
		err = os.WriteFile(s.file+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(s.file+".new", s.file)
	}
	if err != nil {
		return fmt.Errorf("note which boxes were reported: %w", err)
	}
	return nil
}

// all is what this server remembers, by the box that is reported.
func (s *reported) all(now time.Time) map[string][]control.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	out := map[string][]control.Report{}
	for box, by := range s.of {
		out[box] = slices.Collect(maps.Values(by))
	}
	return out
}

// reportsOf is what all servers remember of a box since it was enrolled, the
// latest first.
func reportsOf(box string, enrolled time.Time, all map[string]presence) []control.Report {
	latest := map[string]control.Report{}
	for _, p := range all {
		for _, r := range p.Reports[box] {
			if old, ok := latest[r.By]; r.At.After(enrolled) && (!ok || r.At.After(old.At)) {
				r.Times = max(r.Times, old.Times)
				latest[r.By] = r
			}
		}
	}
	return slices.SortedFunc(maps.Values(latest), func(x, y control.Report) int {
		return cmp.Or(y.At.Compare(x.At), cmp.Compare(x.By, y.By))
	})
}

func (g *Region) openReported() {
	if err := g.reported.open(filepath.Join(g.cfg.Data, "reported.json"), time.Now()); err != nil {
		g.log.Warn("which boxes were reported by others is forgotten", "err", err)
	}
}

// serveReports takes down which boxes of its school a box had wrong bytes from.
// Fields that are not known yet are left out: boxes may be newer than their region.
func (g *Region) serveReports(r *http.Request) (any, error) {
	var list []control.BoxReport
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		return nil, invalid("the report can't be read: %w", err)
	}
	if len(list) > control.MaxReports {
		return nil, invalid("%d boxes are too many to tell of, the most is %d", len(list), control.MaxReports)
	}
	by, ok := wire.IdentityOf(r)
	if !ok || by.School == "" {
		return nil, invalid("only boxes of a school have neighbours")
	}
	now := time.Now()
	news := false
	for _, q := range list {
		if _, err := identity.ParseName(q.Box); err != nil || q.Box == string(by.Name) || len(q.Why) > control.MaxWhy || q.Times < 1 || q.Ago < 0 {
			return nil, invalid("%.60q is not told of as it should be", q.Box)
		}
		box, ok, err := get[catalogue.Box](g, catalogue.KindBox, q.Box)
		if err != nil {
			return nil, err
		}
		if !ok || box.School != by.School {
			continue // it has left meanwhile, or never was a neighbour
		}
		report := control.Report{By: string(by.Name), Why: q.Why, Times: min(q.Times, 1<<20), At: now.Add(-min(q.Ago, reportsFor)).UTC()}
		if g.reported.note(q.Box, report, now) {
			news = true
			g.log.ErrorContext(r.Context(), "a box sent wrong bytes to another of its school, which nobody got: look at its disk and its memory, or revoke it (preau revoke)",
				"box", q.Box, "school", string(box.School), "told_by", report.By, "why", q.Why, "times", report.Times)
		}
	}
	if news {
		if err := g.reported.keep(); err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

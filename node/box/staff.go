package box

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"preau/cache/page"
	"preau/node/auth"
	"preau/node/control"
	"preau/node/near"
	"preau/node/obs"
	"preau/node/portal"
	"preau/node/portal/look"
	schoolpages "preau/node/portal/school"
	"preau/node/portal/teach"
	used "preau/node/usage"
	"preau/replication/outbox"
)

// liveStaff is how many pages of teachers and admins are kept current at once.
const liveStaff = 60

// staff is the part of the box for those who sign in: teachers, the school's
// admin and the region's IT.
type staff struct {
	box    *Box
	lines  *lines
	auth   *auth.Auth
	book   *used.Book
	live   *look.Live
	school *schoolpages.Pages
	*teaching
}

// openStaff reads who is signed in and what was used. Nothing of it asks the
// network for anything.
func (b *Box) openStaff(l *lines) (_ *staff, err error) {
	s := &staff{box: b, lines: l, live: look.NewLive(liveStaff)}
	s.auth, err = auth.New(b.cfg.SignIn, auth.Parts{
		Dir: filepath.Join(b.cfg.Data, "auth"), Line: l, Home: b.home,
		Joined: func(from, to string) { s.adopt(from, to) },
	}, b.log, b.reg)
	if err != nil {
		return nil, err
	}
	if s.book, err = used.New(used.DefaultConfig(filepath.Join(b.cfg.Data, "usage")), s.totals, b.log); err != nil {
		return nil, err
	}
	s.school, err = schoolpages.New(schoolpages.Sources{State: s.state, Bins: s.book.Bins, Actions: s.actions, Badges: badgeDesk{s}}, s.live, b.log)
	if err != nil {
		return nil, err
	}
	s.teaching, err = s.openTeaching()
	return s, err
}

// add has the parts run.
func (s *staff) add() {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		s.box.admin.Handle(method+" /claim", http.HandlerFunc(s.claim))
	}
	s.box.group.Add("sign-in", 5*time.Second, s.auth.Run)
	s.box.group.Add("usage", 5*time.Second, s.book.Run)
	s.teaching.add()
	s.box.group.Add("live pages", 5*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		s.live.Close()
		return nil
	})
}

// mount puts the pages of those who sign in among the pupils'.
func (s *staff) mount(parts *portal.Parts) {
	own, teaches := s.auth.Handler(), s.auth.Need(auth.Teacher, s.pages)
	parts.Mounted = map[string]http.Handler{
		"/sign-in": own, "/sign-in/": own, "/sign-out": own, "/sign-out/": own, "/claim": own, "/claim/": own,
		schoolpages.Prefix: s.auth.Need(auth.School, s.school), teach.Prefix: teaches,
	}
	parts.Assets = []*look.Bundle{schoolpages.Static, teach.Static}
	parts.Lessons = s.teaching
	parts.Places, parts.Person = s.places, s.auth.Shown
}

var placeWords = page.Both[struct{ lessons, box, in string }]{
	French:  struct{ lessons, box, in string }{"Mes cours", "La boîte", "Se connecter"},
	English: struct{ lessons, box, in string }{"My lessons", "The box", "Sign in"},
}

// places are the main places of who is signed in, or the way in.
func (s *staff) places(r *http.Request) (out []look.NavItem) {
	say := placeWords.In(look.Lang(r))
	p, ok := s.auth.Who(r)
	if !ok {
		return []look.NavItem{{To: "/sign-in", Label: say.in, Icon: "key"}}
	}
	if p.Has(auth.Teacher) {
		out = append(out, look.NavItem{To: teach.Prefix, Label: say.lessons, Icon: "lesson"})
	}
	if p.Has(auth.School) {
		out = append(out, look.NavItem{To: schoolpages.Prefix, Label: say.box, Icon: "school"})
	}
	return out
}

// home is the box's secure address, once it has a certificate for its name.
func (b *Box) home() string {
	door, _ := b.door()
	if door == nil {
		return ""
	}
	host := b.cfg.Public.Name
	if tcp, ok := door.Addr().(*net.TCPAddr); ok && tcp.Port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(tcp.Port))
	}
	return "https://" + host
}

// Lineless implements auth.Line.
func (l *lines) Lineless() bool {
	s := l.Line()
	return s.Known && !s.Up
}

// What counts as come over the line, and as sent to devices.
var (
	lineCounters = map[string]string{
		"preau_upstream_received_bytes_total": "", "preau_parent_received_bytes_total": "", "preau_shelf_received_bytes_total": "region",
	}
	sentCounters = map[string]string{"preau_edge_sent_bytes_total": "", "preau_shelf_sent_bytes_total": ""}
)

// totals adds the box's own counters up.
func (s *staff) totals() (t used.Totals, err error) {
	all, err := s.box.reg.Gather()
	if err != nil {
		return t, fmt.Errorf("count what was used: %w", err)
	}
	for _, family := range all {
		from, line := lineCounters[family.GetName()]
		_, sent := sentCounters[family.GetName()]
		if !line && !sent {
			continue
		}
		for _, m := range family.GetMetric() {
			counts := from == ""
			for _, label := range m.GetLabel() {
				counts = counts || label.GetValue() == from
			}
			switch n := int64(m.GetCounter().GetValue()); {
			case sent:
				t.Sent += n
			case counts:
				t.Line += n
			}
		}
	}
	return t, nil
}

func (s *staff) actions(most int) ([]schoolpages.Action, error) {
	all, err := s.auth.Actions(most)
	out := make([]schoolpages.Action, len(all))
	for i, a := range all {
		out[i] = schoolpages.Action{At: a.Time, Who: cmp.Or(a.Name, a.Subject), What: deed(a)}
	}
	return out, err
}

// state is how the box stands, for its school's admin.
func (s *staff) state(ctx context.Context) schoolpages.State {
	status, seen := s.box.Status(ctx), s.lines.snapshot(ctx)
	out := schoolpages.State{
		Now: time.Now(), Box: schoolpages.Box{Version: obs.ReadBuild().Version, Problem: status.Problem},
		Disk: schoolpages.Disk{Used: seen.UsedBytes, Budget: seen.BudgetBytes, Full: seen.Full || seen.BudgetBytes == 0},
		Held: seen.Objects, Deposits: waitingDeposits(status.Deposits),
	}
	for _, site := range seen.Sites {
		out.Sites = append(out.Sites, schoolpages.Site{Name: site.Name, Up: site.Up, Since: site.Since})
	}
	if r := status.Region; r != nil {
		out.Box.Enrolled, out.Box.Name, out.Box.School, out.Box.Region = true, r.Box, r.School, r.Region
		out.Box.Server, out.Box.Since, out.Box.Certificate = r.Server, r.Since, r.Certificate
	}
	if m := status.Machine; m != nil {
		out.Box.WithoutDisk, out.Box.GivenUp = m.WithoutDisk, m.GivenUp
	}
	if status.School != nil {
		out.Pooled = true
		for _, n := range status.School.Neighbours {
			one := schoolpages.Neighbour{
				Name: n.Name, There: n.State == near.StateAlive || n.State == near.StateDraining, Leaving: n.State == near.StateDraining,
				Free: n.Free, Given: n.Given, Taken: n.Taken,
			}
			if n.State == near.StateQuarantined {
				one.Problem = cmp.Or(n.Why, n.State)
			}
			out.Neighbours = append(out.Neighbours, one)
		}
	}
	out.Lessons = s.coming(out.Now)
	if f := s.box.region.follower.Load(); f != nil {
		ahead := f.Ahead()
		out.Background.Rate = ahead.Rate()
		for _, h := range ahead.Hours() {
			out.Background.Hours = append(out.Background.Hours, schoolpages.Hours{From: h.From, To: h.To})
		}
	}
	return out
}

// waitingDeposits are those that the centre does not have, in words.
func waitingDeposits(w Waiting) schoolpages.Deposits {
	out := schoolpages.Deposits{Closed: w.Closed, Count: w.Count, Bytes: w.Bytes}
	for _, d := range w.First {
		why := page.Both[string]{French: cmp.Or(waitingFrench[d.Waiting], d.Waiting), English: d.Waiting}
		out.First = append(out.First, schoolpages.Deposit{
			Title: cmp.Or(d.Title, d.Filename), Bytes: d.Length, At: d.At, InRegion: d.State == outbox.InRegion, Waiting: why,
		})
	}
	if len(out.First) > 0 {
		out.Oldest = slices.MinFunc(out.First, func(a, b schoolpages.Deposit) int { return a.At.Compare(b.At) }).At
	}
	return out
}

// Claim is the code with which a box is claimed.
type Claim struct {
	// Open: whoever enters the code at Address becomes the school's admin.
	Open bool   `json:"open"`
	Code string `json:"code,omitempty"`
	// Address is that of the page, below the box's secure address if it has one.
	Address string `json:"address"`
}

// claim tells the code to whoever looks after the machine, and makes a new one
// (POST) for a school that has lost every other way in.
func (s *staff) claim(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		if _, err := s.auth.Reclaim(r.Context()); err != nil {
			s.box.log.ErrorContext(r.Context(), "no new claim code can be made", "err", err)
			writeJSON(w, r, http.StatusInternalServerError, control.Failure{Code: "no_claim", Detail: err.Error()})
			return
		}
	}
	c := Claim{Address: s.box.home() + "/claim"}
	c.Code, c.Open = s.auth.Claim()
	writeJSON(w, r, http.StatusOK, c)
}

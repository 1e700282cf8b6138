package region

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"preau/node/control"
	"preau/node/obs"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

// askWithin is how long other servers have to say how they are.
const askWithin = 2 * time.Second

// lapseAfter is when a box that was not heard of must have lapsed: it renews
// at half of a certificate's life.
const lapseAfter = 90 * 24 * time.Hour

// presence is what one server tells the others of itself and its boxes.
type presence struct {
	Server control.Server         `json:"server"`
	Boxes  map[string]control.Box `json:"boxes"`
	Centre *control.Centre        `json:"centre,omitempty"` // nil: a server that does not tell it yet
	// Reports are what boxes have told this server of others, by who is told of.
	Reports map[string][]control.Report `json:"reports,omitempty"`
	// Returns are the boxes that ask this server for their place back.
	Returns []asked `json:"returns,omitempty"`
}

// here is this server's presence.
func (g *Region) here() presence {
	stats := g.node.Stats()
	applied, _ := g.machine.Applied()
	centre := g.standing()
	p := presence{Boxes: map[string]control.Box{}, Centre: &centre, Reports: g.reported.all(time.Now()), Returns: g.returns.all(time.Now()), Server: control.Server{
		Name: g.name, Address: g.cfg.address(), State: stats.State, Applied: applied, Version: obs.ReadBuild().Version,
		HeldBytes: g.blocks.Usage(), Clock: time.Now().UTC(), Paths: g.paths(),
	}}
	p.Server.Problem = cmp.Or(stats.Trouble, lowDisk(g.cfg.Data))
	if err := g.front.Ready(context.Background()); err != nil && p.Server.Problem == "" {
		p.Server.Problem = err.Error()
	}
	for _, b := range g.feed.Presence() {
		p.Boxes[string(b.Name)] = control.Box{
			Name: string(b.Name), School: string(b.School), Connected: b.Connected, Server: g.name,
			Index: b.Acked, Seen: b.Seen.UTC(), Version: b.Version,
		}
		if b.Connected {
			p.Server.Boxes++
		}
	}
	return p
}

// scarce is how little room on a disk an operator must know of.
const scarce = 256 << 20

// lowDisk says so if the disk of a folder has next to no room left.
func lowDisk(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "" // whatever is wrong shows elsewhere
	}
	if free := int64(st.Bavail) * st.Bsize; free < min(scarce, int64(st.Blocks)*st.Bsize/20) {
		return fmt.Sprintf("its disk has %d MiB left, and published files need room", free>>20)
	}
	return ""
}

func (g *Region) servePresence(*http.Request) (any, error) { return g.here(), nil }

// others asks every other server for its presence. One that does not answer
// is in silent, with why.
func (g *Region) others(ctx context.Context) (all map[string]presence, silent map[string]error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, fmt.Errorf("no answer within %v", askWithin))
	defer cancel()
	all, silent = map[string]presence{g.name: g.here()}, map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range g.node.Servers() {
		if string(s.ID) == g.name {
			continue
		}
		wg.Go(func() {
			p, err := g.ask(ctx, string(s.ID), s.Address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent[string(s.ID)] = err
				return
			}
			all[string(s.ID)] = p
		})
	}
	wg.Wait()
	return all, silent
}

func (g *Region) ask(ctx context.Context, name, address string) (presence, error) {
	var p presence
	resp, err := g.peers.do(ctx, name, address, http.MethodGet, pathPresence, nil)
	if err != nil {
		return p, err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	if resp.StatusCode != http.StatusOK {
		return p, fmt.Errorf("it answers %d", resp.StatusCode)
	}
	// 3,000 boxes are about half a megabyte.
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<20)).Decode(&p); err != nil {
		return p, fmt.Errorf("read its answer: %w", err)
	}
	return p, nil
}

// everywhere is every box that some server has heard of since it started, by
// name: as the server tells that it is connected to, or that heard of it last.
func (g *Region) everywhere(ctx context.Context) (boxes map[string]control.Box, silent []string) {
	all, quiet := g.others(ctx)
	return merge(all), slices.Sorted(maps.Keys(quiet))
}

func merge(all map[string]presence) map[string]control.Box {
	out := map[string]control.Box{}
	for _, p := range all {
		for name, b := range p.Boxes {
			old, ok := out[name]
			switch {
			case !ok, b.Connected && !old.Connected, b.Connected == old.Connected && b.Seen.After(old.Seen):
				b.Index = max(b.Index, old.Index)
				out[name] = b
			default:
				old.Index = max(b.Index, old.Index)
				out[name] = old
			}
		}
	}
	return out
}

// knownBoxes are the boxes that were enrolled and not revoked.
func (g *Region) knownBoxes() (map[string]catalogue.Box, error) {
	out := map[string]catalogue.Box{}
	err := each(g, catalogue.KindBox, func(_ catalogue.Record, b catalogue.Box) bool {
		if !g.revoked.named(identity.Box, b.Name) {
			out[b.Name] = b
		}
		return true
	})
	return out, err
}

// boxes lists every box, revoked ones too.
func (g *Region) boxes(r *http.Request) (any, error) {
	all, _ := g.others(r.Context())
	return g.boxList(all)
}

func (g *Region) boxList(all map[string]presence) ([]control.Box, error) {
	present := merge(all)
	contacts := map[string]catalogue.Contact{}
	err := each(g, catalogue.KindContact, func(_ catalogue.Record, c catalogue.Contact) bool {
		contacts[c.Box] = c
		return true
	})
	if err != nil {
		return nil, err
	}
	index := g.feedIndex()
	back := g.returnsBy(all)
	out := []control.Box{}
	err = each(g, catalogue.KindBox, func(_ catalogue.Record, b catalogue.Box) bool {
		box := present[b.Name]
		box.Name, box.School, box.Enrolled = b.Name, string(b.School), b.Enrolled
		if c := contacts[b.Name]; c.At.After(box.Seen) {
			box.Seen = c.At
			box.Index, box.Version = max(box.Index, c.Index), cmp.Or(box.Version, c.Version)
		}
		box.State = stateOf(box, index, g.revoked.named(identity.Box, b.Name), time.Now())
		box.Reports = reportsOf(b.Name, b.Enrolled, all)
		// Whoever asks in the name of a box that is there changes nothing of how it is.
		if box.Returns = back[b.Name]; len(box.Returns) > 0 && !box.Connected {
			box.State = "asking"
		}
		out = append(out, box)
		return true
	})
	return out, err
}

// stateOf says in a word how a box is.
func stateOf(b control.Box, index uint64, revoked bool, now time.Time) string {
	heard := b.Seen
	if heard.IsZero() {
		heard = b.Enrolled
	}
	switch {
	case revoked:
		return "revoked"
	case b.Connected && b.Index < index:
		return "behind"
	case b.Connected:
		return "connected"
	case now.Sub(heard) > lapseAfter:
		return "lapsed"
	}
	return "away"
}

// status is the region as this server and those that answer it see it.
func (g *Region) status(r *http.Request) (any, error) {
	region, ok, err := get[catalogue.Region](g, catalogue.KindRegion, catalogue.Region{}.RecordID())
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoRegion
	}
	stats := g.node.Stats()
	applied, _ := g.machine.Applied()
	out := control.Status{
		Region: string(region.ID), Name: region.Name, Epoch: region.Epoch, Level: g.state.Level(), Index: applied, Term: stats.Term,
		Counts: map[string]int64{},
	}
	if leader, ok := g.node.Leader(); ok {
		out.Leader, out.Quorum = string(leader.ID), true
	}
	all, silent := g.others(r.Context())
	furthest := applied
	for _, p := range all {
		furthest = max(furthest, p.Server.Applied)
	}
	for _, s := range g.node.Servers() {
		name := string(s.ID)
		server := control.Server{Name: name, Address: s.Address, State: "unreachable"}
		if p, ok := all[name]; ok {
			server = p.Server
			server.Lag = furthest - min(furthest, server.Applied)
		} else if err := silent[name]; err != nil {
			server.Problem = control.Why(err)
		}
		server.Voter = s.Voter
		if s.Voter {
			out.Voters++
		}
		out.Servers = append(out.Servers, server)
	}
	boxes, err := g.boxList(all)
	if err != nil {
		return nil, err
	}
	out.Boxes = tally(boxes)
	out.Centre = g.centreOf(all, out.Leader)
	if out.Waiting, err = g.queue(out.Centre); err != nil {
		return nil, err
	}
	return out, g.count(out.Counts)
}

func tally(boxes []control.Box) control.Tally {
	t := control.Tally{Known: len(boxes)}
	for _, b := range boxes {
		switch b.State {
		case "revoked":
			t.Revoked++
			continue
		case "behind":
			t.Behind++
		case "lapsed":
			t.Lapsed++
		case "asking":
			t.Asking++
		}
		if b.Connected {
			t.Connected++
		} else {
			t.Away++
		}
		if len(b.Reports) > 0 {
			t.Reported++
		}
	}
	return t
}

package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"preau/node/listen"
	"preau/node/locate"
	"preau/node/names/records"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// placesEvery is how often a server asks the others which boxes they have.
	placesEvery = 5 * time.Second
	// placesPause is the least time between two times.
	placesPause = time.Second
	// placesWithin is how long another node may take for it.
	placesWithin = 4 * time.Second
	// placesFresh is how long what another server has said is held for true. A
	// box that followed it has found another one by then.
	placesFresh = 30 * time.Second
	// tellEvery is how often the centre is told; see locate.Inbox.
	tellEvery = 10 * time.Second
	// maxRecord bounds what a box asks for a certificate's sake.
	maxRecord = 4 << 10
)

// places is where the schools' boxes are, for devices.
type places struct {
	heard    *locate.Heard
	networks *locate.Networks
	table    *locate.Table
	peers    *locate.Peers
	locator  *locate.Locator
	mine     atomic.Pointer[locate.Packed]
	told     locate.Packed // the centre, by this server
	news     chan struct{} // a box has announced itself
	records  *records.Writer
}

// openPlaces opens the listeners for devices, and what is known for them.
func (g *Region) openPlaces(ctx context.Context, keep func(func() error)) error {
	var err error
	if g.places.records, err = records.NewWriter(g.cfg.Names, g.log); err != nil {
		return err
	}
	cfg := g.cfg.Locate
	if !cfg.Enabled() {
		return nil
	}
	p := &g.places
	if p.networks, err = locate.OpenNetworks(cfg.Networks, g.log); err != nil {
		return err
	}
	p.heard, p.table = locate.NewHeard(cfg.IPv6Prefix), locate.NewTable(placesFresh)
	p.peers = &locate.Peers{Table: p.table, Domain: cfg.Domain}
	p.mine.Store(&locate.Packed{})
	p.news = make(chan struct{}, 1)
	if p.locator, err = locate.New(cfg, g.cfg.steered(), p.table, g.reg); err != nil {
		return err
	}
	g.group.Add("networks of the schools", time.Second, p.networks.Run)
	g.group.Add("whereabouts of boxes", 5*time.Second, g.runPlaces)
	for _, l := range cfg.Listen {
		door, err := listen.New(ctx, l, p.locator, g.log)
		if err != nil {
			return err
		}
		keep(door.Close)
		g.group.Add("devices on "+door.Addr().String(), 10*time.Second, door.Run)
	}
	if len(cfg.Listen) > 0 {
		g.log.InfoContext(ctx, "devices are sent to their schools' boxes", "domain", cfg.Domain)
	}
	return nil
}

func (g *Region) placeRoutes(handle func(string, http.Handler, ...identity.Role), operators func(string, func(*http.Request) (any, error))) {
	handle("POST "+locate.AnnouncePath, g.answer(g.serveAnnouncement), identity.Box)
	handle("POST "+records.Path, g.answer(g.serveRecord), identity.Box)
	operators("GET "+locate.OperatorsPath, func(r *http.Request) (any, error) {
		if !g.cfg.Locate.Enabled() {
			return nil, failure{http.StatusNotFound, "not_found", errors.New("this server sends no devices to boxes: locate.domain is not set there")}
		}
		a, err := g.places.locator.Explain(r.URL.Query(), time.Now())
		if err != nil {
			return nil, invalid("%w", err)
		}
		return a, nil
	})
	if g.cfg.Locate.Enabled() {
		handle("GET "+locate.ServersPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.places.mine.Load().ServeHTTP(w, r)
		}), identity.Server)
	}
}

// serveAnnouncement takes down under which name a box can be reached, and from
// where it is connected. Fields that are not known yet are left out: boxes may be
// newer than their region.
func (g *Region) serveAnnouncement(r *http.Request) (any, error) {
	var a locate.Announcement
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return nil, invalid("the announcement can't be read: %w", err)
	}
	box, ok := wire.IdentityOf(r)
	if !ok || box.School == "" {
		return nil, invalid("only boxes of a school have public names")
	}
	name, domain := string(box.Name), g.cfg.Locate.Domain
	switch {
	case !g.cfg.Locate.Enabled():
		return locate.Reply{Why: "the region gives its boxes no public names: locate.domain is not set there"}, nil
	case a.Host == "":
		g.places.heard.Forget(name)
		poke(g.places.news)
		return locate.Reply{Why: "the box wants no devices"}, nil
	}
	if err := a.Check(name, domain); err != nil {
		g.places.heard.Forget(name)
		return locate.Reply{Why: err.Error()}, nil
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, fmt.Errorf("read where the box is: %w", err)
	}
	g.places.heard.Note(name, string(box.School), a, from.Addr(), time.Now())
	poke(g.places.news)
	return locate.Reply{Taken: true}, nil
}

// serveRecord writes or removes the record that proves a box's name.
func (g *Region) serveRecord(r *http.Request) (any, error) {
	var q records.Record
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRecord)).Decode(&q); err != nil {
		return nil, invalid("the request can't be read: %w", err)
	}
	box, ok := wire.IdentityOf(r)
	if !ok || !g.cfg.Locate.Enabled() {
		return nil, failure{http.StatusForbidden, "forbidden", errors.New("the region gives its boxes no public names: locate.domain is not set there")}
	}
	host := locate.NameOf(string(box.Name), g.cfg.Locate.Domain)
	if err := q.Check(host); err != nil {
		return nil, failure{http.StatusForbidden, "forbidden", err}
	}
	switch err := g.places.records.Write(r.Context(), host, q); {
	case errors.Is(err, records.ErrNone):
		return nil, failure{http.StatusNotFound, "not_found", err}
	case errors.Is(err, records.ErrTooMany):
		return nil, failure{http.StatusTooManyRequests, "too_many", err}
	case err != nil:
		return nil, failure{http.StatusBadGateway, "dns", err}
	}
	return records.Written{Settle: int(g.places.records.Settle() / time.Second)}, nil
}

// runPlaces keeps what is known of boxes up to date, here and at the centre.
func (g *Region) runPlaces(ctx context.Context) error {
	tick := time.NewTicker(placesEvery)
	defer tick.Stop()
	var told time.Time
	tell, done := g.tellers()
	defer done()
	for {
		if err := g.refreshPlaces(ctx); err != nil && ctx.Err() == nil {
			g.log.WarnContext(ctx, "where boxes are is not all known", "err", err)
		}
		if len(tell) > 0 && g.node.IsLeader() && time.Since(told) >= tellEvery {
			told = time.Now()
			g.tellCentre(ctx, tell)
		}
		// After an outage all boxes come at once.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(placesPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-g.places.news:
		}
	}
}

// refreshPlaces takes down what this server has heard, and what the others have.
func (g *Region) refreshPlaces(ctx context.Context) error {
	p := &g.places
	following := map[string]bool{}
	for _, b := range g.feed.Presence() {
		following[string(b.Name)] = b.Connected && !g.revoked.named(identity.Box, string(b.Name))
	}
	now := time.Now()
	report := locate.Report{Boxes: p.heard.Boxes(func(box string) bool { return following[box] }, now), Networks: p.networks.List()}
	packed, err := locate.Pack(report, *p.mine.Load())
	if err != nil {
		return err
	}
	p.mine.Store(&packed)
	p.table.Set(g.name, report, now)
	ctx, cancel := context.WithTimeout(ctx, placesWithin)
	defer cancel()
	here := []string{g.name}
	var wg sync.WaitGroup
	for _, s := range g.node.Servers() {
		name, address := string(s.ID), s.Address
		if name == g.name {
			continue
		}
		here = append(here, name)
		wg.Go(func() {
			err := p.peers.Fetch(ctx, name, func(ctx context.Context, method, path string, h http.Header, body io.Reader) (*http.Response, error) {
				return send(ctx, g.peers.transport(name, address), name, method, path, h, body)
			})
			if err != nil && ctx.Err() == nil {
				g.log.DebugContext(ctx, "a server does not say where its boxes are", "server", name, "err", err)
			}
		})
	}
	wg.Wait()
	p.peers.Keep(here)
	return nil
}

func send(ctx context.Context, rt http.RoundTripper, host, method, path string, h http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, h)
	return rt.RoundTrip(req)
}

// tellers are the ways to the centre's gateways, each of which answers devices.
func (g *Region) tellers() (ways map[string]locate.Asker, done func()) {
	addresses := g.cfg.Central.Gateways
	if len(addresses) == 0 && g.cfg.Central.Address != "" {
		addresses = []string{g.cfg.Central.Address}
	}
	ways = map[string]locate.Asker{}
	var open []*wire.Transport
	for _, address := range addresses {
		t := g.far.Transport(wire.Target{Address: address, Role: identity.Central})
		open = append(open, t)
		ways[address] = func(ctx context.Context, method, path string, h http.Header, body io.Reader) (*http.Response, error) {
			return send(ctx, t, "central", method, path, h, body)
		}
	}
	return ways, func() {
		for _, t := range open {
			if err := t.Close(); err != nil {
				g.log.Debug("the way to a gateway did not close well", "err", err)
			}
		}
	}
}

// tellCentre tells every gateway what all servers know together.
func (g *Region) tellCentre(ctx context.Context, ways map[string]locate.Asker) {
	packed, err := locate.Pack(g.places.table.All(time.Now()), g.places.told)
	if err != nil {
		g.log.WarnContext(ctx, "the centre is not told where boxes are", "err", err)
		return
	}
	g.places.told = packed
	ctx, cancel := context.WithTimeout(ctx, placesWithin)
	defer cancel()
	var wg sync.WaitGroup
	for address, ask := range ways {
		wg.Go(func() {
			if err := packed.Tell(ctx, ask); err != nil && ctx.Err() == nil {
				g.log.DebugContext(ctx, "a gateway does not take where boxes are", "gateway", address, "err", err)
			}
		})
	}
	wg.Wait()
}

package region

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/identity"
	"preau/replication/wire"
)

// memberEvery is how often a server looks whether the region knows it as what
// it is.
const memberEvery = 2 * time.Second

// joining is what a server tells of itself.
type joining struct {
	Address string   `json:"address"`
	Sites   []string `json:"sites,omitempty"`
	// Reads is the version of the catalogue's encoding that it reads. It travels
	// beside the rest, for servers that know no such field and refuse what they
	// don't know.
	Reads uint8 `json:"-"`
}

// path is where it is sent.
func (j joining) path() string { return pathJoin + "?reads=" + strconv.Itoa(int(j.Reads)) }

// runMember makes the region know this server, at this address, with these
// sites, and keeps it so: a new server joins by it, and one that moved is found
// again.
func (g *Region) runMember(ctx context.Context) error {
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	said := ""
	for {
		err := g.beMember(ctx)
		g.expel(ctx, errors.Is(err, errRemoved))
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said: // once each
			said = err.Error()
			g.log.WarnContext(ctx, "this server is not yet part of the region", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// errRemoved is said by the others of a server that is out of the region.
var errRemoved = errors.New("the region's other servers take this one for removed: an operator can readmit it (preau readmit NAME --role server)")

// expel sends the boxes elsewhere while the others say that this server is out of
// the region, and takes them again if they don't any more. Raft leaves a server
// that is removed where it was, with all before its removal: boxes that went on
// following it would hear of nothing any more, not even of that.
func (g *Region) expel(ctx context.Context, removed bool) {
	if g.removed.Swap(removed) == removed || !removed {
		return
	}
	n := g.listener.Drop(func(p wire.Peer) bool { return p.Role == identity.Box })
	g.log.ErrorContext(ctx, "this server was removed from the region and serves no boxes any more", "connections", n)
}

func (g *Region) beMember(ctx context.Context) error {
	mine := joining{Address: g.cfg.address(), Reads: catalogue.MaxVersion}
	for _, s := range g.cfg.Site {
		mine.Sites = append(mine.Sites, s.Name)
	}
	inRaft := slices.ContainsFunc(g.node.Servers(), func(s consensus.Server) bool {
		return string(s.ID) == g.name && s.Address == mine.Address
	})
	rec, ok, err := get[catalogue.Server](g, catalogue.KindServer, g.name)
	if err != nil {
		return err
	}
	if inRaft && ok && rec.Address == mine.Address && slices.Equal(rec.Sites, mine.Sites) && max(rec.Reads, 1) == mine.Reads {
		if _, led := g.node.Leader(); !led {
			return g.stillIn(ctx)
		}
		g.raiseLevel(ctx)
		return g.rememberServers()
	}
	body, err := json.Marshal(mine)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*decideWithin)
	defer cancel()
	if g.node.IsLeader() {
		_, err := g.join(ctx, g.name, mine)
		return err
	}
	var errs []error
	for _, s := range g.toJoin() {
		err := g.askOther(ctx, s, http.MethodPost, mine.path(), body)
		if err == nil {
			return nil
		}
		if errors.Is(err, wire.ErrRefused) {
			err = fmt.Errorf("%w: %w", errRemoved, err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", s, err))
	}
	return errors.Join(errs...)
}

// stillIn asks the others whether this server is one of them, and only that it is
// not is an error. No leader speaks to it: there may be none, or it was removed in
// a moment in which Raft could not tell it.
func (g *Region) stillIn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*decideWithin)
	defer cancel()
	var refused error
	for _, s := range g.toJoin() {
		err := g.askOther(ctx, s, http.MethodGet, pathIndex, nil)
		if err == nil { // the leader, and it knows this server
			return nil
		}
		if errors.Is(err, wire.ErrRefused) {
			refused = fmt.Errorf("%w: %s: %w", errRemoved, s, err)
		}
	}
	return refused
}

// rememberServers keeps the region's servers in the folder, for a start after
// this server has lost its part of the catalogue.
func (g *Region) rememberServers() error {
	now := g.targets()
	if slices.Equal(now, g.me.Servers()) {
		return nil
	}
	return g.me.SetServers(now)
}

// toJoin is where to ask: the leader if it is known, or whoever the region had
// when this server was enrolled.
func (g *Region) toJoin() []wire.Target {
	var out []wire.Target
	if leader, ok := g.node.Leader(); ok && string(leader.ID) != g.name {
		out = append(out, wire.Target{Name: identity.Name(leader.ID), Address: leader.Address})
	}
	for _, s := range g.servers() {
		out = append(out, wire.Target{Name: identity.Name(s.Name), Address: s.Address})
	}
	out = append(out, g.founders...)
	return slices.DeleteFunc(out, func(t wire.Target) bool {
		return string(t.Name) == g.name || t.Address == g.cfg.address()
	})
}

// askOther asks one of the other servers. What it answers but "ok" is the error.
func (g *Region) askOther(ctx context.Context, s wire.Target, method, path string, body []byte) error {
	name := string(s.Name)
	if name == "" {
		name = s.Address
	}
	t := g.dialer.Transport(s)
	defer t.CloseIdleConnections() // asked once
	req, err := http.NewRequestWithContext(ctx, method, "https://"+name+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var f control.Failure
	if err := json.Unmarshal(answer, &f); err != nil {
		return fmt.Errorf("it answers %d", resp.StatusCode)
	}
	if f.Code == string(catalogue.CodeRevoked) {
		return fmt.Errorf("%w: %s", errRemoved, f.Detail)
	}
	return errors.New(f.Detail)
}

// serveJoin takes in another server, whose certificate says its name. A server
// that is not the leader hands the request on.
func (g *Region) serveJoin(r *http.Request) (any, error) {
	q, err := decode[joining](r)
	if err != nil {
		return nil, err
	}
	q.Reads = readsOf(r)
	name := string(wire.PeerOf(r).Name)
	if on := r.URL.Query().Get("for"); on != "" { // handed on by another server
		name = on
	}
	if g.node.IsLeader() {
		return g.join(r.Context(), name, q)
	}
	leader, ok := g.node.Leader()
	if !ok || r.URL.Query().Get("for") != "" {
		return nil, consensus.ErrNoLeader
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	resp, err := g.peers.do(r.Context(), string(leader.ID), leader.Address, http.MethodPost, q.path()+"&for="+name, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", consensus.ErrNoLeader, err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	if resp.StatusCode == http.StatusOK {
		return control.Done{ID: name}, nil
	}
	var f control.Failure
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&f); err != nil {
		return nil, fmt.Errorf("the leader answers %d", resp.StatusCode)
	}
	return nil, failure{resp.StatusCode, f.Code, errors.New(f.Detail)}
}

// join is the leader's part: raft first, so that nobody is told of a server
// that is none.
func (g *Region) join(ctx context.Context, name string, q joining) (control.Done, error) {
	if _, err := identity.ParseName(name); err != nil {
		return control.Done{}, failure{http.StatusBadRequest, "invalid", err}
	}
	if g.revoked.has(wire.Peer{Identity: identity.Identity{Role: identity.Server, Name: identity.Name(name)}}) {
		return control.Done{}, failure{http.StatusForbidden, "revoked", fmt.Errorf("server %s was removed from the region: an operator can readmit it (preau readmit %s --role server)", name, name)}
	}
	if level := g.state.Level(); q.Reads < level {
		return control.Done{}, tooOld(name, q.Reads, level)
	}
	err := g.node.AddServer(ctx, consensus.Server{ID: consensus.ServerID(name), Address: q.Address, Voter: true})
	if err != nil && !errors.Is(err, consensus.ErrAlreadyMember) && !errors.Is(err, consensus.ErrNotCaughtUp) {
		return control.Done{}, fmt.Errorf("take in server %s: %w", name, err)
	}
	op, err := catalogue.NewPut(catalogue.Server{
		Name: name, Address: q.Address, Sites: q.Sites, Reads: q.Reads,
	})
	if err != nil {
		return control.Done{}, invalid("%w", err)
	}
	result, err := g.submit(ctx, "server/"+name, op)
	return control.Done{ID: name, Index: result.Index}, err
}

// removeServer takes a server out for good: out of raft, out of what boxes are
// told, and its certificate is revoked, so that it does not come back by itself.
func (g *Region) removeServer(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if !slices.ContainsFunc(g.node.Servers(), func(s consensus.Server) bool { return string(s.ID) == name }) {
		return nil, failure{http.StatusNotFound, "not_found", fmt.Errorf("the region has no server %q: preau status lists them", name)}
	}
	if !g.node.IsLeader() {
		return g.handOn(r, http.MethodDelete, "/v1/servers/"+name)
	}
	if name == g.name {
		return nil, failure{http.StatusConflict, "conflict", errors.New("this server is the leader: hand leadership to another first (preau region lead NAME), then remove it")}
	}
	revocation, err := catalogue.NewPut(catalogue.Revocation{Role: identity.Server, Name: name, Reason: "removed from the region"})
	if err != nil {
		return nil, err
	}
	// Revoked first: one that is removed and not yet revoked asks to join again.
	done, err := g.do(r, name, revocation, catalogue.Op{Delete: &catalogue.Delete{Kind: catalogue.KindServer, ID: name, Missing: true}})
	if err != nil {
		return nil, err
	}
	if err := g.node.RemoveServer(r.Context(), consensus.ServerID(name)); err != nil {
		return nil, fmt.Errorf("remove server %s: %w", name, err)
	}
	return done, nil
}

func (g *Region) transfer(r *http.Request) (any, error) {
	if !g.node.IsLeader() {
		return g.handOn(r, http.MethodPost, "/v1/leader/"+r.PathValue("name"))
	}
	if err := g.node.TransferLeadership(r.Context(), consensus.ServerID(r.PathValue("name"))); err != nil {
		return nil, failure{http.StatusConflict, "conflict", err}
	}
	return control.Done{ID: r.PathValue("name")}, nil
}

// handOn has the leader answer a request that has no body.
func (g *Region) handOn(r *http.Request, method, path string) (any, error) {
	leader, ok := g.node.Leader()
	if !ok || string(leader.ID) == g.name || wire.PeerOf(r).Role == identity.Server {
		return nil, consensus.ErrNoLeader
	}
	resp, err := g.peers.do(r.Context(), string(leader.ID), leader.Address, method, path, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", consensus.ErrNoLeader, err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	if resp.StatusCode == http.StatusOK {
		var d control.Done
		if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&d); err != nil {
			return nil, fmt.Errorf("read the leader's answer: %w", err)
		}
		return d, nil
	}
	var f control.Failure
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&f); err != nil {
		return nil, fmt.Errorf("the leader answers %d", resp.StatusCode)
	}
	return nil, failure{resp.StatusCode, f.Code, errors.New(f.Detail)}
}

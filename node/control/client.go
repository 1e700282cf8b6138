package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// learnWithin is how long a server may take to name the others. They are for
// when it is lost; nothing depends on them until then.
const learnWithin = 2 * time.Second

// Client asks a region's servers, as whoever a folder's identity is. It goes to
// the server that answered last, and on to the next when that one is lost. It
// owns no goroutine; any number of them may use it.
type Client struct {
	// Consistent has answers include all that was committed when they were asked
	// for, at the price of a question to the leader. Set it before the first use.
	Consistent bool

	me     *enrol.Store
	dialer *wire.Dialer
	fixed  bool // the caller chose the servers: nothing is learned or remembered

	mu      sync.Mutex
	servers []string // addresses, the one that answered last first
	open    map[string]*wire.Transport
	lost    map[string]Attempt // servers that did not answer, until they do
	learned bool
	index   uint64
}

// HasIdentity reports whether a folder holds an identity, be it in order or not.
func HasIdentity(dir string) bool {
	_, err := enrol.OpenStore(dir)
	return !errors.Is(err, enrol.ErrNotEnrolled)
}

// Open makes a Client of the identity in the folder dir. It asks the given
// servers (host:port) and no others, or, where none are given, those that the
// folder remembers.
func Open(dir string, servers []string) (*Client, error) {
	me, err := enrol.OpenStore(dir)
	if errors.Is(err, enrol.ErrNotEnrolled) {
		return nil, fmt.Errorf("%w: %s holds no identity", ErrNoIdentity, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	for _, address := range servers {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("%q is not the address of a server: write it like 192.0.2.10:4433", address)
		}
	}
	cfg := wire.DefaultDialConfig()
	// A person waits, and another server may be well.
	cfg.DialTimeout, cfg.HandshakeTimeout = 5*time.Second, 5*time.Second
	cfg.Silence, cfg.PingTimeout = 5*time.Second, 5*time.Second
	dialer, err := wire.NewDialer(me.Credentials(), cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{
		me: me, dialer: dialer, fixed: len(servers) > 0, servers: slices.Clone(servers),
		open: map[string]*wire.Transport{}, lost: map[string]Attempt{},
	}
	if !c.fixed {
		for _, t := range me.Servers() {
			c.servers = append(c.servers, t.Address)
		}
	}
	return c, nil
}

// Close ends all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, t := range c.open {
		errs = append(errs, t.Close())
	}
	c.open = map[string]*wire.Transport{}
	return errors.Join(errs...)
}

// Region is the id of the region.
func (c *Client) Region() string { return string(c.me.Identity().Region) }

// Name says as whom the client asks.
func (c *Client) Name() string {
	return string(c.me.Identity().Role) + "/" + string(c.me.Identity().Name)
}

// Until is when the identity's certificate runs out.
func (c *Client) Until() time.Time { return c.me.Certificate().NotAfter }

// Index is as of which log index the latest answer was.
func (c *Client) Index() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index
}

// Lost tells which servers did not answer, and why, though another did.
func (c *Client) Lost() []Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Attempt, 0, len(c.lost))
	for _, a := range c.lost {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Attempt) int { return cmp.Compare(a.Server, b.Server) })
	return out
}

// each is the servers as they are to be tried, each once, with those that are
// learned of on the way.
func (c *Client) each() iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for {
			c.mu.Lock()
			i := slices.IndexFunc(c.servers, func(s string) bool { return !seen[s] })
			address := ""
			if i >= 0 {
				address = c.servers[i]
			}
			c.mu.Unlock()
			if i < 0 || !yield(address) {
				return
			}
			seen[address] = true
		}
	}
}

func (c *Client) transport(address string) *wire.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.open[address]
	if t == nil {
		t = c.dialer.Transport(wire.Target{Address: address})
		c.open[address] = t
	}
	return t
}

// answered makes a server the first to be asked from now on.
func (c *Client) answered(address string, h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lost, address)
	if n, err := strconv.ParseUint(h.Get(IndexHeader), 10, 64); err == nil {
		c.index = n
	}
	if i := slices.Index(c.servers, address); i > 0 {
		c.servers = slices.Insert(slices.Delete(c.servers, i, i+1), 0, address)
	}
}

func (c *Client) failed(address string, err error) Attempt {
	a := Attempt{Server: address, Err: err}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost[address] = a
	return a
}

// learn asks a server that answers for all servers there are, once in the
// client's life, so that the client and its folder know where else to go.
func (c *Client) learn(ctx context.Context, address string) {
	c.mu.Lock()
	done := c.learned || c.fixed
	c.learned = true
	c.mu.Unlock()
	if done {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	var known []struct {
		Value struct{ Name, Address string }
	}
	if _, err := c.ask(ctx, address, call{method: http.MethodGet, path: "/v1/records/servers"}, &known); err != nil {
		c.mu.Lock()
		c.learned = false // the next that answers is asked
		c.mu.Unlock()
		return
	}
	targets := []wire.Target{{Address: address}}
	for _, k := range known {
		t := wire.Target{Name: identity.Name(k.Value.Name), Address: k.Value.Address}
		switch {
		case t.Address == address:
			targets[0] = t
		case t.Address != "":
			targets = append(targets, t)
		}
	}
	c.mu.Lock()
	c.servers = c.servers[:0]
	for _, t := range targets {
		c.servers = append(c.servers, t.Address)
	}
	c.mu.Unlock()
	// A folder that can't be written only means that the next command begins
	// with what the folder had.
	_ = c.me.SetServers(targets) //nolint:errcheck // see above
}

package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"preau/replication/identity"
	"preau/replication/wire"
)

// peers keeps a transport to each of the other servers.
type peers struct {
	dialer *wire.Dialer

	mu   sync.Mutex
	open map[string]*peer // by name
}

type peer struct {
	address string
	*wire.Transport
}

func newPeers(dialer *wire.Dialer) *peers { return &peers{dialer: dialer, open: map[string]*peer{}} }

// transport leads to the server of that name, wherever it is said to be now.
func (p *peers) transport(name, address string) http.RoundTripper {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.open[name]; old != nil {
		if old.address == address {
			return old.Transport
		}
		old.CloseIdleConnections()
	}
	t := &peer{address: address, Transport: p.dialer.Transport(wire.Target{Name: identity.Name(name), Address: address})}
	p.open[name] = t
	return t.Transport
}

// do sends one request to a server. The caller closes the response's body.
func (p *peers) do(ctx context.Context, name, address, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+name+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	return p.transport(name, address).RoundTrip(req)
}

// Close ends all connections.
func (p *peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, t := range p.open {
		errs = append(errs, t.Close())
	}
	p.open = map[string]*peer{}
	return errors.Join(errs...)
}

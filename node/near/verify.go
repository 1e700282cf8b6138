package near

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"preau/replication/identity"
	"preau/replication/wire"
)

// HelloPath is asked of a box to see who it is.
const HelloPath = "/n/hello"

// way leads to one box, at the address where it has proven who it is.
type way struct {
	*wire.Transport
	b       *Boxes
	name    string
	address string
	key     identity.Key
	taken   *counter // of all ways to the box
}

// RoundTrip implements http.RoundTripper, and counts what the box gives.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &countingBody{resp.Body, w.taken, w.b.met.taken}
	return resp, nil
}

// verify asks the box at addr who it is: its certificate must be that of the box
// called name, of this school, with the key that the region knows.
func (b *Boxes) verify(ctx context.Context, name string, addr netip.AddrPort) error {
	again, err := b.verifyOnce(ctx, name, addr)
	if again && ctx.Err() == nil {
		_, err = b.verifyOnce(ctx, name, addr)
	}
	return err
}

// verifyOnce is verify; again says that it was tried over a way that somebody has
// given up meanwhile, as when the box was gone for a moment.
func (b *Boxes) verifyOnce(ctx context.Context, name string, addr netip.AddrPort) (again bool, _ error) {
	n, err := identity.ParseName(name)
	if err != nil {
		return false, err
	}
	key, err := b.region.Peer(n)
	if err != nil {
		b.forget(name)
		return false, err
	}
	b.mu.Lock()
	old, taken := b.ways[name], b.taken[name]
	if taken == nil {
		taken = &counter{}
		b.taken[name] = taken
	}
	b.mu.Unlock()
	w := old
	if old == nil || old.address != addr.String() || old.key != key {
		w = &way{b: b, name: name, address: addr.String(), key: key, taken: taken}
		w.Transport = b.dialer.Transport(wire.Target{Name: n, Address: addr.String(), Role: identity.Box, School: b.id.School, Key: key})
	}
	if err := w.hello(ctx); err != nil {
		if w != old {
			b.log.DebugContext(ctx, "close a way that led nowhere", "box", name, "err", w.Close())
			return false, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.ways[name] != w, err
	}
	b.mu.Lock()
	if w == old {
		defer b.mu.Unlock()
		if b.ways[name] != w {
			return true, errGivenUp
		}
		return false, nil
	}
	old = b.ways[name]
	b.ways[name] = w
	b.mu.Unlock()
	if old != nil {
		// What runs on the old way may end there.
		old.CloseIdleConnections()
	}
	return false, nil
}

// errGivenUp is a way that was closed while it was tried.
var errGivenUp = errors.New("the way to the box was given up meanwhile: it is asked again")

// forget ends what runs over the way to a box that is no neighbour any more.
func (b *Boxes) forget(name string) {
	b.mu.Lock()
	w := b.ways[name]
	b.mu.Unlock()
	if w != nil {
		b.giveUp(name, w)
	}
}

// giveUp ends what runs over a way.
func (b *Boxes) giveUp(name string, w *way) {
	b.mu.Lock()
	if b.ways[name] == w {
		delete(b.ways, name)
	}
	b.mu.Unlock()
	if err := w.Close(); err != nil {
		b.log.Debug("close the way to a former neighbour", "box", name, "err", err)
	}
}

func (w *way) hello(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.name+HelloPath, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := w.Transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("ask box %s at %s who it is: %w", w.name, w.address, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	if err == nil && resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	if err != nil {
		return fmt.Errorf("box %s at %s does not take us for a neighbour: %w", w.name, w.address, err)
	}
	return nil
}

// serve is what neighbours reach: who is no box of this school gets nothing.
func (b *Boxes) serve() http.Handler {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux := http.NewServeMux()
	mux.Handle("GET "+HelloPath, hello)
	mux.Handle("/", b.self.Handler)
	return wire.Only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := wire.PeerOf(r)
		if !b.region.Admits(peer) {
			http.Error(w, "You are no box of this school.", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(&countingWriter{ResponseWriter: w, b: b, name: string(peer.Name)}, r)
	}), identity.Box)
}

package vouch

import "context"

// Fetch is what whoever fetches and whoever has something fetched tell one
// another within a box, so that boxes never wait for each other in a circle. It
// goes with the request's context and so never over any network.
type Fetch struct {
	// Neighbour: it is for a neighbour, and no other may be asked to fetch it.
	Neighbour bool
	// Waiting, unless nil, is called with true before a neighbour is asked that
	// may take its time, and with false when none is waited for any more. After
	// a fetch that a neighbour answered it is not called with false. It may be
	// called from any goroutine.
	Waiting func(bool)
	// Accept, unless nil, says whether a response that a neighbour has can be used
	// where nobody is there to vouch for it: it is given the proof that the
	// neighbour sent, and returns what that says. Its error says why not.
	Accept func(proof []byte) (Statement, error)
}

type fetchKey struct{}

// With returns a context for a fetch.
func With(ctx context.Context, f Fetch) context.Context {
	return context.WithValue(ctx, fetchKey{}, f)
}

// Of returns what With was given.
func Of(ctx context.Context) Fetch {
	f, _ := ctx.Value(fetchKey{}).(Fetch) //nolint:errcheck // the zero value where there is none
	if f.Waiting == nil {
		f.Waiting = func(bool) {}
	}
	return f
}

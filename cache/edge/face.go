package edge

import (
	"net/http"

	"preau/cache/vouch"
)

// face is who is answered. Devices get the plain thing.
type face int

const (
	faceDevices face = iota
	facePeers
	faceNeighbours
)

// Peers returns the face for boxes of which this cache is a parent: it vouches
// for bodies, and proves what it has, where that is asked for (see package vouch),
// and is otherwise the handler itself.
func (h *Handler) Peers() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, facePeers) })
}

// Neighbours returns the face for the other boxes of a school. They get what
// this box has, or has fetched as anybody may have it; no other
// neighbour is asked to fetch it for them. While an answer takes its time they are
// told so (102 Processing, at once and then four times a second), so that a
// slow line is told from a dead box. Who waits for what this box itself waits
// for a neighbour to send is sent away (504) rather than made to wait in a
// circle.
func (h *Handler) Neighbours() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "Neighbours read.", http.StatusMethodNotAllowed)
			return
		case r.Header.Get("Authorization") != "", r.Header.Get("Cookie") != "", r.Header.Get("Upgrade") != "", r.ContentLength != 0:
			http.Error(w, "This is not for neighbours.", http.StatusBadRequest)
			return
		case h.store.Load() == nil:
			http.Error(w, "Nothing can be stored here now.", http.StatusServiceUnavailable)
			return
		}
		p := beginProcessing(w)
		defer p.end()
		h.serve(p, r, faceNeighbours)
	})
}

// serve answers a request that came by way of f.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, f face) {
	vouches := f == facePeers && r.Method == http.MethodGet && vouch.Asked(r.Header)
	proves := f != faceDevices && (r.Method == http.MethodGet || r.Method == http.MethodHead) && vouch.AskedProof(r.Header)
	vouch.Strip(r.Header)
	if proves {
		if h.store.Load() == nil || f == facePeers && h.proofs.signer == nil {
			http.Error(w, "Nothing can be proven here now.", http.StatusGatewayTimeout)
			return
		}
		// Of what is held and nothing else, be it asked for by HEAD: then the
		// server leaves the list out.
		r = r.WithContext(r.Context())
		r.Method = http.MethodGet
		r.Header.Set("Cache-Control", "only-if-cached, max-stale")
	}
	h.answer(w, r, exchange{vouches: vouches, proves: proves, neighbour: f == faceNeighbours, device: f == faceDevices})
}

package parent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"preau/cache/vouch"
)

// ErrUnproven reports that nobody who was asked has a proof.
var ErrUnproven = errors.New("nobody gives a proof")

// proofWithin is how long one parent may take to give a proof, which nobody
// waits for.
const proofWithin = 20 * time.Second

// Prove asks parents for a proof of the response to req that they have (see
// package vouch), one after the other, until take takes one. Nothing is fetched
// for it, and the site is not asked.
func (o *Origin) Prove(req *http.Request, take func(proof []byte) error) error {
	key, ok := Key(req, o.root)
	if !ok {
		return fmt.Errorf("%w: it is not for other caches", ErrUnproven)
	}
	errs := []error{ErrUnproven}
	for _, p := range o.alive(key) {
		err := ProofOf(req, key, p, proofWithin, take)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
	}
	return errors.Join(errs...)
}

// ProofOf asks one other cache for a proof of what key names, and gives it to
// take.
func ProofOf(req *http.Request, key string, p Parent, within time.Duration, take func(proof []byte) error) error {
	ctx, cancel := context.WithTimeout(req.Context(), within)
	defer cancel()
	out := Request(ctx, req, key, p)
	out.Method = http.MethodHead
	ForProof(out.Header)
	resp, err := p.RoundTripper.RoundTrip(out)
	if err != nil {
		return fmt.Errorf("ask for a proof: %w", err)
	}
	_ = resp.Body.Close() // there is none
	b := vouch.ProofOf(resp.Header)
	if b == nil {
		return fmt.Errorf("%w: status %d", ErrUnproven, resp.StatusCode)
	}
	return take(b)
}

// ForProof changes the header of a request for a response into that of one for
// the proof of what is held of it, all of it, however old.
func ForProof(h http.Header) {
	for _, name := range []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since", "Pragma"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "only-if-cached, max-stale")
	vouch.AskProof(h)
}

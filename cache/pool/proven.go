package pool

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"preau/cache/parent"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// mostProvers bounds how many neighbours are asked for a proof at a time.
const mostProvers = 8

// What neighbours' proofs were good for.
const (
	proofUsed    = "used"
	proofRefused = "refused"
	proofForged  = "forged"
)

// Near reports whether there is a neighbour that may have, with a proof, what
// nobody else can be asked for.
func (o *Origin) Near() bool {
	others, _ := o.list("/")
	return len(others) > 0
}

// proven takes a response from a neighbour that proves it, where nobody is there
// to vouch for it; nil if none does. Neighbours are asked for what they hold and
// for nothing else.
func (o *Origin) proven(req *http.Request) (resp *http.Response) {
	fetch := vouch.Of(req.Context())
	key, ok := parent.Key(req, o.root)
	if !ok || req.Method != http.MethodGet || fetch.Accept == nil || fetch.Neighbour || req.Context().Err() != nil || !o.memory.free() {
		return nil
	}
	others, _ := o.list(key)
	list := o.able(o.quick, others)
	list = list[:min(len(list), mostProvers)]
	o.askAll(req, key, list, parent.ForProof, func(r result) bool {
		if v := o.proof(req, r, fetch.Accept); v != nil {
			resp = o.fromHolder(req, key, v, r.a.Parent, list)
		}
		return resp != nil
	})
	return resp
}

// proof reads what a neighbour answers; nil unless it proves a response that may
// be used.
func (o *Origin) proof(req *http.Request, r result, accept func([]byte) (vouch.Statement, error)) *vouched {
	n := o.judge(req, r, nil)
	if n == nil {
		return nil
	}
	defer n.close()
	b := vouch.ProofOf(n.resp.Header)
	if b == nil {
		o.metrics.answers.WithLabelValues(saidAbsent).Inc()
		return nil // it has none, or is of a version that knows of none
	}
	v, err := o.provenBy(req, n, b, accept)
	switch {
	case err == nil:
		o.metrics.proofs.WithLabelValues(proofUsed).Inc()
		return v
	case errors.Is(err, vouch.ErrForged):
		o.metrics.proofs.WithLabelValues(proofForged).Inc()
		o.log.WarnContext(req.Context(), "a neighbour sent a forged proof", "neighbour", n.name, "err", err)
		o.reports.Report(n.name, "a forged proof")
	default:
		o.metrics.proofs.WithLabelValues(proofRefused).Inc()
		o.log.DebugContext(req.Context(), "a neighbour's proof is of no use", "neighbour", n.name, "err", err)
	}
	return nil
}

// provenBy is what a proof and the list that comes with it say of the response to
// req.
func (o *Origin) provenBy(req *http.Request, n *answer, proof []byte, accept func([]byte) (vouch.Statement, error)) (*vouched, error) {
	s, err := accept(proof)
	if err != nil {
		return nil, err
	}
	stall := time.AfterFunc(o.cfg.BodyStall, func() { n.cancel(errStalled) })
	defer stall.Stop()
	list, err := io.ReadAll(io.LimitReader(n.resp.Body, int64(vouch.ListLen(s.Length))+1))
	if err != nil {
		return nil, fmt.Errorf("read digests: %w", err)
	}
	if !s.Lists(list) {
		return nil, fmt.Errorf("%w: its list of digests is another", vouch.ErrOther)
	}
	now := time.Now()
	h := s.Header.Clone()
	vouch.Strip(h)
	h.Del("Content-Length")
	stored := rfc9111.Response{Status: s.Status, Header: h, RequestTime: now, ResponseTime: now}
	v := &vouched{
		resp:   &http.Response{StatusCode: s.Status, Header: h, Body: http.NoBody, ContentLength: -1, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1},
		span:   span{0, s.Length, s.Length},
		proven: true,
	}
	switch {
	case s.Status != http.StatusOK:
	case rfc9111.Preconditions(req.Method, req.Header, stored) == http.StatusNotModified:
		v.resp.StatusCode, v.span = http.StatusNotModified, span{}
	case req.Header.Get("Range") != "" && rfc9111.IfRange(req.Header, stored):
		spans, err := rfc9111.ParseRange(req.Header.Get("Range"), s.Length)
		if errors.Is(err, rfc9111.ErrUnsatisfiable) || len(spans) > 1 {
			return nil, fmt.Errorf("%w: the range is none of it", vouch.ErrOther)
		}
		if err == nil {
			v.span.off, v.span.end = spans[0].Off, spans[0].End()
			v.resp.StatusCode = http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", v.span.off, v.span.end-1, s.Length))
		}
	}
	v.list = vouch.Part(list, v.span.gridStart(), v.span.end)
	return v, nil
}

// fromHolder takes what is proven, from whoever has given the proof or from
// another that holds the same.
func (o *Origin) fromHolder(req *http.Request, key string, v *vouched, holder parent.Parent, list []parent.Parent) *http.Response {
	if v.span.length() == 0 {
		o.metrics.fetches.WithLabelValues(byNeighbour).Inc()
		v.resp.Request, v.resp.Body, v.resp.ContentLength = req, nothing{http.NoBody}, 0
		if v.resp.StatusCode != http.StatusNotModified {
			v.resp.Header.Set("Content-Length", "0")
		}
		return v.resp
	}
	turns := []turn{{holder, true}}
	for _, p := range list {
		if p.Name != holder.Name && len(turns) < o.cfg.Most {
			turns = append(turns, turn{p, true})
		}
	}
	n := o.ask(req, key, v, turns)
	if n == nil {
		return nil
	}
	buf, ok := o.memory.take(v.span)
	if !ok {
		n.close()
		return nil
	}
	// Not lent: as long as nobody can fetch it again, one copy is too few.
	return o.join(req, v, n, false, buf)
}

// nothing is the body of a neighbour's answer that has none.
type nothing struct{ io.ReadCloser }

// Source says who sent it.
func (nothing) Source() string { return Source }

// Prove asks for a proof of the response to req, until take takes one: those who
// fetch it before this box does, and then the authority.
func (o *Origin) Prove(req *http.Request, take func(proof []byte) error) error {
	key, ok := parent.Key(req, o.root)
	if !ok {
		return fmt.Errorf("%w: it is not for other caches", parent.ErrUnproven)
	}
	errs := []error{parent.ErrUnproven}
	others, place := o.list(key)
	place = min(max(place, 0), len(others))
	ask := func(list []parent.Parent) bool {
		for _, p := range o.alive(o.quick, list) {
			err := parent.ProofOf(req, key, p, o.cfg.HeldWithin, take)
			if err == nil {
				return true
			}
			errs = append(errs, fmt.Errorf("neighbour %s: %w", p.Name, err))
		}
		return false
	}
	if ask(others[:place]) {
		return nil
	}
	if by, ok := o.Authority.(Prover); ok && o.State().Up {
		err := by.Prove(req, take)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if ask(others[place:]) {
		return nil
	}
	return errors.Join(errs...)
}

// Prover is an Authority that gives proofs of what it has.
type Prover interface {
	Prove(req *http.Request, take func(proof []byte) error) error
}

package edge

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/fill"
	"preau/cache/memo"
	"preau/cache/object"
	"preau/cache/vouch"
)

const (
	// mostUnproven bounds the responses that wait for their proof; one that is
	// left out is asked for when it is served again.
	mostUnproven = 512
	// provers is how many proofs are asked for at a time: each is about 2 kB, and
	// takes no longer than there and back.
	provers = 4
	// proveAfter is how long after a response was served its proof is asked for. If
	// it is not whole then, it takes twice as long each time.
	proveAfter = 2 * time.Second
	proveTries = 5
	// unprovenFor is how long a response of which nobody gives a proof is not asked
	// about.
	unprovenFor = 20 * time.Minute
	// proveAgain is how much older than what is stored a proof may be, where that
	// was validated since.
	proveAgain = 24 * time.Hour
	// proofWithin bounds one asking.
	proofWithin = time.Minute
)

// What came of asking for a proof.
const (
	proofKept    = "kept"
	proofRefused = "refused"
	proofNone    = "none"
)

// proofs is what a handler does about proofs: it makes them, or it collects those
// of what it stores and takes what others prove.
type proofs struct {
	signer  vouch.Signer
	checker vouch.Checker
	after   time.Duration
	results *prometheus.CounterVec
	without *memo.Cache[struct{}] // by ID

	mu      sync.Mutex
	waiting map[object.ID]*unproven
	running int
}

// unproven is a response whose proof is to be asked for.
type unproven struct {
	site  *Site
	key   object.Key
	id    object.ID
	url   *url.URL
	host  string
	vary  http.Header // of the request, what the response varies by
	due   time.Time
	tries int
	busy  bool
}

// Proofs is what a handler is to do about proofs.
type Proofs struct {
	Signer  vouch.Signer  // nil: nothing is proven to peers
	Checker vouch.Checker // nil: no proof is asked for or believed
	// After is how long after a response was served its proof is asked for; 0: two
	// seconds, when it is mostly whole.
	After time.Duration
}

// SetProofs has the handler prove to its peers what it has, or ask for proofs of
// what it stores and use what neighbours prove. It is called before anything is
// served. Metrics: preau_edge_proofs_total{result}: kept, refused, none.
func (h *Handler) SetProofs(what Proofs, reg prometheus.Registerer) error {
	p := &h.proofs
	p.signer, p.checker, p.after, p.waiting = what.Signer, what.Checker, cmp.Or(what.After, proveAfter), map[object.ID]*unproven{}
	if p.checker == nil {
		return nil
	}
	p.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "preau", Subsystem: "edge", Name: "proofs_total",
		Help: "Proofs asked for: kept, refused (not of what is stored), none (nobody gave one).",
	}, []string{"result"})
	for _, r := range []string{proofKept, proofRefused, proofNone} {
		p.results.WithLabelValues(r)
	}
	if err := reg.Register(p.results); err != nil {
		return fmt.Errorf("register metrics of proofs: %w", err)
	}
	var err error
	p.without, err = memo.New(memo.Options[struct{}]{Most: mostRemembered, For: unprovenFor})
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

// prover is an Origin that can be asked for proofs.
type prover interface {
	Prove(req *http.Request, take func(proof []byte) error) error
}

// collect has the proof of o asked for, if it is not here, after a while. It is
// called with each answer and must be quick.
func (x *exchange) collect(o *object.Object) {
	p := &x.h.proofs
	if p.checker == nil || o.Proven != 0 && o.ResponseTime.Unix()-o.Proven < int64(proveAgain/time.Second) {
		return
	}
	if o.Fragment || o.Doubt != object.NoDoubt || o.Status >= 500 || x.site.PreserveHost || tellsWho(o.VaryNames) {
		return
	}
	if _, none := p.without.Get(byID(o.ID)); none {
		return
	}
	// Without a neighbour there is nobody to prove it to.
	if _, ok := x.site.Upstream.(prover); !ok || !x.h.nearby(x.site, false) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[o.ID] != nil || len(p.waiting) >= mostUnproven {
		return
	}
	u := &unproven{site: x.site, key: x.key, id: o.ID, url: x.url(), host: x.host(), vary: http.Header{}, due: time.Now().Add(p.after)}
	header := x.forwardHeader()
	for _, name := range o.VaryNames {
		if v, ok := header[name]; ok {
			u.vary[name] = v
		}
	}
	p.waiting[o.ID] = u
	if p.running < provers && x.h.starts() {
		p.running++
		go x.h.collectProofs()
	}
}

// collectProofs asks for what waits, until nothing does or the handler closes.
func (h *Handler) collectProofs() {
	defer h.work.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		u, wait := h.proofs.next(time.Now())
		switch {
		case u == nil && wait == 0:
			return
		case u == nil:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-h.ctx.Done():
				h.proofs.leave()
				return
			}
			continue
		}
		again := h.prove(u)
		h.proofs.settle(u, again && h.ctx.Err() == nil)
		if h.ctx.Err() != nil {
			h.proofs.leave()
			return
		}
	}
}

// next returns what is due, or how long that takes; neither says that nothing
// waits and that the caller is taken for gone.
func (p *proofs) next(now time.Time) (*unproven, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *unproven
	for _, u := range p.waiting {
		if !u.busy && (first == nil || u.due.Before(first.due)) {
			first = u
		}
	}
	if first == nil {
		p.running--
		return nil, 0
	}
	if wait := first.due.Sub(now); wait > 0 {
		return nil, wait
	}
	first.busy = true
	return first, 0
}

func (p *proofs) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
}

// settle takes u off the list, or has it tried again later.
func (p *proofs) settle(u *unproven, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.tries++; !again || u.tries >= proveTries {
		delete(p.waiting, u.id)
		return
	}
	u.busy, u.due = false, time.Now().Add(p.after<<u.tries)
}

// prove asks for one proof and keeps it; true if it is too soon.
func (h *Handler) prove(u *unproven) (again bool) {
	store := h.store.Load()
	if store == nil {
		return false
	}
	set, err := store.Objects().Lookup(u.key)
	if err != nil {
		return false
	}
	o := set.ByID(u.id)
	switch {
	case o == nil:
		return false // replaced, or purged
	case !provable(o):
		if store.Fills().InUse(fill.ID(o.ID)) {
			u.tries = min(u.tries, proveTries-2) // on its way, however long that takes
		}
		return o.Doubt == object.NoDoubt && !o.Fragment
	}
	list, err := (&exchange{h: h, store: store}).listOf(o)
	if err != nil {
		h.proofs.without.Set(byID(o.ID), struct{}{})
		return false
	}
	ctx, cancel := context.WithTimeout(h.ctx, proofWithin)
	defer cancel()
	req := (&http.Request{Method: http.MethodGet, URL: u.url, Host: u.host, Header: u.vary, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	refused := false
	by, ok := u.site.Upstream.(prover)
	if !ok {
		return false
	}
	err = by.Prove(req, func(proof []byte) error {
		err := h.proves(proof, u.site, req, o, list)
		if err == nil {
			err = store.Objects().SetProof(ctx, o, proof)
		}
		refused = refused || errors.Is(err, vouch.ErrOther) || errors.Is(err, vouch.ErrForged)
		return err
	})
	switch {
	case err == nil:
		h.proofs.results.WithLabelValues(proofKept).Inc()
		return false
	case h.ctx.Err() != nil:
		return false
	case refused:
		h.proofs.results.WithLabelValues(proofRefused).Inc()
	default:
		h.proofs.results.WithLabelValues(proofNone).Inc()
	}
	h.log.Debug("there is no proof of what is stored", "site", u.site.Name, "err", err)
	if u.tries == proveTries-1 {
		h.proofs.without.Set(byID(o.ID), struct{}{})
		return false
	}
	return true
}

// proves reports an error unless a proof is of what is stored.
func (h *Handler) proves(proof []byte, site *Site, req *http.Request, o *object.Object, list []byte) error {
	store := h.store.Load()
	if store == nil {
		return errors.New("the storage is closed")
	}
	s, err := vouch.Proven(proof, h.proofs.checker)
	if err == nil {
		err = h.says(s, site, req, store.Marker())
	}
	switch sum := sha256.Sum256(list); {
	case err != nil:
		return err
	case s.Status != o.Status || s.Length != o.Length || !bytes.Equal(s.List[:], sum[:]):
		return fmt.Errorf("%w: the body is another", vouch.ErrOther)
	}
	return nil
}

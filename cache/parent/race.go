package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"preau/cache/upstream"
)

var (
	errOffline = errors.New("the parent can't reach the site")
	errGateway = errors.New("the parent could not get an answer")
	errForeign = errors.New("what answers is no parent")
	errSilent  = errors.New("the parent does not answer")
	errLost    = errors.New("another was faster")
)

// attempt is one parent that is being asked.
type attempt struct {
	p      Parent
	began  time.Time
	cancel context.CancelCauseFunc
	ctx    context.Context
	over   bool
	site   bool // the site itself
}

// result is what came of it.
type result struct {
	a    *attempt
	resp *http.Response
	err  error
}

// race asks parents in their order, the next one as soon as one has failed, or
// is slow. The first answer is taken and the others are broken off. After two
// that are silent the site is asked too. final says that the error is final:
// the site was among those asked.
func (o *Origin) race(req *http.Request, key string, parents []Parent) (resp *http.Response, final bool, err error) {
	r := &racing{o: o, req: req, key: key, parents: parents, results: make(chan result), done: make(chan struct{})}
	defer close(r.done)
	hedge := time.NewTimer(o.cfg.HedgeAfter)
	defer hedge.Stop()
	r.next()
	var errs []error
	for r.pending > 0 {
		select {
		case <-hedge.C:
			r.slow++
			if r.slow < 2 && len(r.asked) < len(parents) {
				r.next()
			} else {
				r.askSite()
			}
			hedge.Reset(o.cfg.HedgeAfter)
			continue
		case res := <-r.results:
			r.pending--
			res.a.over = true
			if res.a.site {
				if res.err == nil {
					o.won(res.a, r.asked)
					o.metrics.fetches.WithLabelValues(bySite).Inc()
					res.resp.Body = &siteBody{res.resp.Body, res.a}
					return res.resp, true, nil
				}
				res.a.cancel(res.err)
				final, err = true, res.err
				if errors.Is(err, upstream.ErrLineDown) {
					// The line was up a moment ago and all are silent: it is the
					// school's own.
					o.lost(r.asked)
					return nil, true, err
				}
				continue
			}
			jerr := o.judge(req, res)
			if jerr == nil {
				o.won(res.a, r.asked)
				o.metrics.fetches.WithLabelValues(byParent).Inc()
				return res.resp, false, nil
			}
			res.a.cancel(jerr)
			errs = append(errs, fmt.Errorf("%s: %w", res.a.p.Name, jerr))
			if errors.Is(jerr, errSilent) {
				r.slow++
			}
			// A site that one server can't reach, the others seldom can.
			if errors.Is(jerr, errOffline) || req.Context().Err() != nil {
				o.abandon(r.asked)
				return nil, false, errors.Join(errs...)
			}
			if len(r.asked) < len(parents) && r.slow < 2 {
				r.next()
				hedge.Reset(o.cfg.HedgeAfter)
			}
		}
	}
	if final {
		return nil, true, err
	}
	return nil, false, errors.Join(errs...)
}

// racing is one race under way.
type racing struct {
	o       *Origin
	req     *http.Request
	key     string
	parents []Parent
	asked   []*attempt // parents, in their order
	pending int
	slow    int
	sited   bool
	results chan result
	done    chan struct{}
}

// next asks the next parent.
func (r *racing) next() {
	p := r.parents[len(r.asked)]
	a := &attempt{p: p, began: time.Now()}
	r.asked = append(r.asked, a)
	patience := r.o.cfg.AnswerTimeout
	if r.o.health.Claim(p.Name, r.o.cfg.HedgeAfter) {
		patience = r.o.cfg.HedgeAfter // it has failed before: nobody is to wait for it long
	}
	r.start(a, patience, func(ctx context.Context) (*http.Response, error) {
		return p.RoundTripper.RoundTrip(Request(ctx, r.req, r.key, p))
	})
}

// askSite asks the site beside parents that are silent.
func (r *racing) askSite() {
	if r.sited || !r.o.site.State().Up {
		return
	}
	r.sited = true
	r.start(&attempt{site: true, began: time.Now()}, 0, func(ctx context.Context) (*http.Response, error) {
		return r.o.ask(r.req.WithContext(ctx))
	})
}

// start runs one attempt. Its goroutine ends when ask does: the race's end, or
// its patience, cancels that.
func (r *racing) start(a *attempt, patience time.Duration, ask func(context.Context) (*http.Response, error)) {
	a.ctx, a.cancel = context.WithCancelCause(r.req.Context())
	r.pending++
	var timer *time.Timer
	if patience > 0 {
		timer = time.AfterFunc(patience, func() { a.cancel(errSilent) })
	}
	go func() {
		resp, err := ask(a.ctx)
		if timer != nil {
			timer.Stop()
		}
		select {
		case r.results <- result{a, resp, err}:
		case <-r.done:
			if err == nil {
				_ = resp.Body.Close() // too late
			}
			a.cancel(errLost)
		}
	}()
}

// siteBody ends its attempt with itself.
type siteBody struct {
	io.ReadCloser
	a *attempt
}

func (b *siteBody) Close() error {
	err := b.ReadCloser.Close()
	b.a.cancel(nil)
	return err
}

// lost takes all who are silent for dead.
func (o *Origin) lost(asked []*attempt) {
	for _, a := range asked {
		if !a.over {
			o.metrics.answers.WithLabelValues(saidSlow).Inc()
			o.unwell(a.p, "silent")
			a.cancel(errLost)
		}
	}
}

// won breaks off those who are still being asked. One that was asked long
// before the winner and has said nothing is taken for dead.
func (o *Origin) won(winner *attempt, asked []*attempt) {
	if !winner.site {
		o.healthy(winner.p)
	}
	for _, a := range asked {
		if a.over {
			continue
		}
		if a.began.Before(winner.began) {
			o.metrics.answers.WithLabelValues(saidSlow).Inc()
			o.unwell(a.p, "slow")
		}
		a.cancel(errLost)
	}
}

func (o *Origin) abandon(asked []*attempt) {
	for _, a := range asked {
		if !a.over {
			a.cancel(errLost)
		}
	}
}

// judge says whether an answer is the site's, and makes it look so. It closes
// the body of one that is not.
func (o *Origin) judge(req *http.Request, r result) error {
	if r.err != nil {
		if req.Context().Err() != nil {
			o.metrics.answers.WithLabelValues(saidCanceled).Inc()
			return context.Cause(req.Context())
		}
		err := r.err
		if cause := context.Cause(r.a.ctx); cause != nil { //nolint:contextcheck // the attempt's own
			err = cause
		}
		o.metrics.answers.WithLabelValues(saidNothing).Inc()
		o.unwell(r.a.p, "failed")
		return err
	}
	status := r.resp.StatusCode
	said, known := lastStatus(r.resp.Header)
	var label string
	var err error
	switch {
	case !known, r.resp.Uncompressed, status == http.StatusSwitchingProtocols:
		label, err = saidForeign, errForeign
	case said.forwarded:
	case said.detail == "offline" && !said.hit:
		label, err = saidOffline, errOffline
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		if !said.hit { // a stored 503 is the site's own
			label, err = saidGateway, errGateway
		}
	}
	if err != nil {
		_ = r.resp.Body.Close() // not the site's
		o.metrics.answers.WithLabelValues(label).Inc()
		if blamable(label, status) {
			o.unwell(r.a.p, label)
		} else {
			o.health.Unclaim(r.a.p.Name)
		}
		return fmt.Errorf("%w: status %d", err, status)
	}
	o.metrics.answers.WithLabelValues(saidAnswered).Inc()
	o.translate(r.resp.Header, r.a.p)
	r.resp.Request = req
	if r.resp.Body == http.NoBody {
		r.a.cancel(nil)
		r.resp.Body = empty{http.NoBody}
		return nil
	}
	r.resp.Body = &body{ReadCloser: r.resp.Body, o: o, a: r.a, parent: req.Context()}
	return nil
}

// blamable reports whether an answer is a reason to leave a parent alone. What
// one request can bring about by itself is none: else any device could.
func blamable(label string, status int) bool {
	if label == saidGateway {
		return false
	}
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return false
	}
	return true
}

// translate turns what a parent made fit its own address (the path under which
// it has the site) back into what the site said.
func (o *Origin) translate(h http.Header, p Parent) {
	base := strings.TrimSuffix(o.root.EscapedPath(), "/")
	prefix := strings.TrimSuffix(p.Base.EscapedPath(), "/")
	if loc := h.Get("Location"); loc != "" {
		if rest, ok := strings.CutPrefix(loc, prefix); ok && strings.HasPrefix(rest, "/") {
			h.Set("Location", o.root.Scheme+"://"+o.root.Host+base+rest)
		}
	}
	lines := h["Set-Cookie"]
	for i, line := range lines {
		parts := strings.Split(line, ";")
		for j, part := range parts[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if rest, ok := strings.CutPrefix(strings.TrimSpace(value), prefix); ok && strings.EqualFold(name, "path") {
				parts[j+1] = " Path=" + base + rest
			}
		}
		lines[i] = strings.Join(parts, ";")
	}
}

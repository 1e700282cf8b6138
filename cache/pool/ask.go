package pool

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"time"

	"preau/cache/parent"
	"preau/cache/vouch"
)

var (
	errLost   = errors.New("another neighbour was faster")
	errSilent = errors.New("the neighbour is silent")
)

const (
	// hedgeTimes is how many times what is usual somebody may be silent.
	hedgeTimes = 4
	// workTimes is how many times as long as the authority somebody may work on an
	// answer: it has to ask the same authority for it, over the same line.
	workTimes = 8
)

// answer is a neighbour's response of which the body is to be read.
type answer struct {
	name   string
	resp   *http.Response
	ctx    context.Context
	cancel context.CancelCauseFunc
	sure   bool // it is the version that the authority vouches for
}

func (n *answer) close() {
	_ = n.resp.Body.Close() // it is not wanted
	n.cancel(errLost)
}

// asked is a neighbour that is being asked.
type asked struct {
	turn
	began  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	spoke  bool
	late   bool // it says that it works on it, for too long
	over   bool
}

// result is what came of it.
type result struct {
	a    *asked
	resp *http.Response
	err  error
}

// asking is the asking of neighbours for one response.
type asking struct {
	o       *Origin
	req     *http.Request
	key     string
	all     []*asked
	pending int
	words   chan *asked
	results chan result
	done    chan struct{}
}

func (o *Origin) asking(req *http.Request, key string) *asking {
	return &asking{o: o, req: req, key: key, words: make(chan *asked, 16), results: make(chan result), done: make(chan struct{})}
}

// start asks one neighbour. Its goroutine ends when the asking does, or with
// its answer.
func (g *asking) start(t turn, change func(http.Header)) {
	a := &asked{turn: t, began: time.Now()}
	// Of the request's context only its end: what it traces is meant for the
	// site's interim answers, not for a neighbour's.
	ctx, cancel := context.WithCancelCause(context.Background())
	untie := context.AfterFunc(g.req.Context(), func() { cancel(context.Cause(g.req.Context())) })
	a.ctx, a.cancel = ctx, func(cause error) {
		untie()
		cancel(cause)
	}
	g.all = append(g.all, a)
	g.pending++
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			select {
			case g.words <- a:
			default: // it has said so already
			}
			return nil
		},
	})
	out := parent.Request(traced, g.req, g.key, t.Parent)
	if t.held {
		if out.Header.Get("Cache-Control") == "" {
			out.Header.Set("Cache-Control", "max-stale") // it is the authority that says which version it is
		}
		out.Header.Add("Cache-Control", "only-if-cached")
	}
	change(out.Header)
	go func() {
		resp, err := t.RoundTripper.RoundTrip(out)
		select {
		case g.results <- result{a, resp, err}:
		case <-g.done:
			if err == nil {
				_ = resp.Body.Close() // too late
			}
			a.cancel(errLost)
		}
	}()
}

// end breaks off whoever is still being asked.
func (g *asking) end() {
	close(g.done)
	for _, a := range g.all {
		if !a.over {
			a.cancel(errLost)
		}
	}
}

// ask asks neighbours for what v vouches for, in their order: the next as soon
// as one has nothing, or one is silent. nil means that nobody has it.
func (o *Origin) ask(req *http.Request, key string, v *vouched, list []turn) *answer {
	g := o.asking(req, key)
	defer g.end()
	hedge := time.NewTimer(o.hedge())
	defer hedge.Stop()
	// Words alone are no answer: somebody may say for ever that it works on it.
	patience := max(o.cfg.HedgeMost, workTimes*v.took)
	works := time.NewTimer(patience)
	defer works.Stop()
	whole := time.NewTimer(o.cfg.AnswerTimeout)
	defer whole.Stop()
	next := func() { //nolint:contextcheck // see start
		t := list[len(g.all)]
		if !t.held {
			vouch.Of(req.Context()).Waiting(true)
			o.well.Claim(t.Name, o.cfg.HedgeMost)
		}
		g.start(t, v.ask)
		hedge.Reset(o.hedge())
		works.Reset(patience)
	}
	next()
	quiet := time.Now() // since when nobody has said a word
	for {
		select {
		case <-req.Context().Done():
			o.metrics.answers.WithLabelValues(saidCanceled).Add(float64(g.pending))
			return nil
		case <-whole.C:
			o.silent(g.all, time.Now())
			return nil
		case a := <-g.words:
			if !a.spoke {
				a.spoke = true
				o.heard(time.Since(a.began))
			}
			if !a.late {
				quiet = time.Now()
				hedge.Reset(o.cfg.SilentAfter)
			}
		case <-works.C:
			o.late(g.all)
			if len(g.all) == len(list) {
				o.silent(g.all, time.Now())
				return nil
			}
			o.metrics.hedged.Inc()
			next()
		case <-hedge.C:
			if len(g.all) == len(list) {
				// To ask the authority carries it all once more: a box that is
				// but busy gets more time than it takes to ask another.
				if left := o.cfg.HedgeMost - time.Since(quiet); left > 0 {
					hedge.Reset(left)
					continue
				}
				o.silent(g.all, time.Now())
				return nil
			}
			o.metrics.hedged.Inc()
			next()
		case r := <-g.results:
			g.pending--
			r.a.over = true
			if n := o.judge(req, r, v); n != nil {
				o.silent(g.all, r.a.began)
				return n
			}
			if g.waits() {
				continue // for the one that is working on it, or is about to be given up
			}
			if len(g.all) == len(list) {
				return nil
			}
			next()
		}
	}
}

// waits reports whether anybody may still answer in good time.
func (g *asking) waits() bool {
	return slices.ContainsFunc(g.all, func(a *asked) bool { return !a.over && !a.late })
}

// whoHolds asks neighbours, all at once, who has a response already.
func (o *Origin) whoHolds(req *http.Request, key string, want want, list []parent.Parent) (holder *answer) {
	o.askAll(req, key, list, want.ask, func(r result) bool {
		holder = o.judge(req, r, nil)
		return holder != nil
	})
	return holder
}

// askAll asks neighbours, all at once, for what they hold, until take wants no
// more of their results, which are its own, or their time is over.
func (o *Origin) askAll(req *http.Request, key string, list []parent.Parent, change func(http.Header), take func(result) (enough bool)) {
	if len(list) == 0 {
		return
	}
	g := o.asking(req, key)
	defer g.end()
	within := time.NewTimer(o.cfg.HeldWithin)
	defer within.Stop()
	for _, p := range list {
		g.start(turn{p, true}, change) //nolint:contextcheck // see start
	}
	for g.pending > 0 {
		select {
		case <-req.Context().Done():
			return
		case <-g.words: // it need not begin to work on anything
		case <-within.C:
			o.mute(g.all)
			return
		case r := <-g.results:
			g.pending--
			r.a.over = true
			if take(r) {
				return
			}
		}
	}
}

// mute leaves alone for a moment those who have not said what they hold.
func (o *Origin) mute(all []*asked) {
	for _, a := range all {
		if !a.over {
			o.metrics.answers.WithLabelValues(saidSilent).Inc()
			o.quick.Failed(a.Name)
		}
	}
}

// ask changes a request for the authority into one for a neighbour that may
// have it: whole blocks.
func (w want) ask(h http.Header) {
	if w.ranged {
		h.Set("Range", rangeOf(w.first, w.last))
	}
}

// judge says whether a neighbour has what v vouches for, or something if v is
// nil, and closes what is not wanted.
func (o *Origin) judge(req *http.Request, r result, v *vouched) *answer {
	name := r.a.Name
	if r.err != nil {
		r.a.cancel(r.err)
		if req.Context().Err() != nil {
			o.metrics.answers.WithLabelValues(saidCanceled).Inc()
			return nil
		}
		o.metrics.answers.WithLabelValues(saidNothing).Inc()
		o.failed(name, "failed")
		o.reports.Lost(name)
		return nil
	}
	o.answers(name)
	if !r.a.spoke {
		o.heard(time.Since(r.a.began))
	}
	n := &answer{name: name, resp: r.resp, ctx: r.a.ctx, cancel: r.a.cancel}
	if s := r.resp.StatusCode; s != http.StatusOK && s != http.StatusPartialContent && !v.says(s) {
		o.metrics.answers.WithLabelValues(saidAbsent).Inc()
		n.close()
		return nil
	}
	if v == nil {
		return n
	}
	same, sure := v.same(r.resp)
	if !same {
		o.metrics.answers.WithLabelValues(saidOther).Inc()
		n.close()
		return nil
	}
	n.sure = sure
	return n
}

// silent leaves alone those who were asked before then and have said nothing.
func (o *Origin) silent(all []*asked, then time.Time) {
	for _, a := range all {
		if a.over || a.spoke || !a.began.Before(then) {
			continue
		}
		o.metrics.answers.WithLabelValues(saidSilent).Inc()
		o.failed(a.Name, "silent")
		if time.Since(a.began) >= o.cfg.HedgeMost {
			o.reports.Lost(a.Name)
		}
		a.cancel(errSilent)
	}
}

// late leaves alone those who say that they work on it, and have done so for too
// long. Their answer is taken all the same if it is the first.
func (o *Origin) late(all []*asked) {
	for _, a := range all {
		if a.over || a.late || !a.spoke {
			continue
		}
		a.late = true
		o.metrics.answers.WithLabelValues(saidLate).Inc()
		o.failed(a.Name, "works on it for too long")
	}
}

// failed has a neighbour left alone for a while.
func (o *Origin) failed(name, why string) {
	if o.well.Failed(name) {
		o.log.Info("neighbour left alone", "neighbour", name, "why", why)
	}
}

// answers forgets a neighbour's failures.
func (o *Origin) answers(name string) {
	o.quick.Answers(name)
	if o.well.Answers(name) {
		o.log.Info("neighbour answers again", "neighbour", name)
	}
}

// heard takes note of how long a neighbour's first word took.
func (o *Origin) heard(took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.usual == 0 {
		o.usual = took
		return
	}
	o.usual += (took - o.usual) / 8
}

// hedge is how long a neighbour may be silent.
func (o *Origin) hedge() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.usual == 0 {
		return o.cfg.HedgeMost
	}
	return min(max(hedgeTimes*o.usual, o.cfg.HedgeLeast), o.cfg.HedgeMost)
}

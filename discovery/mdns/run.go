package mdns

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"preau/discovery/mdns/hostname"
	"preau/discovery/mdns/links"
)

const (
	// gather is how long is waited after a change of the interfaces: it seldom
	// comes alone.
	gather = 100 * time.Millisecond
	// How often is looked at the interfaces: if the system tells of changes, if it
	// does not, and if something could not be opened.
	lookSeldom = time.Minute
	lookOften  = 5 * time.Second
	lookSoon   = 2 * time.Second
	// fresh is how old the addresses may be that are answered with.
	fresh = 500 * time.Millisecond
)

// run is one Run. All but its goroutines' channels belongs to the loop.
type run struct {
	*MDNS
	wg        sync.WaitGroup
	packets   chan packet
	changed   chan struct{} // the interfaces may have
	broken    chan *socket  // it can't be read any more
	done      chan browsed
	responder *hostname.Responder
	announcer *announcer
	sockets   [2]*socket // IPv4, IPv6; nil: not open
	words     [][]byte
	links     []links.Link

	watched  bool // the system tells of changes
	unheard  chan struct{}
	lookAt   time.Time
	lookedAt time.Time
	turns    turns
	whole    bool // the next browse asks by both families
	v6       bool // or else by this one, where a link has both
	browsing bool
	others   time.Time // when others asked in this box's place; zero: not lately
	missedAt time.Time // when a browse last counted for those who did not answer
	yielded  int
	trouble  string // what was said of it last
	retry    time.Duration
}

// browsed is a browse that has ended.
type browsed struct {
	begin time.Time
	err   error
}

func newRun(m *MDNS) *run {
	names := hostname.Names{Shared: m.cfg.Shared, Own: m.cfg.Own, Host: m.host}
	return &run{
		MDNS: m, packets: make(chan packet), changed: make(chan struct{}, 1), broken: make(chan *socket),
		done: make(chan browsed), unheard: make(chan struct{}),
		//nolint:gosec // the delays are no secret
		responder: hostname.New(names, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		announcer: newAnnouncer(m.cfg, m.host), words: words(m.cfg),
	}
}

func (r *run) loop(ctx context.Context) {
	r.wg.Go(func() { r.watch(ctx) })
	r.watched = true // until it says otherwise
	now := time.Now()
	r.lookAt, r.missedAt, r.turns.every = now, now, r.cfg.BrowseEvery
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(time.Until(r.next()))
		select {
		case <-ctx.Done():
		case p := <-r.packets:
			r.packet(time.Now(), p)
		case <-r.changed:
			if soon := time.Now().Add(gather); soon.Before(r.lookAt) {
				r.lookAt = soon
			}
		case <-r.unheard:
			r.unheard, r.watched = nil, false
			r.lookAt = time.Now()
		case s := <-r.broken:
			r.close(s)
			r.lookAt = time.Now().Add(lookSoon)
		case b := <-r.done:
			r.ended(b)
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(r.lookAt) {
			r.look(ctx, now)
		}
		if !r.browsing && r.turns.due(now) {
			r.begin(ctx, now)
		}
		if !r.others.IsZero() && !now.Before(r.others.Add(r.listens())) {
			r.missed(r.others)
			r.others = time.Time{}
		}
		r.send(ctx, r.responder.Due(now))
		r.rename(ctx)
	}
	r.end(ctx)
}

// next is when the loop has something to do by itself.
func (r *run) next() time.Time {
	next := r.lookAt
	if t := r.turns.next(); !r.browsing && t.Before(next) {
		next = t
	}
	if t := r.others.Add(r.listens()); !r.others.IsZero() && t.Before(next) {
		next = t
	}
	if t := r.responder.Next(); !t.IsZero() && t.Before(next) {
		next = t
	}
	return next
}

// begin browses in the background. Whoever is asked by one family answers by
// both, so on a link that has both they take turns.
func (r *run) begin(ctx context.Context, now time.Time) {
	r.browsing = true
	asks := [2]bool{r.whole || !r.v6, r.whole || r.v6}
	r.whole, r.v6 = false, !r.v6
	all := r.links
	r.wg.Go(func() {
		err := r.browse(ctx, all, asks)
		select {
		case r.done <- browsed{now, err}:
		case <-ctx.Done():
		}
	})
	r.turns.begun(now)
}

// listens is how long is waited for answers.
func (r *run) listens() time.Duration { return min(browseFor, r.cfg.BrowseEvery/2) }

// ended counts a browse.
func (r *run) ended(b browsed) {
	r.browsing = false
	switch {
	case b.err == nil:
		r.met.browses.WithLabelValues("ok").Inc()
	case len(r.links) == 0:
		r.met.browses.WithLabelValues("alone").Inc()
	default:
		r.whole = true
		r.met.browses.WithLabelValues("failed").Inc()
		r.log.Debug("browse failed", "err", b.err)
	}
	r.missed(b.begin)
}

// missed counts a browse for those who did not answer. One that came early,
// because of a change of the interfaces, does not count.
func (r *run) missed(begin time.Time) {
	if begin.Sub(r.missedAt) < r.cfg.BrowseEvery/2 {
		return
	}
	r.missedAt = begin
	r.mu.Lock()
	news := r.table.browsed(begin)
	r.mu.Unlock()
	if news {
		r.tell()
	}
}

// rename tells of the box's own name.
func (r *run) rename(ctx context.Context) {
	yielded, name := r.responder.Yielded(), r.responder.OwnName()
	r.met.renamed.Add(float64(yielded - r.yielded))
	r.yielded = yielded
	r.mu.Lock()
	before := r.own
	r.own = name
	r.mu.Unlock()
	if name == before {
		return
	}
	if name != r.cfg.Own {
		r.log.WarnContext(ctx, "another host on the network has the name of this box, which has another one now",
			"wished", r.cfg.Own, "name", name)
	} else {
		r.log.InfoContext(ctx, "this box has its name on the network", "name", name)
	}
}

// end says goodbye and leaves nothing behind.
func (r *run) end(ctx context.Context) {
	r.send(ctx, r.responder.Bye())
	r.announcer.close()
	for _, s := range r.sockets {
		if s != nil {
			r.close(s)
		}
	}
	r.wg.Wait()
	r.announcer.gone()
}

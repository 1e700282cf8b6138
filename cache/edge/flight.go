package edge

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
)

// circleAfter is how long a neighbour waits for what waits for a neighbour,
// before that is taken for boxes that wait for each other.
const circleAfter = time.Second

// flightKey is what makes two requests wait for one response.
type flightKey struct {
	key   object.Key
	near  bool   // for a neighbour, who is not to wait for what waits for one
	vary  string // the request's place among the variants that are known
	conds string // the client's own conditions, on a miss
}

// flight is one request to the site for which several clients may be waiting.
// Its results are set before done is closed and not changed after.
type flight struct {
	h           *Handler
	key         flightKey
	epoch       uint64 // of purges, when it began
	credentials bool   // the request that goes out says who is asking
	cancel      context.CancelFunc
	done        chan struct{}
	interim     chan interim
	nearby      patience

	// results
	object  *object.Object // stored or vouched for: to be served from the store
	stored  bool           // by this flight
	part    *part          // of a stored fragment
	cookies []string       // Set-Cookie for the leader alone
	lone    bool           // object is as the leader alone may have it
	status  int            // of the site's response
	source  string         // who sent it
	lent    bool           // and keeps it, so that it is not stored here
	failure bool           // the site answered 500, 502, 503 or 504
	own     bool           // what the site answered is the asker's own
	gone    bool           // the site no longer has it
	live    bool           // but what leads to it may lead to something else
	err     error          // no response was had

	mu      sync.Mutex
	waiters int
	resp    *http.Response // for the leader alone
	body    *fill.Body     // held until everybody has their own hold
}

// interim is a 1xx response.
type interim struct {
	status int
	header http.Header
}

// how says how the flight failed.
func (f *flight) how() rfc9111.Failure {
	if f.failure {
		return rfc9111.ServerError
	}
	return rfc9111.Disconnected
}

// leave gives up a waiter's interest; the last one ends what is left.
func (f *flight) leave() {
	f.h.mu.Lock()
	f.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	if last && f.h.flights[f.key] == f {
		delete(f.h.flights, f.key) // whoever comes now begins anew
	}
	f.mu.Unlock()
	f.h.mu.Unlock()
	if !last {
		return
	}
	select {
	case <-f.done:
		f.settle()
	default:
		f.cancel() // its goroutine settles it
	}
}

// settle gives back what nobody has taken.
func (f *flight) settle() {
	f.mu.Lock()
	body, resp := f.body, f.resp
	f.body, f.resp = nil, nil
	f.mu.Unlock()
	if body != nil {
		body.Release()
	}
	if resp != nil {
		_ = resp.Body.Close() // nobody wants it
	}
}

// give leaves the response to the leader.
func (f *flight) give(resp *http.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resp = resp
}

// take hands the response to the leader, who relays it.
func (f *flight) take(leader bool) *http.Response {
	if !leader {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := f.resp
	f.resp = nil
	return resp
}

// join returns the flight for what x asks and whether x leads it. nil means
// that the handler is closing, or that what was looked up is out of date.
func (h *Handler) join(x *exchange, o *object.Object) (*flight, bool) {
	if x.r.Header.Get("Authorization") != "" {
		// RFC 9111 §3.5: hardly ever for anyone else.
		return h.begin(x, o, flightKey{}, true)
	}
	if m, ok := h.unshared.Get(x.key); ok && m.alone {
		return h.begin(x, o, flightKey{}, true)
	}
	key := flightKey{key: x.key, near: x.neighbour}
	if o != nil {
		key.vary = o.VaryKey
	} else {
		key.conds = strings.Join(append(x.r.Header.Values("If-None-Match"), x.r.Header.Values("If-Modified-Since")...), "\n")
		if set, err := x.store.Objects().Lookup(x.key); err == nil && len(set) > 0 {
			key.vary = varyKey(x.store, set[0].VaryNames, x.r.Header)
		}
	}
	h.untilTried(x, key)
	return h.begin(x, o, key, false)
}

// shared finds the flight that a request with that key may wait for. One that
// was begun for a neighbour is anybody's; what was begun for a device is a
// neighbour's unless it waits for one itself. Callers hold h.mu.
func (h *Handler) shared(key flightKey) *flight {
	if f := h.flights[key]; f != nil {
		return f
	}
	key.near = !key.near
	f := h.flights[key]
	if f != nil && !key.near && f.nearby.tried() != nil {
		return nil
	}
	return f
}

// untilTried returns when the flight that a neighbour's request could wait for
// does not wait for a neighbour itself, or has done so for long enough.
func (h *Handler) untilTried(x *exchange, key flightKey) {
	if !key.near {
		return
	}
	key.near = false
	h.mu.Lock()
	f := h.flights[key]
	h.mu.Unlock()
	if f == nil {
		return
	}
	tried := f.nearby.tried()
	if tried == nil {
		return
	}
	patience := time.NewTimer(circleAfter)
	defer patience.Stop()
	select {
	case <-tried:
	case <-f.done:
	case <-x.r.Context().Done():
	case <-patience.C:
	}
}

// refresh validates o in the background, unless that is under way.
func (h *Handler) refresh(x *exchange, o *object.Object) {
	key := flightKey{key: x.key, vary: o.VaryKey}
	h.mu.Lock()
	other := h.flights[key]
	busy := other != nil && other.epoch == x.store.PurgeEpoch(x.site.Name)
	h.mu.Unlock()
	if busy {
		return
	}
	if f, _ := h.begin(x, o, key, false); f != nil {
		go func() { // ends with the flight, which Close waits for
			<-f.done
			f.leave()
		}()
	}
}

// overtaken reports whether a flight has landed since o, or nothing, was looked
// up: what it brought must not be fetched again.
func (x *exchange) overtaken(o *object.Object) bool {
	set, err := x.store.Objects().Lookup(x.key)
	if err != nil {
		return false
	}
	now := x.selectVariant(set)
	if now == nil || o == nil {
		return now != nil
	}
	return now.ID != o.ID || !now.ResponseTime.Equal(o.ResponseTime)
}

// begin joins the flight with that key, or starts one and leads it. A private
// one is nobody else's. It returns nil if the handler is closing, or if what x
// looked up is out of date.
func (h *Handler) begin(x *exchange, o *object.Object, key flightKey, private bool) (f *flight, leader bool) {
	ctx, cancel := context.WithCancel(h.ctx)
	f = &flight{
		h: h, key: key, epoch: x.store.PurgeEpoch(x.site.Name), credentials: x.hasCredentials(), cancel: cancel,
		done: make(chan struct{}), interim: make(chan interim, 4), waiters: 1,
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		cancel()
		return nil, false
	}
	if !private {
		// What was asked for before a purge is not for those who come after it.
		if other := h.shared(key); other != nil && other.epoch == f.epoch {
			other.mu.Lock()
			other.waiters++
			other.mu.Unlock()
			h.mu.Unlock()
			cancel()
			return other, false
		}
		if x.overtaken(o) {
			h.mu.Unlock()
			cancel()
			return nil, false
		}
		h.flights[key] = f
	}
	h.work.Add(1)
	h.mu.Unlock()
	t := x.task(o)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			select {
			case f.interim <- interim{code, http.Header(header)}:
			default: // nobody keeps up with so many: they are hints
			}
			return nil
		},
	})
	go func() {
		defer h.work.Done()
		t.prepare(ctx)
		t.run(ctx, f)
		h.mu.Lock()
		if !private && h.flights[key] == f {
			delete(h.flights, key)
		}
		h.mu.Unlock()
		close(f.done)
		f.mu.Lock()
		abandoned := f.waiters == 0
		f.mu.Unlock()
		if abandoned {
			f.settle()
		}
	}()
	return f, true
}

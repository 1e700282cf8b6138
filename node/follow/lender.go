package follow

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/replication/hold"
	"preau/replication/kv"
	"preau/replication/wire"
)

const (
	// lending is how many requests of other boxes are worked on at once, lendFetches
	// how many blocks are fetched for them, and lendAhead how many more that nobody
	// waits for, which wait for people themselves.
	lending, lendFetches, lendAhead = 64, 8, 4
	// wordEvery is how often who waits is told that the box works on it.
	wordEvery = 250 * time.Millisecond
	// sendTime is how long a block may take to be sent to a box next door.
	sendTime = 30 * time.Second
)

// lender gives the school's other boxes blocks of what is published.
type lender struct {
	f                     *Follower
	slots, fetches, ahead chan struct{}
}

// NearBlocks answers the school's other boxes:
//
//	GET, HEAD /blocks/{digest}?of={resource}   a block of a published resource
//
// What lies here is sent. What does not is fetched over the line, once for all who
// ask, and never from another box that would have to fetch it; while that takes,
// interim responses say that the box works on it. With Cache-Control:
// only-if-cached, with HEAD, and for a box that would have to fetch the block
// itself, what does not lie here is 404, as is what is not published; too many
// requests are 503, and what can't be had is 504. Who may ask is for the caller
// to see to.
func (f *Follower) NearBlocks() http.Handler {
	l := newLender(f)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blocks/{digest}", func(w http.ResponseWriter, r *http.Request) {
		f.met.lent.WithLabelValues(l.serve(w, r)).Inc()
	})
	return mux
}

func newLender(f *Follower) *lender {
	return &lender{f: f, slots: make(chan struct{}, lending), fetches: make(chan struct{}, lendFetches), ahead: make(chan struct{}, lendAhead)}
}

func (l *lender) serve(w http.ResponseWriter, r *http.Request) (result string) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return tooMany(w, "too many requests of other boxes")
	}
	d, err := block.ParseDigest(r.PathValue("digest"))
	of := r.URL.Query().Get("of")
	if err != nil || d.IsZero() || d.String() != r.PathValue("digest") || !shelf.ValidID(of) {
		http.Error(w, "want the digest of a block, and the id of the resource that it is of", http.StatusBadRequest)
		return "refused"
	}
	if l.f.leaseOver() {
		return absent(w)
	}
	here := withReach(r.Context(), nowhere)
	if r.Method == http.MethodHead {
		n, err := l.f.lent(here, of, d)
		if err != nil {
			return absent(w)
		}
		head(w, n)
		return "held"
	}
	data, err := l.f.lend(here, of, d)
	switch {
	case err == nil:
		return l.send(w, "held", data)
	case !errors.Is(err, block.ErrNotFound), onlyIfCached(r.Header), l.f.theirs(r, of):
		return absent(w)
	}
	return l.work(w, r, of, d)
}

// work fetches a block, and says now and then that it does.
func (l *lender) work(w http.ResponseWriter, r *http.Request, of string, d block.Digest) (result string) {
	type given struct {
		data []byte
		done func()
		err  error
	}
	came := make(chan given, 1)
	go func() {
		var g given
		g.data, g.done, g.err = l.fetch(withReach(r.Context(), overLine), of, d, inBackground(r.Header))
		came <- g
	}()
	word := time.NewTicker(wordEvery)
	defer word.Stop()
	w.WriteHeader(http.StatusProcessing)
	for {
		select {
		case <-word.C:
			w.WriteHeader(http.StatusProcessing)
			continue
		case g := <-came: // ends with the request's context too
			if g.err != nil {
				return l.refuse(w, r, g.err)
			}
			result = l.send(w, "fetched", g.data)
			l.f.supply.keep(g.done)
			return result
		}
	}
}

func (l *lender) fetch(ctx context.Context, of string, d block.Digest, ahead bool) (data []byte, done func(), err error) {
	turn := l.fetches
	if ahead {
		turn = l.ahead
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	r, err := l.f.resource(of)
	if err != nil {
		return nil, nil, err
	}
	if r.Manifest == d {
		data, err = l.f.list(ctx, of, d)
		return data, func() {}, err
	}
	return l.f.shelf.Give(ctx, of, d, ahead, l.f.limiter(l.f.policy().PrefetchRate))
}

func (l *lender) send(w http.ResponseWriter, result string, data []byte) string {
	// A box that does not read must not hold its place for ever. Where a deadline
	// can't be set the server's own are all there is.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return "failed"
	}
	head(w, len(data))
	n, err := w.Write(data)
	l.f.met.sent.Add(float64(n))
	if err != nil {
		return "failed" // it sees that bytes are missing
	}
	return result
}

func (l *lender) refuse(w http.ResponseWriter, r *http.Request, err error) string {
	busy, isBusy := errors.AsType[*hold.BusyError](err)
	switch {
	case errors.Is(err, shelf.ErrUnknown), errors.Is(err, block.ErrNotFound):
		return absent(w)
	case isBusy && busy.After > 0:
		return tooMany(w, "the region is getting it")
	}
	if r.Context().Err() == nil {
		l.f.log.DebugContext(r.Context(), "a block that another box asked for can't be had", "err", err)
	}
	http.Error(w, "the block can't be had now", http.StatusGatewayTimeout)
	return "failed"
}

func head(w http.ResponseWriter, length int) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("Cache-Control", "no-store") // it may be taken back at any time
}

func absent(w http.ResponseWriter) string {
	http.Error(w, "no such block here", http.StatusNotFound)
	return "absent"
}

func tooMany(w http.ResponseWriter, why string) string {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, http.StatusServiceUnavailable)
	return "busy"
}

func onlyIfCached(h http.Header) bool { return lists(h, "Cache-Control", onlyCached) }

func inBackground(h http.Header) bool { return lists(h, "Priority", background) }

// lists reports whether a field lists a word (RFC 9110 §5.6.1).
func lists(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
		for w := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(w), word) {
				return true
			}
		}
	}
	return false
}

// theirs reports whether what is of a resource is for the box to fetch that asks.
func (f *Follower) theirs(r *http.Request, of string) bool {
	who, known := wire.IdentityOf(r)
	if !known || f.supply.near == nil {
		return false
	}
	others, mine := f.supply.near.Order(of)
	return !mine && len(others) > 0 && others[0].Name == string(who.Name)
}

// lent is how long a block of a resource is that lies here, or the list of its
// blocks. Errors: shelf.ErrUnknown, block.ErrNotFound, the disk's.
func (f *Follower) lent(ctx context.Context, of string, d block.Digest) (length int, err error) {
	if raw, ok, err := f.lendList(of, d); ok || err != nil {
		return len(raw), err
	}
	return f.shelf.Lent(ctx, of, d)
}

// lend returns what lent says the length of.
func (f *Follower) lend(ctx context.Context, of string, d block.Digest) ([]byte, error) {
	if raw, ok, err := f.lendList(of, d); ok || err != nil {
		return raw, err
	}
	return f.shelf.Lend(ctx, of, d)
}

func (f *Follower) lendList(of string, d block.Digest) (raw []byte, ok bool, err error) {
	r, err := f.resource(of)
	if err != nil || r.Manifest != d {
		return nil, false, err
	}
	raw, err = f.manifest(d)
	if errors.Is(err, kv.ErrNotFound) {
		err = block.ErrNotFound
	}
	return raw, true, err
}

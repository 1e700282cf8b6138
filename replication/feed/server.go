package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// The routes.
const (
	Path    = "/feed"
	AckPath = "/feed/ack"
)

// ContentType is that of a stream and of an Ack.
const ContentType = "application/vnd.preau.feed"

// rebase is how many indices old the moment may be as of which new boxes take
// their snapshot. That it does not move with every change lets those that come
// about the same time share what was read for the others.
const rebase = 20_000

// shelfAge is for how long blocks are kept that nobody wants any more: boxes that
// catch up come together, after an outage.
const shelfAge = 10 * time.Minute

// lastWords is how long a goodbye may take.
const lastWords = 5 * time.Second

// Signer gives the server's certificate with its key, as renewed.
type Signer func() (*tls.Certificate, error)

// Peer tells whom a request comes from, as its connection's certificate says;
// false if that may not be told, or no longer counts.
type Peer func(*http.Request) (identity.Identity, bool)

// Server serves the feed of one region's server.
type Server struct {
	cfg    Config
	source Source
	signer Signer
	peer   Peer
	log    *slog.Logger
	met    *metrics

	enc      *compressor
	chain    *chain
	shelf    *shelf
	made     time.Time
	presence presence
	due      chan struct{} // a flush is
	slots    chan struct{} // who catches up holds one

	mu      sync.Mutex
	running bool
	streams sync.WaitGroup
	base    uint64 // of new snapshots
}

// New checks cfg, registers metrics, and looks at the source once; it starts
// nothing.
func New(cfg Config, source Source, signer Signer, peer Peer, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("feed config: %w", err)
	}
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	met, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, made: time.Now(), source: source, signer: signer, peer: peer, log: log.With("part", "feed"), met: met, enc: enc,
		shelf: newShelf(source, enc, cfg.CacheBytes, met),
		due:   make(chan struct{}, 1), slots: make(chan struct{}, cfg.CatchUps),
	}
	s.presence.boxes = make(map[identity.Name]*member)
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	s.chain = newChain(enc, cfg.RecentBytes, st.applied)
	return s, nil
}

// state looks at the source.
func (s *Server) state() (state, error) {
	v, err := s.source.View()
	if err != nil {
		return state{}, fmt.Errorf("view the catalogue: %w", err)
	}
	st := state{region: s.cfg.Region, floor: v.Floor(), floorTime: v.FloorTime()}
	st.applied, _ = v.Applied()
	st.epoch, st.began, err = v.Epoch()
	if err := errors.Join(err, v.Close()); err != nil {
		return state{}, fmt.Errorf("view the catalogue: %w", err)
	}
	return st, nil
}

// Publish tells what the entry at index changed, once the source has it. It is
// called in the order of indices and never waits. The server keeps the records:
// they must not be written to afterwards.
func (s *Server) Publish(index uint64, changed []catalogue.Record) {
	s.met.published.Add(float64(len(changed)))
	if s.chain.publish(index, changed) {
		s.wake()
	}
}

// Replaced tells that the source's state was put in place as a whole, up to
// index, without Publish (from a snapshot of the log).
func (s *Server) Replaced(index uint64) {
	s.chain.replaced(index)
	s.wake()
}

func (s *Server) wake() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// Run passes changes on until ctx ends. Then it sends the boxes elsewhere,
// waits until they have gone, for some seconds at most, and returns nil.
// Outside of Run all requests are answered with 503.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	defer s.drain()
	var wheel sync.WaitGroup
	wheel.Go(func() { s.turnWheel(ctx) })
	defer wheel.Wait()

	hourly, tidy := time.NewTicker(time.Hour), time.NewTicker(shelfAge/2)
	defer hourly.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-hourly.C:
			s.presence.forget(now)
		case now := <-tidy.C:
			s.shelf.forget(now.Add(-shelfAge))
		case <-s.due:
			// What comes within this time goes with it.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(s.cfg.Coalesce + rand.N(s.cfg.Coalesce/2+1)):
			}
			s.flush(ctx)
		}
	}
}

func (s *Server) flush(ctx context.Context) {
	_, _, before := s.chain.applied()
	if err := s.chain.flush(); err != nil {
		s.log.WarnContext(ctx, "changes are read from the catalogue instead", "err", err)
	}
	if before.next.Load() != nil {
		s.presence.each((*stream).poke)
	}
	head, _, _ := s.chain.applied()
	s.met.head.Set(float64(head))
}

// drain ends all streams.
func (s *Server) drain() {
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	s.presence.each(func(st *stream) { st.kick(ReasonDraining) })
	s.streams.Wait() // each ends within lastWords of its kick
}

// enter counts a stream; false outside of Run.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.streams.Add(1)
	}
	return s.running
}

// fresh is the index as of which a new snapshot is taken: one that was passed on
// already, so that nobody waits for it.
func (s *Server) fresh(st state) uint64 {
	_, quiet, _ := s.chain.applied()
	st.applied = min(st.applied, quiet)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == 0 || s.base < st.floor || s.base > st.applied || st.applied-s.base > rebase {
		s.base = st.applied
	}
	return s.base
}

// Handler answers both routes.
func (s *Server) Handler() http.Handler { return (*handler)(s) }

// handler is no http.ServeMux, whose frames would lie on each stream's stack.
type handler Server

// ServeHTTP implements http.Handler. While a stream waits, which it does nearly
// always, there is nothing of this package on its stack but this frame: what
// else was there is gone by then.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := (*Server)(h).route(w, r)
	for st != nil && st.advance() {
		<-st.wake
	}
}

// route answers a request, or makes a stream of it.
func (s *Server) route(w http.ResponseWriter, r *http.Request) *stream {
	switch {
	case r.URL.Path == Path && r.Method == http.MethodGet:
		return s.admit(w, r)
	case r.URL.Path == AckPath && r.Method == http.MethodPost:
		s.serveAck(w, r)
	case r.URL.Path == Path, r.URL.Path == AckPath:
		http.Error(w, "the feed knows GET of its stream and POST of acknowledgements", http.StatusMethodNotAllowed)
	default:
		http.NotFound(w, r)
	}
	return nil
}

// box is whom the request comes from, if it is a box of this region.
func (s *Server) box(r *http.Request) (identity.Identity, bool) {
	id, ok := s.peer(r)
	return id, ok && id.Role == identity.Box && id.Region == s.cfg.Region && id.School != ""
}

func (s *Server) refuse(w http.ResponseWriter, code int, why string) {
	s.met.refused.Inc()
	http.Error(w, why, code)
}

// admit makes a stream of a request, or answers it with a refusal.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) *stream {
	box, ok := s.box(r)
	if !ok {
		s.refuse(w, http.StatusForbidden, "the feed is for boxes of this region")
		return nil
	}
	req, err := parseRequest(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return nil
	}
	if !s.enter() {
		w.Header().Set("Retry-After", "5")
		s.refuse(w, http.StatusServiceUnavailable, "the server is starting or stopping")
		return nil
	}
	st := newStream(r.Context(), s, box, req, w)
	// What it holds of another region or epoch says nothing about this one.
	var acked uint64
	if now, err := s.state(); err == nil && req.Until == 0 &&
		req.Cursor.Region == s.cfg.Region && req.Cursor.Epoch == now.epoch {
		head, _, _ := s.chain.applied()
		acked = min(req.Cursor.Index, head)
	}
	old, ok := s.presence.join(st, req.Version, acked, time.Now(), s.cfg.MaxStreams)
	if !ok {
		s.streams.Done()
		w.Header().Set("Retry-After", "30")
		s.refuse(w, http.StatusServiceUnavailable, "too many boxes follow this server")
		return nil
	}
	if old != nil {
		old.kick(ReasonMoved)
	}
	s.met.streams.Inc()
	if !s.isRunning() {
		st.kick(ReasonDraining) // drain may have gone by before join
	}
	return st
}

func (s *Server) isRunning() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func (s *Server) serveAck(w http.ResponseWriter, r *http.Request) {
	box, ok := s.box(r)
	if !ok {
		s.refuse(w, http.StatusForbidden, "the feed is for boxes of this region")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAck))
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "read the acknowledgement: "+err.Error())
		return
	}
	var a Ack
	if err := unmarshal(body, &a); err != nil || len(a.Version) > maxText {
		s.refuse(w, http.StatusBadRequest, "not an acknowledgement")
		return
	}
	head, _, _ := s.chain.applied()
	s.presence.ack(box, a, head, time.Now())
	s.met.acks.Inc()
	w.WriteHeader(http.StatusNoContent)
}

// Request is what a box asks for.
type Request struct {
	Cursor  Cursor
	Until   uint64 // of the snapshot it is in the middle of, 0 for none
	Version string // of the box's program
}

func (r Request) query() string {
	q := url.Values{
		"region": {string(r.Cursor.Region)},
		"epoch":  {strconv.FormatUint(r.Cursor.Epoch, 10)},
		"after":  {strconv.FormatUint(r.Cursor.Index, 10)},
	}
	if r.Until > 0 {
		q.Set("until", strconv.FormatUint(r.Until, 10))
	}
	if r.Version != "" {
		q.Set("version", r.Version)
	}
	return q.Encode()
}

var errRequest = errors.New("region, epoch and after are wanted, until is above after, and version is short")

func parseRequest(raw string) (Request, error) {
	if len(raw) > 512 {
		return Request{}, errRequest
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return Request{}, errRequest
	}
	req := Request{Cursor: Cursor{Region: identity.Region(q.Get("region"))}, Version: q.Get("version")}
	for name, to := range map[string]*uint64{"epoch": &req.Cursor.Epoch, "after": &req.Cursor.Index, "until": &req.Until} {
		text := q.Get(name)
		if text == "" && name == "until" {
			continue
		}
		if *to, err = strconv.ParseUint(text, 10, 64); err != nil {
			return Request{}, errRequest
		}
	}
	if len(req.Version) > maxText || len(req.Cursor.Region) > maxText || req.Until > 0 && req.Until <= req.Cursor.Index {
		return Request{}, errRequest
	}
	return req, nil
}

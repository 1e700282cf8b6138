package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/wire"
)

// maxBody bounds what operators and boxes send, but for blocks.
const maxBody = 1 << 20

// routes is everything that others can ask this server. Each route says who may.
func (g *Region) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h http.Handler, roles ...identity.Role) {
		mux.Handle(pattern, wire.Only(h, roles...))
	}
	operators := func(pattern string, fn func(*http.Request) (any, error)) {
		handle(pattern, g.answer(fn), identity.Operator, identity.Server)
	}
	operators("GET /v1/status", g.status)
	operators("GET /v1/boxes", g.boxes)
	operators("GET /v1/records/{kind}", g.records)
	operators("GET /v1/progress/{index}", g.progress)
	operators("POST /v1/tokens", g.makeToken)
	operators("POST /v1/publications", g.publish)
	operators("DELETE /v1/publications/{id}", g.unpublish)
	operators("POST /v1/pins", g.pin)
	operators("DELETE /v1/pins/{id}", g.unpin)
	operators("POST /v1/purges", g.purge)
	operators("POST /v1/revocations", g.revoke)
	operators("DELETE /v1/revocations/{role}/{name}", g.readmit)
	operators("POST /v1/returns", g.takeBack)
	operators("PUT /v1/policies", g.setPolicy)
	operators("POST /v1/subscriptions", g.subscribe)
	operators("DELETE /v1/servers/{name}", g.removeServer)
	operators("POST /v1/leader/{name}", g.transfer)

	handle("POST "+pathApply, http.HandlerFunc(g.serveApply), identity.Server)
	handle("GET "+pathIndex, http.HandlerFunc(g.serveIndex), identity.Server)
	handle("GET "+pathPresence, g.answer(g.servePresence), identity.Server)
	handle("POST "+pathJoin, g.answer(g.serveJoin), identity.Server)

	handle("POST /v1/counts", http.HandlerFunc(g.serveCounts), identity.Box)
	handle("POST "+control.NeighboursPath, g.answer(g.serveNeighbours), identity.Box)
	handle("POST "+control.ReportsPath, g.answer(g.serveReports), identity.Box)
	g.placeRoutes(handle, operators)
	g.depositRoutes(func(pattern string, h http.Handler) { handle(pattern, h, identity.Box) })
	handle(feed.AckPath, g.feed.Handler(), identity.Box)
	handle("/blocks/", g.holdAPI, identity.Box, identity.Server, identity.Operator)
	handle("/o/", g.front.Handler().Peers(), identity.Box)
	mux.Handle("/enrol", g.enrolment)
	mux.Handle("/enrol/", g.enrolment)
	return &entrance{feed: g.feed.Handler(), rest: mux, removed: &g.removed}
}

// failure is an error with the status that it is answered with.
type failure struct {
	status int
	code   string
	err    error
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

func invalid(format string, args ...any) error {
	return failure{http.StatusBadRequest, "invalid", fmt.Errorf(format, args...)}
}

// statuses are the answers to what the catalogue refuses.
var statuses = map[catalogue.Code]int{
	catalogue.CodeInvalid: http.StatusBadRequest, catalogue.CodeVersion: http.StatusBadRequest,
	catalogue.CodeConflict: http.StatusConflict, catalogue.CodeNotFound: http.StatusNotFound,
	catalogue.CodeNameTaken: http.StatusConflict, catalogue.CodeRevoked: http.StatusForbidden,
}

// answer makes a handler of a function that returns what to answer.
func (g *Region) answer(fn func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err := g.consistent(r)
		var value any
		if err == nil {
			value, err = fn(r)
		}
		status := http.StatusOK
		if err != nil {
			status, value = g.describe(r, err)
		}
		index, _ := g.machine.Applied()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set(control.IndexHeader, strconv.FormatUint(index, 10))
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(value); err != nil {
			g.log.DebugContext(r.Context(), "an answer could not be sent", "err", err)
		}
	})
}

func (g *Region) describe(r *http.Request, err error) (int, control.Failure) {
	if refused, ok := errors.AsType[refusal](err); ok {
		status := statuses[refused.Code]
		if status == 0 {
			status = http.StatusForbidden
		}
		return status, control.Failure{Code: string(refused.Code), Detail: refused.Error()}
	}
	if f, ok := errors.AsType[failure](err); ok {
		return f.status, control.Failure{Code: f.code, Detail: f.Error()}
	}
	switch {
	case errors.Is(err, ErrUndecided), errors.Is(err, consensus.ErrNoLeader), errors.Is(err, consensus.ErrStopped):
		return http.StatusServiceUnavailable, control.Failure{Code: "undecided", Detail: "the region could not decide in time: " +
			"most of its servers must be up and reach one another (preau status tells). The request may still be carried out; it is safe to repeat. (" + err.Error() + ")"}
	case isShort(err):
		return http.StatusServiceUnavailable, control.Failure{Code: "too_few_copies", Detail: err.Error()}
	case r.Context().Err() == nil:
		g.log.ErrorContext(r.Context(), "a request failed", "route", r.Pattern, "err", err)
	}
	return http.StatusInternalServerError, control.Failure{Code: control.CodeInternal, Detail: err.Error()}
}

// decode reads a request's JSON, strictly: a field that we don't know is a
// wish that would not be granted.
func decode[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, invalid("the request can't be read: %w", err)
	}
	if d.More() {
		return v, invalid("the request goes on after its end")
	}
	return v, nil
}

// by names who asked, for the record.
func by(r *http.Request) string {
	p := wire.PeerOf(r)
	return string(p.Role) + "/" + string(p.Name)
}

func schools(codes []string) ([]identity.School, error) {
	var out []identity.School
	for _, code := range codes {
		s, err := identity.ParseSchool(strings.ToUpper(code))
		if err != nil {
			return nil, failure{http.StatusBadRequest, "invalid", err}
		}
		out = append(out, s)
	}
	return out, nil
}

// put has the region decide on one fact.
func (g *Region) put(r *http.Request, fact catalogue.Fact) (control.Done, error) {
	op, err := catalogue.NewPut(fact)
	if err != nil {
		return control.Done{}, invalid("%w", err) // facts are made of what was asked for
	}
	return g.do(r, fact.RecordID(), op)
}

func (g *Region) do(r *http.Request, id string, ops ...catalogue.Op) (control.Done, error) {
	result, err := g.submit(r.Context(), by(r), ops...)
	if err != nil {
		return control.Done{}, err
	}
	return control.Done{ID: id, Index: result.Index}, nil
}

func (g *Region) pin(r *http.Request) (any, error) {
	q, err := decode[control.PinRequest](r)
	if err != nil {
		return nil, err
	}
	if (q.Resource == "") == (q.Collection == "") {
		return nil, invalid("say either a resource or a collection to pin")
	}
	if !q.Until.IsZero() && !q.Until.After(q.From) {
		return nil, invalid("the pin would end before it begins")
	}
	of, err := schools(q.Schools)
	if err != nil {
		return nil, err
	}
	id := newID("pin")
	return g.put(r, catalogue.Pin{
		ID: id, Resource: q.Resource, Collection: q.Collection, Schools: of, From: q.From.UTC(), Until: q.Until.UTC(),
	})
}

func (g *Region) unpin(r *http.Request) (any, error) {
	id := r.PathValue("id")
	return g.do(r, id, catalogue.NewDelete(catalogue.KindPin, id))
}

func (g *Region) subscribe(r *http.Request) (any, error) {
	q, err := decode[struct {
		School     string `json:"school"`
		Collection string `json:"collection"`
	}](r)
	if err != nil {
		return nil, err
	}
	s := catalogue.Subscription{ID: "all." + q.Collection, Collection: q.Collection}
	if q.School != "" {
		of, err := schools([]string{q.School})
		if err != nil {
			return nil, err
		}
		s.School, s.ID = of[0], string(of[0])+"."+q.Collection
	}
	return g.put(r, s)
}

func (g *Region) setPolicy(r *http.Request) (any, error) {
	q, err := decode[control.Policy](r)
	if err != nil {
		return nil, err
	}
	p := catalogue.Policy{
		PrefetchRate: q.PrefetchRate, LeaseSeconds: int64(q.Lease / time.Second), KAnonymity: q.KAnonymity,
		AllowLapsed: q.AllowLapsed, PrefetchPopular: q.PrefetchPopular,
	}
	for _, h := range q.PrefetchHours {
		p.PrefetchHours = append(p.PrefetchHours, catalogue.Hours{From: h.From, To: h.To})
	}
	if q.School != "" {
		of, err := schools([]string{q.School})
		if err != nil {
			return nil, err
		}
		p.School = of[0]
	}
	return g.put(r, p)
}

func isShort(err error) bool {
	_, short := errors.AsType[*hold.ShortError](err)
	return short
}

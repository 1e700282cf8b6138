package enrol

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// PathEnrol is where a token is shown, by anonymous peers.
	PathEnrol = "/enrol"
	// PathRenew is where a certificate is renewed, with the old one.
	PathRenew = "/enrol/renew"

	maxRequest  = 16 << 10
	maxReply    = 64 << 10
	maxAtOnce   = 16 // signing costs CPU that the boxes' feed needs
	bodyTimeout = 10 * time.Second
)

// Keys are what a server needs in order to enrol others. Each is called for each
// request, by any number of goroutines.
type Keys struct {
	// Authority signs. An error, as on a server that has not followed the
	// catalogue yet, is ErrUnavailable to the node that asks.
	Authority func() (*Authority, error)
	// Secret is the region's, for servers that join. Nil if none may.
	Secret func() (Secret, error)
	// Servers are the region's servers as a node should remember them.
	Servers func() []wire.Target
}

// Handler answers POST /enrol, POST /enrol/again, GET and POST /enrol/renew. It wants anonymous and
// lapsed peers too: do not put it behind wire.Only.
type Handler struct {
	keys     Keys
	registry Registry
	log      *slog.Logger
	requests *prometheus.CounterVec
	slots    chan struct{}
	mux      *http.ServeMux
}

// NewHandler makes a Handler.
func NewHandler(keys Keys, registry Registry, log *slog.Logger, reg prometheus.Registerer) (*Handler, error) {
	if keys.Authority == nil || keys.Servers == nil || registry == nil {
		return nil, errors.New("enrol: an authority, the servers and a registry are needed")
	}
	h := &Handler{
		keys: keys, registry: registry, log: log.With("part", "enrol"),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_enrol_requests_total",
			Help: "Enrolments and renewals that were asked for, by kind and result.",
		}, []string{"kind", "result"}),
		slots: make(chan struct{}, maxAtOnce),
		mux:   http.NewServeMux(),
	}
	if err := reg.Register(h.requests); err != nil {
		return nil, fmt.Errorf("enrol metrics: %w", err)
	}
	h.mux.HandleFunc("POST "+PathEnrol, h.bounded("enrol", h.enrol))
	h.mux.HandleFunc("POST "+PathAgain, h.bounded("again", h.again))
	h.mux.HandleFunc("GET "+PathRenew, h.state)
	h.mux.HandleFunc("POST "+PathRenew, h.bounded("renew", h.renew))
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// enrolment and renewal are what nodes send.
type enrolment struct {
	Token   string          `json:"token"` // id, in hexadecimal digits
	Secret  string          `json:"secret"`
	Role    identity.Role   `json:"role"`
	Name    identity.Name   `json:"name"`
	School  identity.School `json:"school,omitempty"`
	Request string          `json:"request"` // PEM
}

type renewal struct {
	Request string `json:"request"` // PEM
}

// standing is the certificate that a node shows, by the server's calendar.
type standing struct {
	Now      time.Time `json:"now"`
	NotAfter time.Time `json:"not_after"`
	Lapsed   bool      `json:"lapsed"`
}

// refusalBody is an error as it crosses the wire.
type refusalBody struct {
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// bounded runs answer for few requests at once and writes what it returns.
func (h *Handler) bounded(kind string, answer func(*http.Request, []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var reply any
		var err error
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
			var body []byte
			if body, err = readBody(w, r); err == nil {
				reply, err = answer(r, body)
			}
		default:
			err = fmt.Errorf("%w: too many are asking", ErrUnavailable)
		}
		code := "ok"
		if err != nil {
			code = h.refuse(w, r, kind, err)
		} else {
			send(w, http.StatusOK, reply)
		}
		h.requests.WithLabelValues(kind, code).Inc()
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// A slot is not for those who send a byte now and then. Where the deadline
	// cannot be set (a test's recorder) the body is there already.
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return body, nil
}

func (h *Handler) enrol(r *http.Request, body []byte) (any, error) {
	var ask enrolment
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	redemption, err := ask.redemption()
	if err != nil {
		return nil, err
	}
	authority, err := h.authority()
	if err != nil {
		return nil, err
	}
	id, err := h.registry.Redeem(r.Context(), redemption)
	if err != nil {
		return nil, err
	}
	if id.Role != redemption.Role || id.Region != authority.Region() {
		return nil, fmt.Errorf("the registry made a %s of a %s", id, redemption.Role)
	}
	grant, err := h.grant(authority, []byte(ask.Request), id)
	if err != nil {
		return nil, err
	}
	if id.Role == identity.Server && h.keys.Secret != nil {
		if grant.Secret, err = h.keys.Secret(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	h.log.InfoContext(r.Context(), "enrolled", "id", id.String(), "token", redemption.Token.String(), "key", redemption.Key.String())
	return grant, nil
}

// redemption checks all that can be checked without the registry.
func (e enrolment) redemption() (Redemption, error) {
	bad := func(err error) (Redemption, error) { return Redemption{}, fmt.Errorf("%w: %w", ErrBadRequest, err) }
	id, err := ParseTokenID(e.Token)
	if err != nil {
		return bad(err)
	}
	secret, err := base64.StdEncoding.DecodeString(e.Secret)
	if err != nil || len(secret) != len(TokenSecret{}) {
		return bad(errors.New("the token's secret has not its length"))
	}
	r := Redemption{Token: id, Secret: HashSecret(id, TokenSecret(secret))}
	if r.Role, err = identity.ParseRole(string(e.Role)); err != nil {
		return bad(err)
	}
	if r.Name, err = identity.ParseName(string(e.Name)); err != nil {
		return bad(err)
	}
	if e.School != "" {
		if r.School, err = identity.ParseSchool(string(e.School)); err != nil {
			return bad(err)
		}
	}
	csr, err := readRequest([]byte(e.Request))
	if err != nil {
		return Redemption{}, err
	}
	r.Key = keyOfRequest(csr)
	return r, nil
}

func (h *Handler) authority() (*Authority, error) {
	authority, err := h.keys.Authority()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return authority, nil
}

func (h *Handler) grant(authority *Authority, request []byte, id identity.Identity) (Grant, error) {
	cert, err := authority.Issue(request, id, Validity(id.Role), time.Now())
	if err != nil {
		return Grant{}, err
	}
	return Grant{
		Certificate: string(cert),
		Authority:   string(authority.PEM()),
		Region:      authority.Region(),
		Servers:     h.keys.Servers(),
	}, nil
}

// state tells a node how its certificate stands.
func (h *Handler) state(w http.ResponseWriter, r *http.Request) {
	peer := wire.PeerOf(r)
	if peer.Anonymous() {
		h.refuse(w, r, "state", fmt.Errorf("%w: no certificate", ErrBadRequest))
		return
	}
	send(w, http.StatusOK, standing{Now: time.Now().UTC(), NotAfter: peer.NotAfter.UTC(), Lapsed: peer.Lapsed})
}

func (h *Handler) renew(r *http.Request, body []byte) (any, error) {
	peer := wire.PeerOf(r)
	if peer.Anonymous() {
		return nil, fmt.Errorf("%w: no certificate", ErrBadRequest)
	}
	var ask renewal
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	csr, err := readRequest([]byte(ask.Request))
	if err != nil {
		return nil, err
	}
	// The key stays the node's for as long as its enrolment: a certificate
	// alone, with no key to it, can't be turned into another's.
	if keyOfRequest(csr) != peer.Key {
		return nil, fmt.Errorf("%w: renewal for another key than the certificate's", ErrBadRequest)
	}
	authority, err := h.authority()
	if err != nil {
		return nil, err
	}
	if err := h.registry.Renewable(r.Context(), peer); err != nil {
		return nil, err
	}
	grant, err := h.grant(authority, []byte(ask.Request), peer.Identity)
	if err != nil {
		return nil, err
	}
	h.log.InfoContext(r.Context(), "renewed", "id", peer.String(), "lapsed", peer.Lapsed)
	return grant, nil
}

// refuse writes err as a code and returns the code. Details go to the log: the
// node's owner reads the code's meaning, and strangers learn nothing.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, kind string, err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			body := refusalBody{Code: c.code}
			if c.err == ErrBadRequest { //nolint:errorlint // which of the list it is
				body.Detail = err.Error()
			}
			h.log.InfoContext(r.Context(), "refused", "kind", kind, "peer", wire.PeerOf(r).String(), "err", err)
			send(w, c.status, body)
			return c.code
		}
	}
	if !errors.Is(err, context.Canceled) {
		h.log.ErrorContext(r.Context(), "enrolment broke", "kind", kind, "err", err)
	}
	send(w, http.StatusInternalServerError, refusalBody{Code: "internal"})
	return "internal"
}

func send(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b)
}

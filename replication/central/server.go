package central

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

const (
	cborType = "application/cbor"
	prefix   = "/central/v1"
	// maxWait bounds how long a question for changes may stay open.
	maxWait = time.Minute
	// uploading is how many parts come in at once; others are asked to wait.
	uploading = 32
	// partTime is how long a part may take, 8 MiB on 150 kbit/s and its check, or
	// a file that is read back. It ends before the other end gives up, which would
	// take a store that does not answer for a gateway that is away.
	partTime = partAnswerTime - 30*time.Second
	// retryAfter is what those are told who come too many.
	retryAfter = "5"
)

// Server answers a region's servers. It owns no goroutine.
type Server struct {
	about About
	pubs  Publications
	deps  Depository // nil: no deposits are taken
	who   func(*http.Request) (identity.Identity, bool)
	log   *slog.Logger
	slots chan struct{}
	// buffers are for bodies on their way: *[256 << 10]byte.
	buffers sync.Pool
}

// NewServer returns the handlers over pubs and deps; deps may be nil. who tells
// whom a request comes from, and false for nobody. Of about, Location and
// Version are taken.
func NewServer(about About, pubs Publications, deps Depository, who func(*http.Request) (identity.Identity, bool), log *slog.Logger) (*Server, error) {
	if pubs == nil || who == nil || log == nil {
		return nil, errors.New("central server needs publications, a way to tell who asks, and a log")
	}
	return &Server{
		about: about, pubs: pubs, deps: deps, who: who, log: log.With("part", "central"), slots: make(chan struct{}, uploading),
	}, nil
}

// Register adds the handlers to mux.
func (s *Server) Register(mux *http.ServeMux) {
	handle := func(pattern string, fn func(http.ResponseWriter, *http.Request, identity.Identity) error) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+prefix+path, func(w http.ResponseWriter, r *http.Request) {
			id, known := s.who(r)
			if !known || id.Role != identity.Server {
				http.Error(w, "only servers of a region are answered here", http.StatusForbidden)
				return
			}
			if err := fn(w, r, id); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	handle("GET /about", s.serveAbout)
	handle("GET /buckets/{bucket}/changes", s.serveChanges)
	handle("GET /buckets/{bucket}/lists/{digest}", s.serveList)
	handle("GET /buckets/{bucket}/bodies/{digest}", s.serveBody)
	if s.deps == nil {
		return
	}
	handle("POST /deposits", s.serveBegin)
	handle("PUT /deposits/{id}", s.serveDelivery)
	handle("PUT /deposits/{id}/parts/{number}", s.servePart)
	handle("POST /deposits/{id}/completion", s.serveComplete)
}

// Refusals, by their codes on the wire. Of several that an error is, the first
// is said.
var refusals = []struct {
	code   string
	status int
	err    error
}{
	{"gone", http.StatusGone, ErrGone},
	{"no_bucket", http.StatusNotFound, ErrNoBucket},
	{"absent", http.StatusNotFound, block.ErrNotFound},
	{"wrong_bytes", http.StatusUnprocessableEntity, ErrWrongBytes},
	{"incomplete", http.StatusConflict, ErrIncomplete},
	{"invalid", http.StatusBadRequest, ErrInvalid},
	{"full", http.StatusInsufficientStorage, ErrFull},
	{"denied", http.StatusServiceUnavailable, ErrDenied},
	{"stalled", http.StatusServiceUnavailable, ErrStalled},
	{"waiting", http.StatusServiceUnavailable, ErrWaiting},
}

type failure struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, f := http.StatusInternalServerError, failure{Code: "internal", Detail: err.Error()}
	for _, refusal := range refusals {
		if errors.Is(err, refusal.err) {
			status, f.Code = refusal.status, refusal.code
			break
		}
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.log.WarnContext(r.Context(), "a request failed", "route", r.Pattern, "err", err)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	s.json(w, status, f)
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("an answer could not be sent", "err", err)
	}
}

func (s *Server) serveAbout(w http.ResponseWriter, _ *http.Request, _ identity.Identity) error {
	a := s.about
	a.Buckets, a.Key, a.Deposits = s.pubs.Buckets(), s.pubs.Key(), s.deps != nil
	s.json(w, http.StatusOK, a)
	return nil
}

func (s *Server) serveChanges(w http.ResponseWriter, r *http.Request, _ identity.Identity) error {
	q := r.URL.Query()
	c := Cursor{Epoch: q.Get("epoch")}
	limit, wait := maxChanges, time.Duration(0)
	var err error
	number := func(name string, most uint64) (n uint64) {
		text := q.Get(name)
		if text == "" || err != nil {
			return 0
		}
		n, bad := strconv.ParseUint(text, 10, 64)
		if bad != nil || n > most {
			err = fmt.Errorf("%w: %s=%q is no number up to %d", ErrInvalid, name, text, most)
		}
		return n
	}
	c.Seq = number("after", 1<<63)
	if n := number("limit", maxChanges); n > 0 {
		limit = int(n)
	}
	wait = time.Duration(number("wait", uint64(maxWait/time.Second))) * time.Second
	if err != nil {
		return err
	}
	changes, err := s.pubs.Changes(r.Context(), r.PathValue("bucket"), c, limit, wait)
	if err != nil {
		return err
	}
	p, err := Encode(changes)
	if err != nil {
		return err
	}
	return s.bytes(w, cborType, "no-store", p)
}

func (s *Server) bytes(w http.ResponseWriter, mediaType, caching string, p []byte) error {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", caching)
	h.Set("Content-Length", strconv.Itoa(len(p)))
	_, _ = w.Write(p) // whoever asked is gone otherwise
	return nil
}

// immutable is RFC 8246's: what a digest names never changes.
const immutable = "private, max-age=31536000, immutable"

func digestOf(r *http.Request) (block.Digest, error) {
	d, err := block.ParseDigest(r.PathValue("digest"))
	if err != nil || d.IsZero() || d.String() != r.PathValue("digest") {
		return d, fmt.Errorf("%w: want the 64 lower-case hexadecimal digits of a SHA-256", ErrInvalid)
	}
	return d, nil
}

func (s *Server) serveList(w http.ResponseWriter, r *http.Request, _ identity.Identity) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	p, err := s.pubs.List(r.Context(), r.PathValue("bucket"), d)
	if err != nil {
		return err
	}
	return s.bytes(w, "application/octet-stream", immutable, p)
}

// serveBody answers one range, which the client must name: bytes=FIRST-LAST.
func (s *Server) serveBody(w http.ResponseWriter, r *http.Request, _ identity.Identity) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	first, last, ok := rangeOf(r.Header.Get("Range"))
	if !ok {
		return fmt.Errorf("%w: want a field Range: bytes=FIRST-LAST", ErrInvalid)
	}
	body, err := s.body(r, d, first, last-first+1)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // read to its end, or given up
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", immutable)
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", first, last))
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	w.WriteHeader(http.StatusPartialContent)
	if n, err := s.copyBody(w, body, last-first+1); err != nil {
		s.log.InfoContext(r.Context(), "a body broke off", "list", d.String(), "after", n, "err", err)
		panic(http.ErrAbortHandler) // so that nobody takes it for the whole
	}
	return nil
}

func (s *Server) body(r *http.Request, d block.Digest, off, length int64) (io.ReadCloser, error) {
	bucket, key := r.PathValue("bucket"), r.URL.Query().Get("key")
	if located, ok := s.pubs.(Located); ok && key != "" {
		return located.BodyOf(r.Context(), bucket, key, d, off, length)
	}
	return s.pubs.Body(r.Context(), bucket, d, off, length)
}

// copyBody is io.CopyN with a buffer that fills a few frames.
func (s *Server) copyBody(w io.Writer, body io.Reader, length int64) (int64, error) {
	buf, ok := s.buffers.Get().(*[256 << 10]byte)
	if !ok {
		buf = new([256 << 10]byte)
	}
	defer s.buffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(body, length), buf[:])
	if err == nil && n < length {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// rangeOf reads the one form of a range that is used here (RFC 9110 §14.1.2).
func rangeOf(field string) (first, last int64, ok bool) {
	spec, ok := strings.CutPrefix(field, "bytes=")
	a, b, dash := strings.Cut(spec, "-")
	first, err := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	return first, last, ok && dash && err == nil && err2 == nil && first >= 0 && last >= first && last < 1<<62
}

func (s *Server) serveBegin(w http.ResponseWriter, r *http.Request, id identity.Identity) error {
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDeposit))
	if err != nil {
		return fmt.Errorf("%w: read deposit: %w", ErrInvalid, err)
	}
	d, err := DecodeDeposit(p)
	if err != nil {
		return err
	}
	if d.Region != id.Region {
		return foreign(d, id)
	}
	ctx, cancel := context.WithTimeout(r.Context(), partTime)
	defer cancel()
	state, err := s.deps.Begin(ctx, d)
	if err != nil {
		return err
	}
	s.json(w, http.StatusOK, state)
	return nil
}

func (s *Server) servePart(w http.ResponseWriter, r *http.Request, id identity.Identity) error {
	deposit := r.PathValue("id")
	number, err := strconv.Atoi(r.PathValue("number"))
	field := r.Header.Get("Content-Digest")
	digest, ok := contentDigest(field)
	switch {
	case !goodID(deposit) || err != nil || number < 1:
		return fmt.Errorf("%w: no part of a deposit is named like that", ErrInvalid)
	case !ok && field != "":
		return fmt.Errorf("%w: the field Content-Digest is not sha-256=:…: (RFC 9530)", ErrInvalid)
	case r.ContentLength < 0 || r.ContentLength > PartSize:
		return fmt.Errorf("%w: want a field Content-Length of at most %d", ErrInvalid, PartSize)
	}
	ctx, body, leave, err := s.receive(w, r, PartSize)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.deps.PutPart(ctx, id.Region, deposit, number, body, r.ContentLength, digest); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) serveComplete(w http.ResponseWriter, r *http.Request, id identity.Identity) error {
	deposit := r.PathValue("id")
	if !goodID(deposit) {
		return fmt.Errorf("%w: no deposit is named like that", ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(r.Context(), partTime)
	defer cancel()
	state, err := s.deps.Complete(ctx, id.Region, deposit)
	if err != nil {
		return err
	}
	s.json(w, http.StatusOK, state)
	return nil
}

// contentDigest reads RFC 9530's field with its one algorithm that is used here.
func contentDigest(field string) (block.Digest, bool) {
	text, ok := strings.CutPrefix(strings.TrimSpace(field), "sha-256=:")
	text, closed := strings.CutSuffix(text, ":")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || !closed || err != nil || len(raw) != len(block.Digest{}) {
		return block.Digest{}, false
	}
	return block.Digest(raw), true
}

func contentDigestField(d block.Digest) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}

// maxList is the length of the longest list of blocks, which is a block.
const maxList = block.Size

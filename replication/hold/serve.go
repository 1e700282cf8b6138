package hold

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

// digestsType is the media type of a list of digests: 32 bytes each, one after
// the other.
const digestsType = "application/vnd.preau.digests"

const (
	// uploading is how many uploads are read into memory at once; others wait.
	uploading = 16
	// uploadTime is how long an upload may take, and how long it may wait.
	uploadTime = time.Minute
)

// Server answers other servers, boxes and operators:
//
//	GET, HEAD /blocks/{digest}   a block, whole or in ranges: servers, boxes, operators
//	PUT /blocks/{digest}         keep a block: servers and operators; 201, or 204 if it was there
//	POST /blocks/missing         which blocks of a list are not here: servers and operators
//
// A wrong digest is 400, a role that may not 403, an unknown or damaged block
// 404, an upload that is too long 413, one that is not what its digest names 422,
// too many of them 503 and a full disk 507.
type Server struct {
	// Fill, if not nil, gets a block that is not here from wherever it may be,
	// for a file that the one who asks names in the query as "of". It returns
	// block.ErrNotFound if there is no such file, or the block is not its. Set it
	// before the first request.
	Fill func(r *http.Request, d block.Digest, of string) ([]byte, error)

	shelf *Shelf
	who   func(*http.Request) (identity.Identity, bool)
	slots chan struct{}
	bufs  sync.Pool
}

// NewServer returns the handlers over shelf. who tells whom a request comes from,
// and false for nobody that the region knows.
func NewServer(shelf *Shelf, who func(*http.Request) (identity.Identity, bool)) (*Server, error) {
	if shelf == nil || who == nil {
		return nil, errors.New("hold: server needs a shelf and a way to tell who asks")
	}
	return &Server{shelf: shelf, who: who, slots: make(chan struct{}, uploading)}, nil
}

// Register adds the handlers to mux.
func (s *Server) Register(mux *http.ServeMux) {
	readers := []identity.Role{identity.Server, identity.Box, identity.Operator}
	writers := []identity.Role{identity.Server, identity.Operator}
	mux.HandleFunc("GET /blocks/{digest}", s.only(readers, "get", s.get)) // HEAD too
	mux.HandleFunc("PUT /blocks/{digest}", s.only(writers, "put", s.put))
	mux.HandleFunc("POST /blocks/missing", s.only(writers, "missing", s.missing))
}

// only lets through requests of the roles, and counts what becomes of them.
func (s *Server) only(roles []identity.Role, op string, next func(http.ResponseWriter, *http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result := "failed" // if next breaks off
		defer func() { s.shelf.metrics.requests.WithLabelValues(op, result).Inc() }()
		id, known := s.who(r)
		for _, role := range roles {
			if known && id.Role == role {
				result = next(w, r)
				return
			}
		}
		result = "refused"
		http.Error(w, "this certificate's role may not do that", http.StatusForbidden)
	}
}

func digestOf(w http.ResponseWriter, r *http.Request) (block.Digest, bool) {
	d, err := block.ParseDigest(r.PathValue("digest"))
	// One name for each block: no upper case.
	if err != nil || d.IsZero() || d.String() != r.PathValue("digest") {
		http.Error(w, "want the 64 lower-case hexadecimal digits of a SHA-256", http.StatusBadRequest)
		return block.Digest{}, false
	}
	return d, true
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) (result string) {
	d, ok := digestOf(w, r)
	if !ok {
		return "refused"
	}
	b, err := s.shelf.open(d)
	switch {
	case errors.Is(err, block.ErrCorrupt):
		http.Error(w, "the block was damaged, ask another server", http.StatusNotFound)
		return "damaged"
	case errors.Is(err, block.ErrNotFound):
		return s.fill(w, r, d)
	case err != nil:
		return s.broken(w, r, "block not served", d, err)
	}
	defer b.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", `"`+d.String()+`"`)
	// RFC 8246 section 2: what a digest names never changes.
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	src := &watched{r: b}
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(src, 0, int64(b.Len())))
	if src.err != nil {
		// The disk changed its mind after the header was sent. Break off, so
		// that nobody takes the rest for the whole.
		s.shelf.noticed(d, src.err)
		s.shelf.log.WarnContext(r.Context(), "block broken off while it was served", "digest", d.String(), "err", src.err)
		panic(http.ErrAbortHandler)
	}
	return "ok"
}

// fill answers with a block that is not here yet.
func (s *Server) fill(w http.ResponseWriter, r *http.Request, d block.Digest) (result string) {
	of := r.URL.Query().Get("of")
	if s.Fill == nil || of == "" {
		http.Error(w, "no such block here", http.StatusNotFound)
		return "absent"
	}
	p, err := s.Fill(r, d, of)
	switch {
	case errors.Is(err, block.ErrNotFound):
		http.Error(w, "no such block here, nor where it came from", http.StatusNotFound)
		return "absent"
	case err != nil:
		if r.Context().Err() == nil {
			s.shelf.log.InfoContext(r.Context(), "block not filled", "digest", d.String(), "of", of, "err", err)
		}
		w.Header().Set("Retry-After", "2")
		http.Error(w, "the block can't be had just now", http.StatusServiceUnavailable)
		return "failed"
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+d.String()+`"`)
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p))
	return "filled"
}

// watched remembers that its reader failed.
type watched struct {
	r   io.ReaderAt
	err error
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) (result string) {
	d, ok := digestOf(w, r)
	if !ok {
		return "refused"
	}
	buf, done, ok := s.body(w, r, block.Size)
	if !ok {
		return "refused"
	}
	defer done()
	if buf.Len() == 0 {
		http.Error(w, "a block has at least one byte", http.StatusUnprocessableEntity)
		return "refused"
	}
	added, err := s.shelf.Put(r.Context(), d, buf.Bytes())
	switch {
	case errors.Is(err, ErrWrongBytes):
		http.Error(w, "the body is not what the digest names", http.StatusUnprocessableEntity)
		return "refused"
	case errors.Is(err, block.ErrNoSpace):
		s.shelf.log.ErrorContext(r.Context(), "no space for published blocks: add disk or unpublish", "err", err)
		http.Error(w, "no space for blocks", http.StatusInsufficientStorage)
		return "no_space"
	case err != nil:
		return s.broken(w, r, "block not kept", d, err)
	case added:
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	return "ok"
}

func (s *Server) missing(w http.ResponseWriter, r *http.Request) (result string) {
	if t := r.Header.Get("Content-Type"); t != digestsType {
		http.Error(w, "want a body of type "+digestsType, http.StatusUnsupportedMediaType)
		return "refused"
	}
	buf, done, ok := s.body(w, r, int64(MaxDigests*len(block.Digest{})))
	if !ok {
		return "refused"
	}
	digests, err := parseDigests(buf.Bytes())
	done()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return "refused"
	}
	missing, err := s.shelf.Missing(r.Context(), digests)
	if err != nil {
		return "failed" // nobody is there any more
	}
	answer := appendDigests(nil, missing)
	w.Header().Set("Content-Type", digestsType)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer)
	return "ok"
}

// body reads a request's body of at most limit bytes into a buffer that is the
// caller's until done. If it returns false it has answered.
func (s *Server) body(w http.ResponseWriter, r *http.Request, limit int64) (_ *bytes.Buffer, done func(), ok bool) {
	if r.ContentLength > limit {
		http.Error(w, fmt.Sprintf("body of more than %d bytes", limit), http.StatusRequestEntityTooLarge)
		return nil, nil, false
	}
	patience := time.NewTimer(uploadTime)
	defer patience.Stop()
	select {
	case s.slots <- struct{}{}:
	case <-r.Context().Done():
		return nil, nil, false
	case <-patience.C:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many uploads", http.StatusServiceUnavailable)
		return nil, nil, false
	}
	buf, pooled := s.bufs.Get().(*bytes.Buffer)
	if !pooled {
		buf = bytes.NewBuffer(make([]byte, 0, bufferSize))
	}
	buf.Reset()
	done = func() {
		s.bufs.Put(buf)
		<-s.slots
	}
	// A slow sender must not hold its place for ever. Where the connection can't
	// keep a deadline the server's own timeouts are all there is.
	control := http.NewResponseController(w)
	deadline := control.SetReadDeadline(time.Now().Add(uploadTime)) == nil
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		done()
		if _, long := errors.AsType[*http.MaxBytesError](err); long {
			http.Error(w, fmt.Sprintf("body of more than %d bytes", limit), http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, "the body ended too early", http.StatusBadRequest)
		}
		return nil, nil, false
	}
	if deadline && control.SetReadDeadline(time.Time{}) != nil {
		s.shelf.log.DebugContext(r.Context(), "read deadline of an upload not lifted")
	}
	return buf, done, true
}

// broken answers for a disk that fails.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, what string, d block.Digest, err error) string {
	if r.Context().Err() == nil {
		s.shelf.log.WarnContext(r.Context(), what, "digest", d.String(), "err", err) //nolint:sloglint // one of two constants
	}
	http.Error(w, "the disk did not do it", http.StatusInternalServerError)
	return "failed"
}

package edge

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"

	"preau/cache/archive"
	"preau/cache/object"
	"preau/cache/profile"
)

// files are the files of a folder, as this box has them or has them fetched. It
// is an archive.Source.
type files struct {
	x *exchange
	l *listing
}

// exchange makes the exchange for one file, as if somebody had asked for it who
// is nobody. Nil means that it is not for everybody.
func (s *files) exchange(ctx context.Context, w http.ResponseWriter, i int, header http.Header) *exchange {
	x := s.x
	r := x.r.WithContext(ctx)
	path := s.l.items[i].Path
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil
	}
	r.Method, r.Header, r.URL = http.MethodGet, header, &url.URL{Path: plain, RawPath: path}
	y := &exchange{h: x.h, w: w, r: r, store: x.store, site: x.site, path: path, start: x.start}
	y.planRequest()
	if y.plan == nil || y.plan.Do != profile.Share || y.plan.Capability != x.plan.Capability {
		return nil
	}
	y.share()
	if cc := header["Cache-Control"]; len(cc) > 0 {
		y.r.Header["Cache-Control"] = cc // it is the box that says so
	}
	return y
}

// plan reports whether all files are for everybody.
func (s *files) plan() bool {
	for i, f := range s.l.items {
		if f.Size > 0 && s.exchange(s.x.r.Context(), nil, i, http.Header{}) == nil {
			return false
		}
	}
	return true
}

// held reports whether every file is stored whole, in the version that is
// listed.
func (s *files) held() bool {
	for i, f := range s.l.items {
		if f.Size == 0 {
			continue
		}
		y := s.exchange(s.x.r.Context(), nil, i, asks(0, f.Size, f.Size, ""))
		if y == nil {
			return false
		}
		set, err := s.x.store.Objects().Lookup(y.key)
		if err != nil {
			return false
		}
		if o := y.selectVariant(set); o == nil || !o.Complete || o.Length != f.Size || !sameVersion(o, f) || o.Doubt == object.Invalidated {
			return false
		}
	}
	return true
}

func sameVersion(o *object.Object, f listedFile) bool {
	return f.ETag == "" || o.Header.Get("Etag") == f.ETag
}

// asks is the header of a request for some bytes of a file.
func asks(from, to, size int64, cc string) http.Header {
	h := http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}}
	if cc != "" {
		h["Cache-Control"] = []string{cc}
	}
	if from > 0 || to < size {
		h["Range"] = []string{"bytes=" + contentLength(from) + "-" + contentLength(to-1)}
	}
	return h
}

// Open implements archive.Source.
func (s *files) Open(ctx context.Context, i int, from, to int64) (io.ReadCloser, error) {
	// The listing has just said which version it is, so that a stored one of that
	// version is good however old it is. Of another, the site is asked.
	body, err := s.open(ctx, i, from, to, "max-stale")
	if err != nil && ctx.Err() == nil && s.x.lineUp() {
		body, err = s.open(ctx, i, from, to, "no-cache")
	}
	return body, err
}

func (s *files) open(ctx context.Context, i int, from, to int64, cc string) (io.ReadCloser, error) {
	f := s.l.items[i]
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	w := &innerWriter{header: http.Header{}, pipe: pw, head: make(chan struct{})}
	y := s.exchange(ctx, w, i, asks(from, to, f.Size, cc))
	if y == nil {
		cancel()
		return nil, fmt.Errorf("%w: it is not for everybody", archive.ErrChanged)
	}
	b := &innerBody{PipeReader: pr, cancel: cancel, done: make(chan struct{})}
	go func() { // ends with the body's Close
		defer close(b.done)
		w.end(y.answerInner())
	}()
	<-w.head
	status := http.StatusOK
	if from > 0 || to < f.Size {
		status = http.StatusPartialContent
	}
	var err error
	switch tag := w.header.Get("Etag"); {
	case w.status != status:
		err = fmt.Errorf("a file of the folder can't be had: %d", w.status)
	case f.ETag != "" && tag != f.ETag:
		err = fmt.Errorf("%w: another tag", archive.ErrChanged)
	default:
		return b, nil
	}
	return nil, errors.Join(err, b.Close())
}

// CRC32 implements archive.Source.
func (s *files) CRC32(ctx context.Context, i int) (uint32, error) {
	body, err := s.Open(ctx, i, 0, s.l.items[i].Size)
	if err != nil {
		return 0, err
	}
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, body)
	if end := body.Close(); err == nil {
		err = end
	}
	if err == nil && n != s.l.items[i].Size {
		err = fmt.Errorf("%w: it has %d bytes", archive.ErrChanged, n)
	}
	return sum.Sum32(), err
}

// answerInner answers within the box. Its error says that the answer broke off.
func (x *exchange) answerInner() (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // what finish panics with
				panic(p) //nolint:forbidigo // not ours
			}
			err = io.ErrUnexpectedEOF
		}
	}()
	defer x.passGate(false)
	if !x.isGone() {
		x.answer()
	}
	return nil
}

// innerWriter is the http.ResponseWriter of an exchange within the box.
type innerWriter struct {
	header http.Header
	status int // set before head is closed
	pipe   *io.PipeWriter
	head   chan struct{}
	begun  bool
}

func (w *innerWriter) Header() http.Header { return w.header }

func (w *innerWriter) WriteHeader(status int) {
	if w.begun || status < 200 {
		return
	}
	w.begun, w.status = true, status
	w.header = w.header.Clone() // who reads it does so while more is written
	close(w.head)
}

func (w *innerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// end ends the response; one that never began is a failure.
func (w *innerWriter) end(err error) {
	w.WriteHeader(http.StatusBadGateway)
	_ = w.pipe.CloseWithError(err) // never fails
}

// innerBody is the body of a response within the box.
type innerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (b *innerBody) Close() error {
	err := b.PipeReader.Close()
	b.cancel()
	<-b.done
	return err
}

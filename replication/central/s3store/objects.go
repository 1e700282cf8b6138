package s3store

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"preau/replication/central/store"
)

// smallBody is how large a body may be that is kept in memory: it is sent with
// its Content-MD5, and again if need be.
const smallBody = 1 << 20

// Put implements store.Store. Info.Modified is the Date of the answer.
func (s *Store) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o), store.CheckCondition(c), checkSize(size)); err != nil {
		return store.Info{}, err
	}
	what := fmt.Sprintf("put %q in %q", key, bucket)
	p, err := s.open(ctx, what, body, size)
	if err != nil {
		return store.Info{}, err
	}
	var n note
	send := func(quoted bool) error {
		n.name, n.value = conditionHeader(c, quoted)
		return s.send(ctx, what, p, c == store.Condition{}, func(r io.Reader, sum string) (string, error) {
			up, err := s.client.PutObject(withNote(ctx, &n), bucket, key, r, size, sum, "", putOptions(o))
			return up.ETag, err
		})
	}
	quoted := s.quoted.Load()
	err = send(quoted)
	if errors.Is(err, store.ErrChanged) && c.ETag != "" {
		// Perhaps it is the form that did not match, and not the version.
		if now, headErr := s.Head(ctx, bucket, key); headErr == nil && now.ETag == c.ETag {
			s.quoted.Store(!quoted)
			if p.small == nil {
				return store.Info{}, fmt.Errorf("%s: %w: it wants If-Match in another form, which the next try has", what, store.ErrUnavailable)
			}
			err = send(!quoted)
		}
	}
	if err != nil {
		return store.Info{}, err
	}
	return store.Info{
		Key: key, ETag: p.g.etag(), Size: size, Modified: n.answered,
		ContentType: store.TypeOf(o), Meta: store.CloneMeta(o.Meta),
	}, nil
}

func conditionHeader(c store.Condition, quoted bool) (name, value string) {
	switch {
	case c.Absent:
		return "If-None-Match", "*"
	case c.ETag != "" && quoted:
		return "If-Match", `"` + c.ETag + `"`
	case c.ETag != "":
		return "If-Match", c.ETag
	}
	return "", ""
}

func checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("%w: a size of %d", store.ErrInvalid, size)
	}
	return nil
}

// parcel is a body to be sent: a small one is in memory.
type parcel struct {
	g     *guarded
	size  int64
	small []byte // nil: large
}

// open reads small bodies.
func (s *Store) open(ctx context.Context, what string, body io.Reader, size int64) (*parcel, error) {
	p := &parcel{g: guard(ctx, body, size), size: size}
	if size > smallBody {
		return p, nil
	}
	p.small = make([]byte, size, size+1)
	// One byte more than there must be, so that the end is seen.
	n, err := io.ReadFull(p.g, p.small[:size+1])
	if own := p.g.detach(); own != nil {
		return nil, fmt.Errorf("%s: %w", what, own)
	}
	if cause := ctx.Err(); cause != nil {
		return nil, fmt.Errorf("%s: %w", what, cause)
	}
	if int64(n) != size || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: read the body: %d bytes: %w", what, n, err)
	}
	return p, nil
}

// send has do send a body, and checks that the server has what was read.
func (s *Store) send(ctx context.Context, what string, p *parcel, repeat bool, do func(r io.Reader, md5 string) (etag string, err error)) error {
	var r io.Reader = p.g
	sum := ""
	if p.small != nil {
		raw := p.g.sum.Sum(nil)
		sum = base64.StdEncoding.EncodeToString(raw)
		r = bytes.NewReader(p.small)
		if !repeat {
			// minio-go sends again what it can rewind. A conditional Put whose
			// answer was lost would then be told that it came too late.
			r = struct{ io.Reader }{r}
		}
	}
	etag, err := do(r, sum)
	if own := p.g.detach(); own != nil {
		return fmt.Errorf("%s: %w", what, own)
	}
	if err != nil {
		return s.explain(ctx, what, err)
	}
	if want := p.g.etag(); etag != want {
		return fmt.Errorf("%s: %w: it says that it has got the ETag %q and it was sent %q; the bytes were altered on the way, or the bucket is encrypted in a way that changes ETags, which is not supported", what, store.ErrUnavailable, etag, want)
	}
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, bucket, key string) (store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return store.Info{}, err
	}
	info, err := s.client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return store.Info{}, s.explain(ctx, fmt.Sprintf("look at %q in %q", key, bucket), err)
	}
	return infoOf(key, info, info.Size), nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckCondition(store.Condition{ETag: etag})); err != nil {
		return nil, store.Info{}, err
	}
	what := fmt.Sprintf("get %q in %q", key, bucket)
	if off < 0 {
		return nil, store.Info{}, fmt.Errorf("%s: %w: a range from %d on", what, store.ErrInvalid, off)
	}
	if length == 0 {
		return s.getNothing(ctx, what, bucket, key, off, etag)
	}
	var opts minio.GetObjectOptions
	switch {
	case length > 0 && off+length > off:
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+length-1))
	case off > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	if etag != "" {
		opts.Set("If-Match", `"`+etag+`"`)
	}
	body, info, header, err := s.client.GetObject(ctx, bucket, key, opts)
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return s.getNothing(ctx, what, bucket, key, off, etag)
	}
	if err != nil {
		return nil, store.Info{}, s.explain(ctx, what, err)
	}
	total, first, err := extent(header, info.Size)
	if err == nil && first != off {
		err = fmt.Errorf("asked for bytes from %d on, it sends those from %d on", off, first)
	}
	if err != nil {
		return nil, store.Info{}, errors.Join(fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err), body.Close())
	}
	got := infoOf(key, info, total)
	if etag != "" && got.ETag != etag {
		return nil, store.Info{}, errors.Join(fmt.Errorf("%s: %w: it is version %q, not %q", what, store.ErrChanged, got.ETag, etag), body.Close())
	}
	return &received{ReadCloser: body, s: s, ctx: ctx, what: what, left: info.Size}, got, nil
}

// getNothing is Get for a range that no server sends: one of no bytes.
func (s *Store) getNothing(ctx context.Context, what, bucket, key string, off int64, etag string) (io.ReadCloser, store.Info, error) {
	info, err := s.Head(ctx, bucket, key)
	switch {
	case err != nil:
		return nil, store.Info{}, err
	case etag != "" && info.ETag != etag:
		return nil, store.Info{}, fmt.Errorf("%s: %w: it is version %q, not %q", what, store.ErrChanged, info.ETag, etag)
	case off > info.Size:
		return nil, store.Info{}, fmt.Errorf("%s: %w: a range from %d on, of %d bytes", what, store.ErrInvalid, off, info.Size)
	}
	return http.NoBody, info, nil
}

// extent is how long the object is and where the body begins (RFC 9110 §14.4).
func extent(h http.Header, length int64) (total, first int64, err error) {
	text := h.Get("Content-Range")
	if text == "" {
		if length < 0 {
			return 0, 0, errors.New("an answer without a length")
		}
		return length, 0, nil
	}
	span, size, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, _, ok2 := strings.Cut(span, "-")
	total, err = strconv.ParseInt(size, 10, 64)
	first, err2 := strconv.ParseInt(from, 10, 64)
	if !ok || !ok2 || err != nil || err2 != nil || total < 0 || first < 0 || length < 0 {
		return 0, 0, fmt.Errorf("an answer of %d bytes with Content-Range %q", length, text)
	}
	return total, first, nil
}

// received is a body that says what broke it in the words of store.
type received struct {
	io.ReadCloser
	s    *Store
	ctx  context.Context // of the Get that this body is the rest of
	what string
	left int64
}

func (r *received) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", r.what, err)
	}
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && r.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, r.s.explain(r.ctx, r.what, err)
}

func infoOf(key string, info minio.ObjectInfo, size int64) store.Info {
	return store.Info{
		Key: key, ETag: info.ETag, Size: size, Modified: info.LastModified.UTC(),
		ContentType: info.ContentType, Meta: metaOf(info.Metadata),
	}
}

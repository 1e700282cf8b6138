package s3store_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

// server is as much of S3 as the client under test speaks, over a store in
// memory. Its flags make it err as real servers do.
type server struct {
	*httptest.Server
	memory *storetest.Memory
	quoted bool // wants If-Match with quotes, as RFC 9110 has it; else without, as radosgw

	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) (done bool)
	seen   []string // methods and paths
	ids    []string // access keys, in the order of requests
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{memory: storetest.NewMemory()}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// meet has f see every request first; it may answer it.
func (s *server) meet(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
	s.seen = nil
}

func (s *server) requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, m := range s.seen {
		if strings.HasPrefix(m, method+" ") {
			n++
		}
	}
	return n
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(scope, "/")
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	s.ids = append(s.ids, id)
	before := s.before
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	if r.Header.Get("X-Amz-Content-Sha256") == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" {
		fail(w, http.StatusNotImplemented, "NotImplemented", "a body signed piece by piece")
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if err := s.serve(w, r, bucket, key, r.URL.Query()); err != nil {
		answer(w, r, err)
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, bucket, key string, q url.Values) error {
	ctx := r.Context()
	upload := q.Get("uploadId")
	switch {
	case key == "" && r.Method == http.MethodPut:
		return s.memory.MakeBucket(ctx, bucket)
	case key == "" && r.Method == http.MethodGet:
		return s.list(w, r, bucket, q)
	case r.Method == http.MethodPost && q.Has("uploads"):
		id, err := s.memory.Begin(ctx, bucket, key, options(r))
		if err == nil {
			fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
		}
		return err
	case r.Method == http.MethodPut && upload != "":
		number, err := strconv.Atoi(q.Get("partNumber"))
		if err != nil {
			return err
		}
		p, err := s.memory.PutPart(ctx, bucket, key, upload, number, r.Body, r.ContentLength)
		w.Header().Set("ETag", `"`+p.ETag+`"`)
		return err
	case r.Method == http.MethodGet && upload != "":
		return s.parts(w, r, bucket, key, upload, q)
	case r.Method == http.MethodPost && upload != "":
		return s.complete(w, r, bucket, key, upload)
	case r.Method == http.MethodDelete && upload != "":
		if err := s.memory.Abort(ctx, bucket, key, upload); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case r.Method == http.MethodPut:
		return s.put(w, r, bucket, key)
	case r.Method == http.MethodDelete:
		if err := s.memory.Delete(ctx, bucket, key); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.get(w, r, bucket, key)
}

func (s *server) put(w http.ResponseWriter, r *http.Request, bucket, key string) error {
	c := store.Condition{Absent: r.Header.Get("If-None-Match") == "*"}
	if match := r.Header.Get("If-Match"); match != "" {
		bare, ok := strings.CutPrefix(match, `"`)
		if ok != s.quoted {
			bare = "the wrong form"
		}
		c.ETag = strings.ReplaceAll(strings.TrimSuffix(bare, `"`), " ", "-")
	}
	info, err := s.memory.Put(r.Context(), bucket, key, r.Body, r.ContentLength, options(r), c)
	w.Header().Set("ETag", `"`+info.ETag+`"`)
	return err
}

func (s *server) get(w http.ResponseWriter, r *http.Request, bucket, key string) error {
	body, info, err := s.memory.Get(r.Context(), bucket, key, 0, -1, strings.Trim(r.Header.Get("If-Match"), `"`))
	if err != nil {
		return err
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+info.ETag+`"`)
	h.Set("Content-Type", info.ContentType)
	for name, value := range info.Meta {
		h.Set("X-Amz-Meta-"+name, strings.ReplaceAll(value, "=\u00bf", "=?"))
	}
	// ServeContent knows ranges, and would answer 200 to one of an empty object.
	if r.Header.Get("Range") != "" && len(all) == 0 {
		fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "of nothing")
		return nil
	}
	r.Header.Del("If-Match")
	http.ServeContent(w, r, "", info.Modified, strings.NewReader(string(all)))
	return nil
}

func (s *server) list(w http.ResponseWriter, r *http.Request, bucket string, q url.Values) error {
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil {
		return err
	}
	page, err := s.memory.List(r.Context(), bucket, q.Get("prefix"), q.Get("start-after"), limit)
	if err != nil {
		return err
	}
	type content struct {
		Key, ETag, LastModified string
		Size                    int64
	}
	result := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []content
	}{IsTruncated: page.Next != ""}
	for _, o := range page.Objects {
		result.Contents = append(result.Contents, content{url.QueryEscape(o.Key), `"` + o.ETag + `"`, o.Modified.Format(time.RFC3339Nano), o.Size})
	}
	return xml.NewEncoder(w).Encode(result)
}

func (s *server) parts(w http.ResponseWriter, r *http.Request, bucket, key, upload string, q url.Values) error {
	all, err := s.memory.Parts(r.Context(), bucket, key, upload)
	if err != nil {
		return err
	}
	after, err := strconv.Atoi(q.Get("part-number-marker"))
	if err != nil {
		return err
	}
	type part struct {
		PartNumber int
		ETag       string
		Size       int64
	}
	result := struct {
		XMLName              xml.Name `xml:"ListPartsResult"`
		IsTruncated          bool
		NextPartNumberMarker int
		Part                 []part
	}{}
	for _, p := range all {
		if p.Number <= after {
			continue
		}
		// Two to a page, so that pages are turned.
		if len(result.Part) == 2 {
			result.IsTruncated = true
			break
		}
		result.Part = append(result.Part, part{p.Number, `"` + p.ETag + `"`, p.Size})
		result.NextPartNumberMarker = p.Number
	}
	return xml.NewEncoder(w).Encode(result)
}

func (s *server) complete(w http.ResponseWriter, r *http.Request, bucket, key, upload string) error {
	var asked struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&asked); err != nil {
		return err
	}
	have, err := s.memory.Parts(r.Context(), bucket, key, upload)
	if err != nil {
		return err
	}
	var list []store.Part
	for _, a := range asked.Part {
		p := store.Part{Number: a.PartNumber, ETag: a.ETag}
		for _, h := range have {
			if h.Number == a.PartNumber {
				p.Size = h.Size
			}
		}
		list = append(list, p)
	}
	if _, err := s.memory.Complete(r.Context(), bucket, key, upload, list); err != nil {
		return err
	}
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><ETag></ETag></CompleteMultipartUploadResult>", bucket)
	return nil
}

func options(r *http.Request) store.Options {
	o := store.Options{ContentType: r.Header.Get("Content-Type"), Meta: map[string]string{}}
	for name, values := range r.Header {
		if rest, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
			o.Meta[strings.ToLower(rest)] = values[0]
		}
	}
	// Encoded words are kept as they are, as S3 does (radosgw decodes them); the
	// store in memory takes none.
	for name, value := range o.Meta {
		o.Meta[name] = strings.ReplaceAll(value, "=?", "=\u00bf")
	}
	return o
}

// answer tells an error of the memory's as S3 does.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	code, name := http.StatusBadRequest, "InvalidRequest"
	switch {
	case errors.Is(err, store.ErrNotFound) && r.URL.Query().Has("uploadId"):
		code, name = http.StatusNotFound, "NoSuchUpload"
	case errors.Is(err, store.ErrNotFound) && strings.Contains(err.Error(), "bucket"):
		code, name = http.StatusNotFound, "NoSuchBucket"
	case errors.Is(err, store.ErrNotFound):
		code, name = http.StatusNotFound, "NoSuchKey"
	case errors.Is(err, store.ErrChanged):
		code, name = http.StatusPreconditionFailed, "PreconditionFailed"
	}
	fail(w, code, name, err.Error())
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Del("ETag")
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// A message may hold anything.
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>", code)
	_ = xml.EscapeText(w, []byte(message))
	fmt.Fprint(w, "</Message></Error>")
}

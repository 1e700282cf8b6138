package central

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"preau/replication/central/store"
)

// uploadTime is how long a file may take into the folder.
const uploadTime = time.Hour

// folder lets this machine's operator fill a store that is a folder, which no S3
// tool can. It is on the admin listener.
//
//	PUT    /store/{bucket}/{key...}   body; Content-Type; fields Preau-Meta-NAME
//	DELETE /store/{bucket}/{key...}
func (c *Central) folder(told http.Handler) {
	answer := func(w http.ResponseWriter, r *http.Request, status int, err error) {
		switch {
		case err == nil:
			w.WriteHeader(status)
			return
		case errors.Is(err, store.ErrNotFound):
			status = http.StatusNotFound
		case errors.Is(err, store.ErrInvalid):
			status = http.StatusBadRequest
		case errors.Is(err, store.ErrFull):
			status = http.StatusInsufficientStorage
		default:
			status = http.StatusServiceUnavailable
		}
		if r.Context().Err() == nil {
			c.log.WarnContext(r.Context(), "the folder was not changed", "err", err)
		}
		http.Error(w, err.Error(), status)
	}
	c.admin.Handle("PUT /store/{bucket}/{key...}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, key := r.PathValue("bucket"), r.PathValue("key")
		if r.ContentLength < 0 {
			http.Error(w, "say how long the file is: Content-Length", http.StatusLengthRequired)
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime)); err != nil {
			answer(w, r, 0, fmt.Errorf("allow for a long upload: %w", err))
			return
		}
		o := store.Options{ContentType: r.Header.Get("Content-Type"), Meta: map[string]string{}}
		for name, values := range r.Header {
			if field, ok := strings.CutPrefix(name, "Preau-Meta-"); ok {
				o.Meta[strings.ToLower(field)] = values[0]
			}
		}
		_, err := c.store.Put(r.Context(), bucket, key, r.Body, r.ContentLength, o, store.Condition{})
		if err == nil {
			c.hint(told, r, bucket, key)
		}
		answer(w, r, http.StatusCreated, err)
	}))
	c.admin.Handle("DELETE /store/{bucket}/{key...}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, key := r.PathValue("bucket"), r.PathValue("key")
		err := c.store.Delete(r.Context(), bucket, key)
		if err == nil {
			c.hint(told, r, bucket, key)
		}
		answer(w, r, http.StatusNoContent, err)
	}))
}

// hint tells the publisher what a store would tell it by a bucket notification.
func (c *Central) hint(told http.Handler, r *http.Request, bucket, key string) {
	type name struct {
		Name string `json:"name,omitempty"`
		Key  string `json:"key,omitempty"`
	}
	raw, err := json.Marshal(map[string]any{"Records": []any{map[string]any{"s3": map[string]any{"bucket": name{Name: bucket}, "object": name{Key: key}}}}})
	if err == nil {
		var q *http.Request
		if q, err = http.NewRequestWithContext(r.Context(), http.MethodPost, "/hints", bytes.NewReader(raw)); err == nil {
			told.ServeHTTP(unheard{http.Header{}}, q)
		}
	}
	if err != nil {
		c.log.WarnContext(r.Context(), "the next pass finds what a hint would have told", "err", err)
	}
}

// unheard is for an answer that nobody reads.
type unheard struct{ h http.Header }

func (u unheard) Header() http.Header         { return u.h }
func (u unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u unheard) WriteHeader(int)             {}

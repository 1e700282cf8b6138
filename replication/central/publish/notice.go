package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"preau/replication/central/store"
)

const (
	maxNotice  = 1 << 20
	maxNotices = 1000 // records in one
)

// hint names an object that may have changed.
type hint struct{ bucket, key string }

// parseNotice reads a bucket notification, the JSON that S3 and Ceph POST. Amazon
// encodes keys as in a URL's query and Ceph does not, so a key that could be
// either is told both ways: to look at an object that has not changed costs
// little.
func parseNotice(p []byte) ([]hint, error) {
	var n struct {
		Records []struct {
			S3 struct {
				Bucket struct{ Name string }
				Object struct{ Key string }
			}
		}
	}
	if err := json.Unmarshal(p, &n); err != nil {
		return nil, fmt.Errorf("bucket notification: %w", err)
	}
	if len(n.Records) > maxNotices {
		return nil, fmt.Errorf("bucket notification of %d records, at most %d", len(n.Records), maxNotices)
	}
	var out []hint
	for _, r := range n.Records {
		bucket, key := r.S3.Bucket.Name, r.S3.Object.Key
		if store.CheckBucket(bucket) != nil {
			continue
		}
		if store.CheckKey(key) == nil {
			out = append(out, hint{bucket: bucket, key: key})
		}
		if !strings.ContainsAny(key, "%+") {
			continue
		}
		if plain, err := url.QueryUnescape(key); err == nil && plain != key && store.CheckKey(plain) == nil {
			out = append(out, hint{bucket: bucket, key: plain})
		}
	}
	return out, nil
}

// Hints takes bucket notifications: point the buckets' topics at it. It answers
// at once, and 200 to everything that is a notification: Ceph asks again and
// again otherwise. They are hints and no more. What they say is not believed,
// only looked into, and what they fail to say is found by the next pass.
func (p *Publisher) Hints() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "POST a bucket notification", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotice))
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			p.met.hints.WithLabelValues("invalid").Inc()
			http.Error(w, "too long for a bucket notification", http.StatusRequestEntityTooLarge)
			return
		} else if err != nil {
			return // whoever asked is gone
		}
		hints, err := parseNotice(body)
		if err != nil {
			p.met.hints.WithLabelValues("invalid").Inc()
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, h := range hints {
			p.hint(h)
		}
		w.WriteHeader(http.StatusOK)
	})
}

// hint remembers that an object is to be looked at.
func (p *Publisher) hint(h hint) {
	if p.buckets[h.bucket] == nil {
		p.met.hints.WithLabelValues("foreign").Inc()
		return
	}
	result := "taken"
	p.hintMu.Lock()
	switch {
	case p.hinted[h]:
	case len(p.hinted) >= maxHints:
		result = "dropped"
		p.missed = true // then the next pass comes early
	default:
		p.hinted[h] = true
	}
	p.hintMu.Unlock()
	p.met.hints.WithLabelValues(result).Inc()
	select {
	case p.hintNews <- struct{}{}:
	default:
	}
}

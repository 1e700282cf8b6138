package s3store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"preau/replication/central/store"
)

// maxListing is how long a page may be: MaxPage of the longest keys, each byte
// of them escaped, and as much again for the rest.
const maxListing = 2 * store.MaxPage * store.MaxKey * 3

// emptySHA256 is the SHA-256 of nothing.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// listing is the answer of ListObjectsV2.
type listing struct {
	XMLName     xml.Name `xml:"ListBucketResult"`
	IsTruncated bool
	Contents    []struct {
		Key, ETag    string
		LastModified time.Time
		Size         int64
	}
}

// List implements store.Store. minio-go's own listing either takes no context
// (Core) or does not tell whether a page was the last.
func (s *Store) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckLimit(limit)); err != nil {
		return store.Page{}, err
	}
	what := fmt.Sprintf("list %q in %q", prefix, bucket)
	query := url.Values{
		"list-type": {"2"}, "encoding-type": {"url"}, "max-keys": {strconv.Itoa(limit)}, "prefix": {prefix},
	}
	if after != "" {
		query.Set("start-after", after)
	}
	u := *s.baseURL
	u.Path = "/" + bucket + "/"
	// Signatures want %20, and Encode writes +.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")

	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		got, err := s.fetchListing(ctx, u.String())
		if err == nil {
			return pageOf(what, got, prefix, after)
		}
		err = s.explain(ctx, what, err)
		if try >= s.cfg.Tries || !errors.Is(err, store.ErrUnavailable) {
			return store.Page{}, err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return store.Page{}, fmt.Errorf("%s: %w", what, ctx.Err())
		}
		pause *= 2
	}
}

func (s *Store) fetchListing(ctx context.Context, address string) (*listing, error) {
	key, err := s.creds.GetWithContext(&credentials.CredContext{Context: ctx})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	req = signer.SignV4(*req, key.AccessKeyID, key.SecretAccessKey, key.SessionToken, s.cfg.Region)
	resp, err := s.web.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxListing))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		answer := minio.ErrorResponse{}
		if xml.Unmarshal(text, &answer) != nil || answer.Code == "" {
			answer.Code = resp.Status
		}
		answer.StatusCode = resp.StatusCode
		return nil, answer
	}
	var got listing
	if err := xml.Unmarshal(text, &got); err != nil {
		return nil, fmt.Errorf("read a listing of %d bytes: %w", len(text), err)
	}
	return &got, nil
}

// pageOf checks a listing, for whoever goes on from its last key must get on.
func pageOf(what string, got *listing, prefix, after string) (store.Page, error) {
	var page store.Page
	last := after
	for _, c := range got.Contents {
		key, err := url.QueryUnescape(c.Key)
		if err != nil {
			return store.Page{}, fmt.Errorf("%s: %w: the key %q: %w", what, store.ErrUnavailable, c.Key, err)
		}
		if key <= last || !strings.HasPrefix(key, prefix) {
			return store.Page{}, fmt.Errorf("%s: %w: it lists %q after %q", what, store.ErrUnavailable, key, last)
		}
		last = key
		page.Objects = append(page.Objects, store.Info{
			Key: key, ETag: trimQuotes(c.ETag), Size: c.Size, Modified: c.LastModified.UTC(),
		})
	}
	if got.IsTruncated {
		if len(page.Objects) == 0 {
			return store.Page{}, fmt.Errorf("%s: %w: a page with nothing on it that is not the last", what, store.ErrUnavailable)
		}
		page.Next = last
	}
	return page, nil
}

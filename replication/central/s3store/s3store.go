// Package s3store is a store.Store in Ceph's radosgw, or in any other server that
// speaks S3. It is the one door to minio-go.
//
// A server that hangs holds nobody up: every attempt has its deadlines (see
// Timeouts), the pool of connections is bounded, and bodies are streamed, with no
// more than a MiB of each in memory. What is safe to repeat is tried again a few
// times; a conditional Put and a streamed body never are, so ErrUnavailable there
// means what the interface says: look again.
//
// Peculiarities of radosgw that are dealt with here: If-Match must have no
// quotes; a lost race of conditional writes may answer 500 (ErrUnavailable: read
// again); CompleteMultipartUpload answers no ETag, and succeeds twice (two that
// run at once may both be told so). One can't be: on a bucket with
// versioning radosgw ignores If-None-Match, so that Condition.Absent holds
// nothing there. Buckets that conditions are used in must not be versioned.
//
// Metadata that is not plain ASCII is written as RFC 2047 words, as S3 itself
// returns it: signatures do not survive every space of Unicode. Both forms are
// read. The package makes no buckets' policies, lifecycles or notifications.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"preau/replication/central/store"
)

// Key is a pair of keys of an account.
type Key struct {
	ID, Secret string
	Token      string // of temporary credentials only
}

// Config says where the store is.
type Config struct {
	// Endpoint is where it answers, for instance https://ceph.example:8443.
	Endpoint string
	// Region is what requests are signed for: "default" for radosgw.
	Region string
	// CAFile holds the certificates that vouch for the endpoint's, as PEM; empty:
	// the system's.
	CAFile string
	// Keys is asked for the credentials now and then, and after a refusal, so that
	// a key file that was replaced is noticed.
	Keys func(ctx context.Context) (Key, error)

	Timeouts    Timeouts
	Connections int // at most, at once
	Tries       int // of what may be repeated
}

// Timeouts bound one attempt of a request.
type Timeouts struct {
	Connect  time.Duration // to a connection, and again for TLS
	Queue    time.Duration // waiting for one of the connections to become free
	Answer   time.Duration // from the last byte sent to the head of the answer
	Complete time.Duration // the same for Complete, which has many parts to look at
	Stall    time.Duration // without a byte, either way, while a body travels
}

// DefaultConfig has no Endpoint and no Keys.
func DefaultConfig() Config {
	return Config{
		Region: "default",
		Timeouts: Timeouts{
			Connect: 5 * time.Second, Queue: 30 * time.Second, Answer: 15 * time.Second,
			Complete: 60 * time.Second, Stall: 20 * time.Second,
		},
		Connections: 64,
		Tries:       3,
	}
}

// Validate reports all that is wrong.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		errs = append(errs, fmt.Errorf("endpoint %q: must be http://HOST:PORT or https://HOST:PORT and no more", c.Endpoint))
	}
	if c.Region == "" {
		errs = append(errs, errors.New("region: is empty; radosgw's is called default"))
	}
	if c.Keys == nil {
		errs = append(errs, errors.New("keys: nobody to ask for credentials"))
	}
	t := c.Timeouts
	for name, d := range map[string]time.Duration{"connect": t.Connect, "queue": t.Queue, "answer": t.Answer, "complete": t.Complete, "stall": t.Stall} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("timeouts.%s: %v, must be more than nothing", name, d))
		}
	}
	if c.Connections < 1 {
		errs = append(errs, fmt.Errorf("connections: %d, must be at least 1", c.Connections))
	}
	if c.Tries < 1 || c.Tries > 10 {
		errs = append(errs, fmt.Errorf("tries: %d, must be 1 to 10", c.Tries))
	}
	return errors.Join(errs...)
}

// Store is a store.Store behind an endpoint.
type Store struct {
	cfg     Config
	log     *slog.Logger
	client  minio.Core
	web     *transport
	keys    *keys
	creds   *credentials.Credentials
	baseURL *url.URL
	// quoted says that this server wants If-Match with quotes, as RFC 9110 has it.
	quoted atomic.Bool
}

var _ store.Store = (*Store)(nil)

// New checks cfg. It connects to nothing: Ready does.
func New(cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	web, err := newTransport(cfg)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	k := &keys{ask: cfg.Keys}
	creds := credentials.New(k)
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Transport: web, Region: cfg.Region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: cfg.Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", cfg.Endpoint, err)
	}
	return &Store{
		cfg: cfg, log: log.With("part", "s3store"), client: *core, web: web, keys: k, creds: creds,
		baseURL: &url.URL{Scheme: u.Scheme, Host: u.Host},
	}, nil
}

// Close closes the connections that are idle. Those in use end with their
// requests.
func (s *Store) Close() error {
	s.web.idle()
	return nil
}

// MakeBucket implements store.Store.
func (s *Store) MakeBucket(ctx context.Context, bucket string) error {
	if err := check(ctx, store.CheckBucket(bucket)); err != nil {
		return err
	}
	err := s.client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: s.cfg.Region})
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode == http.StatusConflict {
		if answer.Code == "BucketAlreadyOwnedByYou" {
			return nil
		}
		if s.Ready(ctx, bucket) == nil {
			return nil
		}
		return fmt.Errorf("make bucket %q: %w: it belongs to another account; choose another name or have access granted", bucket, store.ErrDenied)
	}
	return s.explain(ctx, fmt.Sprintf("make bucket %q", bucket), err)
}

// Ready implements store.Store.
func (s *Store) Ready(ctx context.Context, bucket string) error {
	_, err := s.List(ctx, bucket, "", "", 1)
	return err
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, bucket, key string) error {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return err
	}
	err := s.client.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{})
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.Code == "NoSuchKey" {
		return nil
	}
	return s.explain(ctx, fmt.Sprintf("delete %q in %q", key, bucket), err)
}

// check returns the context's error or the first other one.
func check(ctx context.Context, errs ...error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

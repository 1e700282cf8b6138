//go:build bench

package plain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// PartSize is how large files are cut, and parts how many of one file travel at
// once: as a region's deposits.
const (
	PartSize = 8 << 20
	parts    = 4
)

// Client is minio-go.
type Client struct{ c *minio.Client }

// New connects to nothing.
func New(endpoint, region, id, secret string) (*Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("plain client: %w", err)
	}
	c, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(id, secret, ""), Secure: u.Scheme == "https", Region: region, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		return nil, fmt.Errorf("plain client: %w", err)
	}
	return &Client{c}, nil
}

// MakeBucket makes a bucket.
func (c *Client) MakeBucket(ctx context.Context, bucket string) error {
	return c.c.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
}

// Put puts an object, in parts if it is longer than one.
func (c *Client) Put(ctx context.Context, bucket, key string, p []byte) error {
	// radosgw keeps "Content-Encoding: aws-chunked" of a signed body.
	_, err := c.c.PutObject(ctx, bucket, key, bytes.NewReader(p), int64(len(p)), minio.PutObjectOptions{
		PartSize: PartSize, NumThreads: parts, DisableContentSha256: true,
	})
	return err
}

// Get gets n bytes of an object from off on into buf, or all of it if n is below 0.
func (c *Client) Get(ctx context.Context, bucket, key string, off, n int64, buf *bytes.Buffer) (err error) {
	var opts minio.GetObjectOptions
	if n >= 0 {
		if err := opts.SetRange(off, off+n-1); err != nil {
			return err
		}
	}
	// Core's makes one request; Client's looks at the object before.
	body, _, _, err := (&minio.Core{Client: c.c}).GetObject(ctx, bucket, key, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	buf.Reset()
	_, err = io.Copy(buf, body)
	return err
}

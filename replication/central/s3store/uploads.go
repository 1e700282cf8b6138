package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"preau/replication/central/store"
)

// Begin implements store.Store.
func (s *Store) Begin(ctx context.Context, bucket, key string, o store.Options) (string, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckOptions(o)); err != nil {
		return "", err
	}
	id, err := s.client.NewMultipartUpload(ctx, bucket, key, putOptions(o))
	if err != nil {
		return "", s.explain(ctx, fmt.Sprintf("begin an upload of %q in %q", key, bucket), err)
	}
	return id, nil
}

// PutPart implements store.Store.
func (s *Store) PutPart(ctx context.Context, bucket, key, upload string, number int, body io.Reader, size int64) (store.Part, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckPart(number, size), checkUpload(upload, key)); err != nil {
		return store.Part{}, err
	}
	what := fmt.Sprintf("put part %d of %q in %q", number, key, bucket)
	p, err := s.open(ctx, what, body, size)
	if err != nil {
		return store.Part{}, err
	}
	err = s.send(ctx, what, p, true, func(r io.Reader, sum string) (string, error) {
		part, err := s.client.PutObjectPart(ctx, bucket, key, upload, number, r, size,
			minio.PutObjectPartOptions{Md5Base64: sum, DisableContentSha256: true})
		return part.ETag, err
	})
	if err != nil {
		return store.Part{}, err
	}
	return store.Part{Number: number, ETag: p.g.etag(), Size: size}, nil
}

// Parts implements store.Store.
func (s *Store) Parts(ctx context.Context, bucket, key, upload string) ([]store.Part, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), checkUpload(upload, key)); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("list the parts of %q in %q", key, bucket)
	var all []store.Part
	for marker := 0; ; {
		page, err := s.client.ListObjectParts(ctx, bucket, key, upload, marker, 1000)
		if err != nil {
			return nil, s.explain(ctx, what, err)
		}
		for _, p := range page.ObjectParts {
			if p.PartNumber <= marker || p.PartNumber > store.MaxParts {
				return nil, fmt.Errorf("%s: %w: it lists part %d after part %d", what, store.ErrUnavailable, p.PartNumber, marker)
			}
			marker = p.PartNumber
			all = append(all, store.Part{Number: p.PartNumber, ETag: trimQuotes(p.ETag), Size: p.Size})
		}
		if !page.IsTruncated || len(page.ObjectParts) == 0 {
			return all, nil
		}
	}
}

// Complete implements store.Store.
func (s *Store) Complete(ctx context.Context, bucket, key, upload string, parts []store.Part) (store.Info, error) {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key), store.CheckParts(parts), checkUpload(upload, key)); err != nil {
		return store.Info{}, err
	}
	what := fmt.Sprintf("complete %q in %q", key, bucket)
	want, err := store.ETagOfParts(parts)
	if err != nil {
		return store.Info{}, fmt.Errorf("%s: %w", what, err)
	}
	list := make([]minio.CompletePart, len(parts))
	var size int64
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: p.Number, ETag: p.ETag}
		size += p.Size
	}
	// radosgw answers 200 to a second Complete of the same parts, and 500 if there
	// never was such an upload.
	if _, err := s.client.ListObjectParts(ctx, bucket, key, upload, 0, 1); err != nil {
		return store.Info{}, s.explain(ctx, what, err)
	}
	// The answer's ETag is not looked at: radosgw's is empty.
	if _, err := s.client.CompleteMultipartUpload(ctx, bucket, key, upload, list, minio.PutObjectOptions{}); err != nil {
		return store.Info{}, s.explain(ctx, what, err)
	}
	info, err := s.Head(ctx, bucket, key)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && (info.ETag != want || info.Size != size):
		return store.Info{}, fmt.Errorf("%s: %w right after it was completed", what, store.ErrChanged)
	case err != nil:
		return store.Info{}, fmt.Errorf("%s: it was completed, and then: %w", what, err)
	}
	return info, nil
}

// Abort implements store.Store.
func (s *Store) Abort(ctx context.Context, bucket, key, upload string) error {
	if err := check(ctx, store.CheckBucket(bucket), store.CheckKey(key)); err != nil {
		return err
	}
	if checkUpload(upload, key) != nil {
		return nil
	}
	err := s.client.AbortMultipartUpload(ctx, bucket, key, upload)
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.Code == "NoSuchUpload" {
		return nil
	}
	return s.explain(ctx, fmt.Sprintf("give up the upload of %q in %q", key, bucket), err)
}

// checkUpload reports a name without which a request would mean another thing.
func checkUpload(upload, key string) error {
	if upload == "" {
		return fmt.Errorf("%w: an upload of %q without a name", store.ErrNotFound, key)
	}
	return nil
}

func trimQuotes(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

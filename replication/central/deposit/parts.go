package deposit

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3 names parts by it; it protects nothing here
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

func numParts(d central.Deposit) int {
	return max(1, int((d.Length+central.PartSize-1)/central.PartSize))
}

func partSize(d central.Deposit, number int) int64 {
	return min(central.PartSize, d.Length-int64(number-1)*central.PartSize)
}

// partsOf lists the parts that are there. An upload that the store has lost is
// begun again.
func (s *Depository) partsOf(ctx context.Context, r *record) ([]store.Part, error) {
	if r.Upload == "" {
		return s.only(ctx, r)
	}
	parts, err := s.store.Parts(ctx, s.cfg.Bucket, Key(r.is), r.Upload)
	if !errors.Is(err, store.ErrNotFound) {
		return parts, err
	}
	if _, err := s.store.Head(ctx, s.cfg.Bucket, Key(r.is)); err == nil {
		return s.all(r.is), nil // it was completed, and Complete has only to look
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	s.log.WarnContext(ctx, "the object store has lost an upload: it begins again", "deposit", r.is.ID)
	if r.Upload, err = s.store.Begin(ctx, s.cfg.Bucket, Key(r.is), options(r.is)); err != nil {
		return nil, err
	}
	if err := s.save(ctx, r); err != nil {
		s.giveUp(ctx, *r)
		return nil, err
	}
	return nil, nil
}

// only is the part of a file that has one.
func (s *Depository) only(ctx context.Context, r *record) ([]store.Part, error) {
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(r.is))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && info.Size != r.is.Length:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []store.Part{{Number: 1, ETag: info.ETag, Size: info.Size}}, nil
}

func (s *Depository) all(d central.Deposit) []store.Part {
	parts := make([]store.Part, numParts(d))
	for i := range parts {
		parts[i] = store.Part{Number: i + 1, Size: partSize(d, i+1)}
	}
	return parts
}

// PutPart implements central.Depository. The part is held in memory until its
// digest is checked.
func (s *Depository) PutPart(ctx context.Context, region identity.Region, id string, number int, body io.Reader, size int64, digest block.Digest) error {
	r, err := s.load(ctx, region, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: deposit %s was not announced", central.ErrInvalid, id)
	case err != nil:
		return trouble(err)
	case r.Kept:
		return nil
	case number > numParts(r.is) || size != partSize(r.is, number):
		return fmt.Errorf("%w: deposit %s has no part %d of %d bytes", central.ErrInvalid, id, number, size)
	}
	p := make([]byte, size)
	if _, err := io.ReadFull(body, p); err != nil {
		return fmt.Errorf("%w: the part ends too early: %w", central.ErrWrongBytes, err)
	}
	if block.Sum(p) != digest || r.Upload == "" && digest != r.is.SHA256 {
		return fmt.Errorf("part %d of deposit %s: %w", number, id, central.ErrWrongBytes)
	}
	tag := ""
	if r.Upload == "" {
		info, err := s.store.Put(ctx, s.cfg.Bucket, Key(r.is), bytes.NewReader(p), size, options(r.is), store.Condition{})
		if err != nil {
			return trouble(err)
		}
		tag = info.ETag
	} else {
		part, err := s.store.PutPart(ctx, s.cfg.Bucket, Key(r.is), r.Upload, number, bytes.NewReader(p), size)
		if err != nil {
			return trouble(err)
		}
		tag = part.ETag
	}
	sum := md5.Sum(p) //nolint:gosec // see the import
	if tag != "" && tag != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%w: the object store has other bytes than it was given (%s)", central.ErrWaiting, tag)
	}
	s.parts.Inc()
	s.taken.Add(float64(size))
	return nil
}

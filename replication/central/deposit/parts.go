package deposit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

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
	s.tallies.begin(*r)
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

// PutPart implements central.Depository. The part is held in memory until the
// store has it.
func (s *Depository) PutPart(ctx context.Context, region identity.Region, id string, number int, body io.Reader, size int64, digest block.Digest) error {
	t := s.tallies.get(region, id)
	r, err := s.recordOf(ctx, t, region, id)
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
	p := s.tallies.buffer(size)
	if _, err := io.ReadFull(body, p); err != nil {
		s.tallies.recycle(p)
		return fmt.Errorf("%w: the part ends too early: %w", central.ErrWrongBytes, err)
	}
	var hashing sync.WaitGroup
	hashed := false
	if t != nil {
		hashing.Go(func() { hashed = t.hash(number, p) })
	}
	etag, err := s.putPart(ctx, r, number, p, digest)
	hashing.Wait()
	if err != nil {
		s.tallies.recycle(p)
		s.tallies.end(region, id) // what the store has now is not known
		return trouble(err)
	}
	if t != nil {
		t.stored(number, p, etag, hashed)
	} else {
		s.tallies.recycle(p)
	}
	s.took(size)
	return nil
}

// recordOf is what is known of a deposit: as it was announced here, if it was.
func (s *Depository) recordOf(ctx context.Context, t *tally, region identity.Region, id string) (record, error) {
	if t != nil {
		return t.r, nil
	}
	return s.load(ctx, region, id)
}

// putPart gives the store a part. A file of one part is visible with it, so it is
// compared before; of another one the whole will be.
func (s *Depository) putPart(ctx context.Context, r record, number int, p []byte, digest block.Digest) (etag string, err error) {
	if r.Upload == "" || !digest.IsZero() {
		is := block.Sum(p)
		if !digest.IsZero() && is != digest || r.Upload == "" && is != r.is.SHA256 {
			return "", fmt.Errorf("part %d of deposit %s: %w", number, r.is.ID, central.ErrWrongBytes)
		}
	}
	if r.Upload == "" {
		info, err := s.store.Put(ctx, s.cfg.Bucket, Key(r.is), bytes.NewReader(p), int64(len(p)), options(r.is), store.Condition{})
		return info.ETag, err
	}
	part, err := s.store.PutPart(ctx, s.cfg.Bucket, Key(r.is), r.Upload, number, bytes.NewReader(p), int64(len(p)))
	return part.ETag, err
}

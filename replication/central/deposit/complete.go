package deposit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

// Complete implements central.Depository.
func (s *Depository) Complete(ctx context.Context, region identity.Region, id string) (central.DepositState, error) {
	state, err := s.complete(ctx, region, id)
	return state, trouble(err)
}

func (s *Depository) complete(ctx context.Context, region identity.Region, id string) (central.DepositState, error) {
	none := central.DepositState{}
	t := s.tallies.get(region, id)
	r, err := s.recordOf(ctx, t, region, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return none, fmt.Errorf("%w: deposit %s was not announced", central.ErrInvalid, id)
	case err != nil:
		return none, err
	case r.Kept:
		return s.state(r), nil
	}
	info, err := s.completeSeen(ctx, t)
	if errors.Is(err, errUnseen) {
		if t != nil { // another gateway may have gone on with it
			if r, err = s.load(ctx, region, id); err != nil || r.Kept {
				return s.state(r), err
			}
		}
		info, err = s.completeUnseen(ctx, r)
	}
	if errors.Is(err, central.ErrWrongBytes) {
		s.settled.WithLabelValues("wrong").Inc()
	}
	if err != nil {
		return none, err
	}
	r.Kept, r.ETag = true, info.ETag
	err = s.save(ctx, &r)
	if errors.Is(err, store.ErrChanged) {
		again, reloaded := s.load(ctx, region, id)
		if reloaded == nil && again.Kept {
			return s.state(again), nil
		}
	}
	if err != nil {
		return none, err
	}
	return s.isKept(ctx, r, info), nil
}

// errUnseen is a file of which this gateway has not seen all bytes, or whose parts
// are not those that it has seen.
var errUnseen = errors.New("the file must be read back")

// completeSeen makes a file of the parts of a tally, which may be nil, if it is
// what was announced. The tally is used up.
func (s *Depository) completeSeen(ctx context.Context, t *tally) (store.Info, error) {
	if t == nil {
		return store.Info{}, errUnseen
	}
	parts, sum, ok := t.whole()
	if !ok {
		return store.Info{}, errUnseen
	}
	defer s.tallies.end(t.r.is.Region, t.r.is.ID)
	if sum != t.r.is.SHA256 {
		return store.Info{}, errors.Join(
			fmt.Errorf("%w: the file is not what was announced", central.ErrWrongBytes),
			s.store.Abort(ctx, s.cfg.Bucket, Key(t.r.is), t.r.Upload),
		)
	}
	if t.r.Upload != "" {
		info, err := s.store.Complete(ctx, s.cfg.Bucket, Key(t.r.is), t.r.Upload, parts)
		for _, other := range []error{store.ErrInvalid, store.ErrNotFound, store.ErrChanged} {
			if errors.Is(err, other) {
				return info, errors.Join(errUnseen, err)
			}
		}
		return info, err
	}
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(t.r.is))
	if errors.Is(err, store.ErrNotFound) || err == nil && (info.ETag != parts[0].ETag || info.Size != t.r.is.Length) {
		err = errors.Join(errUnseen, err)
	}
	return info, err
}

// completeUnseen makes a file of the parts that there are, and reads it back.
func (s *Depository) completeUnseen(ctx context.Context, r record) (store.Info, error) {
	if err := s.assemble(ctx, r); err != nil {
		return store.Info{}, err
	}
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(r.is))
	if errors.Is(err, store.ErrNotFound) {
		return info, central.ErrIncomplete
	}
	if err == nil {
		err = s.compare(ctx, r.is, info)
	}
	if errors.Is(err, central.ErrWrongBytes) {
		// It was announced as something else: whoever sent it must begin anew,
		// and nobody may take it for what its name says.
		err = errors.Join(err, s.store.Delete(ctx, s.cfg.Bucket, Key(r.is)))
	}
	return info, err
}

// assemble makes a file of its parts, unless that was done.
func (s *Depository) assemble(ctx context.Context, r record) error {
	if r.Upload == "" {
		return nil
	}
	parts, err := s.store.Parts(ctx, s.cfg.Bucket, Key(r.is), r.Upload)
	if errors.Is(err, store.ErrNotFound) {
		return nil // completed, or lost: the file shows which
	}
	if err != nil {
		return err
	}
	if len(parts) != numParts(r.is) {
		return fmt.Errorf("%w: %d of %d are there", central.ErrIncomplete, len(parts), numParts(r.is))
	}
	for i, p := range parts {
		if p.Number != i+1 || p.Size != partSize(r.is, i+1) {
			return fmt.Errorf("%w: part %d has %d bytes", central.ErrIncomplete, p.Number, p.Size)
		}
	}
	_, err = s.store.Complete(ctx, s.cfg.Bucket, Key(r.is), r.Upload, parts)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// compare reads a file back.
func (s *Depository) compare(ctx context.Context, d central.Deposit, info store.Info) error {
	if info.Size != d.Length {
		return fmt.Errorf("%w: the file has %d bytes, announced were %d", central.ErrWrongBytes, info.Size, d.Length)
	}
	if d.Length == 0 {
		if d.SHA256 != block.Sum(nil) {
			return central.ErrWrongBytes
		}
		return nil
	}
	body, _, err := s.store.Get(ctx, s.cfg.Bucket, Key(d), 0, -1, info.ETag)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("read the deposit back: %w", err)
	}
	if block.Digest(sum.Sum(nil)) != d.SHA256 {
		return fmt.Errorf("%w: the file is not what was announced", central.ErrWrongBytes)
	}
	return nil
}

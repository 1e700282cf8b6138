package deposit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
)

// Deliver implements central.Depository. A file that comes with its announcement
// is in memory and compared before the store sees a byte of it, and the store
// takes it under its MD5 or not at all: there is nothing to read back.
func (s *Depository) Deliver(ctx context.Context, d central.Deposit, body io.Reader) (central.DepositState, error) {
	state, err := s.deliver(ctx, d, body)
	return state, trouble(err)
}

func (s *Depository) deliver(ctx context.Context, d central.Deposit, body io.Reader) (central.DepositState, error) {
	none := central.DepositState{}
	if d.Length > central.MaxDelivered {
		return none, fmt.Errorf("%w: a file of %d bytes comes in parts", central.ErrInvalid, d.Length)
	}
	p := make([]byte, d.Length)
	if _, err := io.ReadFull(body, p); err != nil {
		return none, fmt.Errorf("%w: the file ends too early: %w", central.ErrWrongBytes, err)
	}
	if block.Sum(p) != d.SHA256 {
		return none, fmt.Errorf("%w: the file is not what was announced", central.ErrWrongBytes)
	}
	r, err := s.announced(ctx, d)
	if err != nil {
		return none, err
	}
	if r.Kept {
		return s.state(r), nil
	}
	// A bucket with versions may take no notice of the condition, and have one more
	// version of the same bytes then.
	info, err := s.store.Put(ctx, s.cfg.Bucket, Key(d), bytes.NewReader(p), d.Length, options(d), store.Condition{Absent: true})
	switch {
	case errors.Is(err, store.ErrChanged):
		return s.deliverOver(ctx, r, p)
	case err != nil:
		return none, err
	}
	s.took(d.Length)
	return s.isKept(ctx, r, info), nil
}

// announced writes down that a deposit comes, or finds what is written down. What
// there is of its id must be the same deposit.
func (s *Depository) announced(ctx context.Context, d central.Deposit) (record, error) {
	raw, err := central.Encode(d)
	if err != nil {
		return record{}, err
	}
	r := record{Deposit: raw, is: d}
	if err = s.save(ctx, &r); !errors.Is(err, store.ErrChanged) {
		return r, err
	}
	if r, err = s.load(ctx, d.Region, d.ID); err != nil {
		return r, err
	}
	return r, r.sameAs(d)
}

// deliverOver is deliver where there is a file of that name already: the same
// one, or one that only begins with the same half of a digest, or is damaged.
func (s *Depository) deliverOver(ctx context.Context, r record, p []byte) (central.DepositState, error) {
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(r.is))
	if err == nil {
		err = s.compare(ctx, r.is, info)
	}
	if err == nil {
		s.settled.WithLabelValues("known").Inc()
		r.Kept, r.ETag = true, info.ETag
		return s.state(r), nil
	}
	if !errors.Is(err, central.ErrWrongBytes) {
		return central.DepositState{}, err
	}
	info, err = s.store.Put(ctx, s.cfg.Bucket, Key(r.is), bytes.NewReader(p), r.is.Length, options(r.is), store.Condition{})
	if err != nil {
		return central.DepositState{}, err
	}
	s.took(r.is.Length)
	return s.isKept(ctx, r, info), nil
}

// isKept tells of a file that is in the store as a whole. The record of one that
// was delivered need not say so: who asks again finds the file.
func (s *Depository) isKept(ctx context.Context, r record, info store.Info) central.DepositState {
	r.Kept, r.ETag = true, info.ETag
	s.settled.WithLabelValues("kept").Inc()
	s.log.InfoContext(ctx, "a deposit is kept", "deposit", r.is.ID, "school", r.is.School, "key", Key(r.is), "bytes", r.is.Length)
	return s.state(r)
}

// took counts what came.
func (s *Depository) took(size int64) {
	s.parts.Inc()
	s.taken.Add(float64(size))
}

package deposit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"preau/replication/central"
	"preau/replication/central/store"
)

// Begin implements central.Depository.
func (s *Depository) Begin(ctx context.Context, d central.Deposit) (central.DepositState, error) {
	state, err := s.begin(ctx, d)
	return state, trouble(err)
}

// races is how often something is done again that another gateway was quicker at.
const races = 4

func (s *Depository) begin(ctx context.Context, d central.Deposit) (central.DepositState, error) {
	for range races {
		r, err := s.load(ctx, d.Region, d.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			r, err = s.open(ctx, d)
		case err == nil:
			if err := r.sameAs(d); err != nil {
				return central.DepositState{}, err
			}
			if t := s.tallies.get(d.Region, d.ID); t != nil && t.r.Upload != r.Upload {
				s.tallies.end(d.Region, d.ID) // another gateway has begun it anew
			}
		}
		if err == nil && r.Kept {
			return s.state(r), nil
		}
		var parts []store.Part
		if err == nil {
			parts, err = s.partsOf(ctx, &r)
		}
		switch {
		case errors.Is(err, store.ErrChanged):
			continue // another gateway was quicker: look what it did
		case err != nil:
			return central.DepositState{}, err
		}
		state := central.DepositState{PartSize: central.PartSize, Whole: true}
		for _, p := range parts {
			if p.Size == partSize(r.is, p.Number) {
				state.Parts = append(state.Parts, p.Number)
			}
		}
		return state, nil
	}
	return central.DepositState{}, fmt.Errorf("%w: another gateway works on the same deposit", central.ErrWaiting)
}

func (s *Depository) state(r record) central.DepositState {
	return central.DepositState{Kept: r.Kept, Bucket: s.cfg.Bucket, Key: Key(r.is), ETag: r.ETag}
}

// open writes down that a deposit has begun, or is there by another id.
func (s *Depository) open(ctx context.Context, d central.Deposit) (record, error) {
	raw, err := central.Encode(d)
	if err != nil {
		return record{}, err
	}
	r := record{Deposit: raw, is: d}
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(d))
	switch {
	case err == nil && info.Size == d.Length:
		// The key names half of the digest; what is there is compared as a whole.
		if err := s.compare(ctx, d, info); err == nil {
			r.Kept, r.ETag = true, info.ETag
			if err := s.save(ctx, &r); err != nil {
				return r, err
			}
			s.settled.WithLabelValues("known").Inc()
			return r, nil
		} else if !errors.Is(err, central.ErrWrongBytes) {
			return r, err
		}
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return r, err
	}
	if numParts(d) > 1 {
		if r.Upload, err = s.store.Begin(ctx, s.cfg.Bucket, Key(d), options(d)); err != nil {
			return r, err
		}
	}
	if err := s.save(ctx, &r); err != nil {
		s.giveUp(ctx, r)
		return r, err
	}
	s.tallies.begin(r)
	return r, nil
}

// giveUp ends an upload that nobody knows of.
func (s *Depository) giveUp(ctx context.Context, r record) {
	if r.Upload == "" {
		return
	}
	if err := s.store.Abort(ctx, s.cfg.Bucket, Key(r.is), r.Upload); err != nil {
		s.log.WarnContext(ctx, "an upload is left behind: remove it with an S3 tool", "upload", r.Upload, "err", err)
	}
}

func options(d central.Deposit) store.Options {
	meta := map[string]string{
		"sha256": d.SHA256.String(), "school": string(d.School), "deposit": d.ID, "region": string(d.Region),
		"filename": d.Name, "deposited": d.At.Format(time.RFC3339),
	}
	for name, text := range map[string]string{
		"title": d.Meta.Title, "description": d.Meta.Description, "language": d.Meta.Language, "level": d.Meta.Level,
		"licence": d.Meta.Licence, "collection": d.Meta.Collection,
	} {
		if text = oneLine(text); text != "" {
			meta[name] = text
		}
	}
	kind := oneLine(d.Meta.ContentType)
	if kind == "" {
		kind = "application/octet-stream"
	}
	return store.Options{ContentType: kind, Meta: meta}
}

// oneLine makes a text fit for a header field.
func oneLine(text string) string {
	if text = strings.Join(strings.Fields(text), " "); len(text) > 1024 {
		text = strings.ToValidUTF8(text[:1024], "")
	}
	return text
}

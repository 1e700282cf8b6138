package deposit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

// record is what the system bucket holds of a deposit.
type record struct {
	Deposit []byte `cbor:"1,keyasint"`           // a central.Deposit
	Upload  string `cbor:"2,keyasint,omitempty"` // of a file of several parts
	Kept    bool   `cbor:"3,keyasint,omitempty"`
	ETag    string `cbor:"4,keyasint,omitempty"` // of the file, once kept

	is  central.Deposit
	tag string // of the record itself
}

const maxRecord = 128 << 10

func recordKey(region identity.Region, id string) string {
	return "deposits/" + string(region) + "/" + id
}

// Key is where a deposit's file lies.
func Key(d central.Deposit) string {
	return string(d.School) + "/" + d.SHA256.String()[:32] + "/" + d.Name
}

func (s *Depository) load(ctx context.Context, region identity.Region, id string) (record, error) {
	var r record
	body, info, err := s.store.Get(ctx, s.cfg.System, recordKey(region, id), 0, -1, "")
	if err != nil {
		return r, err
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxRecord))
	err = errors.Join(err, body.Close())
	if err == nil {
		err = cbor.Unmarshal(raw, &r)
	}
	if err == nil {
		r.is, err = central.DecodeDeposit(r.Deposit)
	}
	if err != nil {
		return r, fmt.Errorf("%w: what is known of deposit %s can't be read: %w", store.ErrUnavailable, id, err)
	}
	r.tag = info.ETag
	return r, nil
}

// save writes r over what load read, or where nothing was.
func (s *Depository) save(ctx context.Context, r *record) error {
	raw, err := central.Encode(*r)
	if err != nil {
		return err
	}
	cond := store.Condition{ETag: r.tag, Absent: r.tag == ""}
	info, err := s.store.Put(ctx, s.cfg.System, recordKey(r.is.Region, r.is.ID), bytes.NewReader(raw), int64(len(raw)),
		store.Options{ContentType: "application/cbor"}, cond)
	if err != nil {
		return err
	}
	r.tag = info.ETag
	return nil
}

// trouble makes errors of the store what the school is told of them.
func trouble(err error) error {
	for _, known := range []error{central.ErrInvalid, central.ErrWrongBytes, central.ErrIncomplete, central.ErrWaiting} {
		if err == nil || errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, store.ErrInvalid) {
		return fmt.Errorf("%w: %w", central.ErrInvalid, err)
	}
	return fmt.Errorf("%w: %w", central.ErrWaiting, err)
}

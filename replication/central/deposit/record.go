package deposit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

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

const (
	maxRecord = 128 << 10
	// recordTime is how long a store may take for a record before it is said to be
	// stalled. All that is done of a deposit begins with one.
	recordTime = 8 * time.Second
)

func recordKey(region identity.Region, id string) string {
	return "deposits/" + string(region) + "/" + id
}

// sameAs reports an id that was given to two deposits.
func (r record) sameAs(d central.Deposit) error {
	if r.is.SHA256 == d.SHA256 && r.is.Length == d.Length && r.is.School == d.School && r.is.Name == d.Name {
		return nil
	}
	return fmt.Errorf("%w: there is another deposit of the id %s", central.ErrInvalid, d.ID)
}

// Key is where a deposit's file lies.
func Key(d central.Deposit) string {
	return string(d.School) + "/" + d.SHA256.String()[:32] + "/" + d.Name
}

func (s *Depository) load(ctx context.Context, region identity.Region, id string) (record, error) {
	var r record
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
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
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
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
	kind := central.ErrStalled
	switch {
	case errors.Is(err, store.ErrInvalid):
		kind = central.ErrInvalid
	case errors.Is(err, store.ErrFull):
		kind = central.ErrFull
	case errors.Is(err, store.ErrDenied):
		kind = central.ErrDenied
	case errors.Is(err, store.ErrChanged), errors.Is(err, store.ErrNotFound):
		kind = central.ErrWaiting // another gateway was quicker, or a bucket is gone
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// Package deposit takes the files of schools at the ministry's gateway and puts
// them into the object store: each under
//
//	SCHOOL/FIRST-32-DIGITS-OF-ITS-SHA-256/NAME
//
// of one bucket, so that two files of one name, or of two schools, never touch
// one another, and one file that comes twice is stored once.
//
// What has been started is kept in the store too, in the system bucket under
// deposits/REGION/ID, so that any gateway goes on with what another began. A
// file of one part becomes visible with it, a longer one when it is complete.
// Only then is it read back, compared with the SHA-256 that the school's box
// made of it, and acknowledged. The package lists nothing to schools and
// deletes nothing that was acknowledged.
//
// # Metrics
//
//	preau_central_deposits_total{result}   deposits that were settled: kept, known, wrong
//	preau_central_deposit_parts_total      parts that were taken
//	preau_central_deposit_bytes_total      their bytes
package deposit

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3 names parts by it; it protects nothing here
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

// Config says where deposits go.
type Config struct {
	Bucket string `toml:"bucket"` // of the files
	System string `toml:"system"` // of what is under way
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Bucket == "" {
		errs = append(errs, errors.New("deposits: no bucket is named"))
	}
	if c.System == "" || c.System == c.Bucket {
		errs = append(errs, errors.New("deposits: the system bucket must be named, and be another one"))
	}
	return errors.Join(errs...)
}

// Depository implements central.Depository. It owns no goroutine.
type Depository struct {
	cfg     Config
	store   store.Store
	log     *slog.Logger
	settled *prometheus.CounterVec
	parts   prometheus.Counter
	taken   prometheus.Counter
}

var _ central.Depository = (*Depository)(nil)

// New checks cfg and registers metrics. The buckets must be there.
func New(cfg Config, s store.Store, log *slog.Logger, reg prometheus.Registerer) (*Depository, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Depository{
		cfg: cfg, store: s, log: log.With("part", "deposit"),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "preau_central_deposits_total", Help: "Deposits that were settled."}, []string{"result"}),
		parts:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_central_deposit_parts_total", Help: "Parts of deposits that were taken."}),
		taken:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preau_central_deposit_bytes_total", Help: "Bytes of these parts."}),
	}
	for _, c := range []prometheus.Collector{d.settled, d.parts, d.taken} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of deposits: %w", err)
		}
	}
	return d, nil
}

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
		case err == nil && (r.is.SHA256 != d.SHA256 || r.is.Length != d.Length || r.is.School != d.School || r.is.Name != d.Name):
			return central.DepositState{}, fmt.Errorf("%w: there is another deposit of the id %s", central.ErrInvalid, d.ID)
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
		state := central.DepositState{PartSize: central.PartSize}
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

// Complete implements central.Depository.
func (s *Depository) Complete(ctx context.Context, region identity.Region, id string) (central.DepositState, error) {
	state, err := s.complete(ctx, region, id)
	return state, trouble(err)
}

func (s *Depository) complete(ctx context.Context, region identity.Region, id string) (central.DepositState, error) {
	none := central.DepositState{}
	r, err := s.load(ctx, region, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return none, fmt.Errorf("%w: deposit %s was not announced", central.ErrInvalid, id)
	case err != nil:
		return none, err
	case r.Kept:
		return s.state(r), nil
	}
	if err := s.assemble(ctx, r); err != nil {
		return none, err
	}
	info, err := s.store.Head(ctx, s.cfg.Bucket, Key(r.is))
	if errors.Is(err, store.ErrNotFound) {
		return none, central.ErrIncomplete
	}
	if err == nil {
		err = s.compare(ctx, r.is, info)
	}
	if errors.Is(err, central.ErrWrongBytes) {
		// It was announced as something else: whoever sent it must begin anew,
		// and nobody may take it for what its name says.
		s.settled.WithLabelValues("wrong").Inc()
		return none, errors.Join(err, s.store.Delete(ctx, s.cfg.Bucket, Key(r.is)))
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
	s.settled.WithLabelValues("kept").Inc()
	s.log.InfoContext(ctx, "a deposit is kept", "deposit", id, "school", r.is.School, "key", Key(r.is), "bytes", r.is.Length)
	return s.state(r), nil
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

package publish

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
	"preau/replication/hold"
)

// errAgain is an object that changed while it was looked at.
var errAgain = errors.New("the object changes while it is read")

// refusal is why an object can't be published.
type refusal struct{ why error }

func (r refusal) Error() string { return r.why.Error() }
func (r refusal) Unwrap() error { return r.why }

const maxTries = 6

// result is a job that has come to something for the history.
type result struct {
	job   *job
	h     *history.History
	entry history.Entry
	kind  string // published, deleted or held
	// old is what is to be removed once the entry is in the history, and fresh
	// what is to be removed if it does not come to that.
	old, fresh string
}

func (p *Publisher) work(ctx context.Context, large bool) {
	for {
		j := p.queue.next(large)
		if j == nil || ctx.Err() != nil {
			return
		}
		p.do(ctx, j)
	}
}

// do looks at an object and decides what becomes of the job.
func (p *Publisher) do(ctx context.Context, j *job) {
	looked := func(result string) { p.met.looks.WithLabelValues(result).Inc() }
	h, err := p.history(ctx, j.b)
	var r *result
	if err == nil {
		r, err = p.look(ctx, h, j)
	}
	switch {
	case ctx.Err() != nil:
		if r != nil {
			r.entry.Attempt.Close()
		}
	case errors.Is(err, errMove):
	case errors.Is(err, errAgain) && j.tries < maxTries:
		looked("again")
		j.tries++
		p.queue.later(j, time.Second<<j.tries)
	case err != nil && j.tries < maxTries && !errors.Is(err, history.ErrEpoch):
		looked("failed")
		j.b.log.DebugContext(ctx, "an object could not be looked at, another try comes", "key", j.key, "err", err)
		j.tries++
		p.queue.later(j, time.Second<<j.tries)
	case err != nil:
		p.forget(j.b, h, err)
		looked("failed")
		j.b.log.WarnContext(ctx, "an object could not be looked at, the next pass tries again", "key", j.key, "err", err)
		p.queue.finish(j)
	case r == nil:
		looked("same")
		p.queue.finish(j)
	default:
		looked(r.kind)
		select {
		case j.b.results <- *r: // never full: there are no more in hand
		case <-ctx.Done():
			r.entry.Attempt.Close()
		}
	}
}

// errMove is a job that has gone to the workers for large objects.
var errMove = errors.New("the object is large")

// look finds out what the history should say of an object: nothing new if it
// returns nil.
func (p *Publisher) look(ctx context.Context, h *history.History, j *job) (_ *result, err error) {
	a, err := h.Begin(ctx, j.key)
	if err != nil {
		return nil, err
	}
	r := &result{job: j, h: h, entry: history.Entry{Attempt: a}, old: oldPlace(j.b.name, a)}
	defer func() {
		if err != nil || r == nil {
			a.Close()
		}
	}()
	listed := j.listed
	if listed == nil {
		was := false
		if listed, was, err = p.find(ctx, j.b.name, j.key); err != nil {
			return nil, err
		}
		if !was {
			r, err = p.gone(ctx, r)
			return r, err
		}
		if listed.Size >= large {
			p.queue.asLarge(j, *listed)
			return nil, errMove
		}
	}
	if same(a, *listed) {
		// Nothing to be seen in a listing; the metadata is, if it was found with Head.
		if !j.hinted || a.Row.Held {
			r = nil
			return r, nil
		}
		m, _, err := parseMeta(*listed)
		if err == nil {
			var print uint64
			if print, err = fingerprint(m); err == nil && print == a.Row.Meta {
				r = nil
				return r, nil
			}
		}
		if err != nil && !errors.Is(err, errAudience) {
			return nil, err
		}
	}
	o, err := p.read(ctx, h, a, j.b, *listed, r)
	if err == nil {
		if bad := o.Validate(); bad != nil {
			err = refusal{bad}
		}
	}
	var no refusal
	switch {
	case errors.As(err, &no):
		if err = p.hold(ctx, r, *listed, no); err == nil {
			err = r.entry.Record.Check(j.b.name)
		}
		return r, err
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrChanged):
		return nil, errAgain
	case err != nil:
		return nil, err
	}
	r.kind = "published"
	if r.entry.Record.Change, err = central.Sign(p.key, o); err != nil {
		return nil, err
	}
	r.entry.Record.Meta, err = fingerprint(o.Meta)
	return r, err
}

// same reports whether the history has what a listing shows.
func same(a *history.Attempt, listed store.Info) bool {
	return a.Known && a.Row.ETag == listed.ETag && a.Row.Size == listed.Size && a.Row.Modified == listed.Modified.UnixMilli()
}

// find asks for an object. The answer has its metadata, and its time as listings
// tell it, which is more exact than Head's. False: it is certainly not there.
func (p *Publisher) find(ctx context.Context, bucket, key string) (*store.Info, bool, error) {
	info, err := p.st.Head(ctx, bucket, key)
	if errors.Is(err, store.ErrNotFound) {
		// Of a bucket that is away the same is said.
		if err := p.st.Ready(ctx, bucket); err != nil {
			return nil, false, fmt.Errorf("look for an object: %w", err)
		}
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for an object: %w", err)
	}
	page, err := p.st.List(ctx, bucket, key, "", 1)
	if err != nil {
		return nil, false, fmt.Errorf("look for an object: %w", err)
	}
	if len(page.Objects) == 0 || page.Objects[0].Key != key || !about(page.Objects[0], info) {
		return nil, false, errAgain
	}
	info.Modified = page.Objects[0].Modified
	return &info, true, nil
}

// about reports whether two answers, one of which tells the time to the second
// only, speak of one version.
func about(a, b store.Info) bool {
	d := a.Modified.Sub(b.Modified)
	return a.ETag == b.ETag && a.Size == b.Size && d > -1500*time.Millisecond && d < 1500*time.Millisecond
}

// gone makes a deletion, if there is something to delete.
func (p *Publisher) gone(ctx context.Context, r *result) (*result, error) {
	a := r.entry.Attempt
	if !a.Known {
		return nil, nil //nolint:nilnil // nothing is to be said
	}
	c, err := central.SignDeleted(p.key, r.job.b.name, r.job.key)
	if err != nil {
		return nil, err
	}
	r.kind, r.entry.Record = "deleted", history.Record{Change: c, Place: newPlace()}
	r.job.b.log.InfoContext(ctx, "an object is gone", "key", r.job.key)
	return r, nil
}

// hold makes the record of a version that must not be published. If another one
// was, that is withdrawn: its bytes are not there any more.
func (p *Publisher) hold(ctx context.Context, r *result, listed store.Info, why refusal) error {
	c, err := central.SignDeleted(p.key, r.job.b.name, r.job.key)
	if err != nil {
		return err
	}
	reason := why.Error()
	r.kind, r.entry.Record = "held", history.Record{Change: c, Place: newPlace(), Held: &history.Held{
		ETag: listed.ETag, Size: listed.Size, Modified: central.Milli(listed.Modified), Reason: strings.ToValidUTF8(reason[:min(len(reason), 500)], ""),
	}}
	r.job.b.log.WarnContext(ctx, "an object is held back and not published", "key", r.job.key, "reason", reason)
	return nil
}

// read reads an object and says what is to be published. The list of its blocks
// is in the store when it returns.
func (p *Publisher) read(ctx context.Context, h *history.History, a *history.Attempt, b *bucket, listed store.Info, r *result) (central.Object, error) {
	body, info, err := p.st.Get(ctx, b.name, listed.Key, 0, -1, listed.ETag)
	if err != nil {
		return central.Object{}, err
	}
	defer body.Close()
	info.Key = listed.Key
	if !about(listed, info) {
		return central.Object{}, errAgain
	}
	m, faults, err := parseMeta(info)
	for _, f := range faults {
		p.met.faults.WithLabelValues(f.field).Inc()
		b.log.WarnContext(ctx, "a field of an object's metadata is left out", "key", listed.Key, "field", f.field, "err", f.err)
	}
	if err != nil {
		return central.Object{}, refusal{err}
	}
	o := central.Object{
		Bucket: b.name, Key: listed.Key, ETag: listed.ETag, Length: listed.Size, Modified: central.Milli(listed.Modified), Meta: m,
	}
	if err := o.Meta.Validate(); err != nil {
		return central.Object{}, refusal{err}
	}
	list, err := p.hashed(ctx, h, a, &o)
	if err != nil {
		return central.Object{}, err
	}
	if list == nil && o.SHA256.IsZero() {
		if list, err = p.hash(ctx, b, body, &o); err != nil {
			return central.Object{}, err
		}
		// What was read is what is there, with the metadata that was read.
		now, err := p.st.Head(ctx, b.name, o.Key)
		if err != nil {
			return central.Object{}, err
		}
		if !about(listed, now) {
			return central.Object{}, errAgain
		}
	}
	r.entry.Record.Place = newPlace()
	if o.Length == 0 {
		return o, nil
	}
	r.fresh = placeName(b.name, o.List, r.entry.Record.Place)
	return o, p.putPlace(ctx, r.fresh, place{Key: o.Key, ETag: o.ETag, Length: o.Length}, list)
}

// hashed takes hashes from the version before, if it has the same bytes: only
// the metadata is new then. It sets nothing if that can't be had.
func (p *Publisher) hashed(ctx context.Context, h *history.History, a *history.Attempt, o *central.Object) ([]byte, error) {
	if !a.Known || a.Row.Held || a.Row.ETag != o.ETag || a.Row.Size != o.Length || o.Length == 0 || o.ETag == "" {
		return nil, nil
	}
	changes, err := h.Read(ctx, a.Row.Seq-1, 1)
	if err != nil || len(changes) != 1 {
		return nil, err
	}
	was, err := central.Verify(p.pub, changes[0])
	if err != nil || was.Key != o.Key || was.List != a.Row.List {
		return nil, nil //nolint:nilerr // then it is read
	}
	_, list, err := p.getPlace(ctx, placeName(o.Bucket, was.List, a.Row.Place))
	if errors.Is(err, store.ErrNotFound) || err == nil && block.Sum(list) != was.List {
		return nil, nil
	}
	if err == nil {
		o.List, o.SHA256 = was.List, was.SHA256
	}
	return list, err
}

// hash reads body to its end, sets the hashes of o, and returns the list of its
// blocks.
func (p *Publisher) hash(ctx context.Context, b *bucket, body io.Reader, o *central.Object) ([]byte, error) {
	if o.Length > int64(hold.MaxDigests)*block.Size {
		return nil, tooLarge(o.Length)
	}
	began := time.Now()
	watched := &progress{ctx: ctx, r: body, p: p, b: b, o: o, told: began}
	cut, err := hold.SplitContent(ctx, watched, o.Length, func(context.Context, block.Digest, []byte) error { return nil })
	switch {
	case errors.Is(err, hold.ErrTooLarge):
		return nil, tooLarge(o.Length)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: %w", errAgain, err)
	case err != nil:
		return nil, fmt.Errorf("read the object: %w", err)
	}
	o.SHA256 = cut.SHA256
	if o.Length == 0 {
		return nil, nil
	}
	list, err := hold.EncodeList(cut.Entries)
	if errors.Is(err, hold.ErrTooLarge) {
		return nil, tooLarge(o.Length)
	} else if err != nil {
		return nil, err
	}
	o.List = block.Sum(list)
	if o.Length >= large {
		b.log.InfoContext(ctx, "a large object is read", "key", o.Key, "bytes", o.Length, "blocks", len(cut.Entries), "dur", time.Since(began))
	}
	return list, nil
}

// tooLarge is why a file is held back whose list of blocks would be longer than a
// block, which is how lists travel.
func tooLarge(length int64) refusal {
	return refusal{fmt.Errorf("%w: it has %d bytes, and at most %d GiB can be: put it there in parts",
		hold.ErrTooLarge, length, int64(hold.MaxDigests)*block.Size>>30)}
}

// progress counts what is read, and tells now and then.
type progress struct {
	ctx  context.Context //nolint:containedctx // of the one call of hash
	r    io.Reader
	p    *Publisher
	b    *bucket
	o    *central.Object
	n    int64
	told time.Time
}

func (r *progress) Read(buf []byte) (int, error) {
	n, err := r.r.Read(buf)
	r.n += int64(n)
	r.p.met.hashed.Add(float64(n))
	if time.Since(r.told) > 30*time.Second {
		r.told = time.Now()
		r.b.log.InfoContext(r.ctx, "a large object is being read", "key", r.o.Key, "bytes", r.n, "of", r.o.Length)
	}
	return n, err
}

// newPlace makes up what tells a record from others of its key; never 0.
func newPlace() uint64 {
	var p [8]byte
	rand.Read(p[:]) // never fails
	return binary.BigEndian.Uint64(p[:]) | 1
}

package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"preau/replication/catalogue"
	"preau/replication/central"
)

// followBucket brings a bucket's changes into the catalogue until ctx ends.
func (u *Uplink) followBucket(ctx context.Context, bucket string) {
	log := u.log.With("bucket", bucket)
	r := &replay{}
	for failures := 0; ctx.Err() == nil; {
		err := u.step(ctx, bucket, r)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			continue
		}
		failures++
		log.WarnContext(ctx, "the bucket could not be followed, and will be again", "err", err)
		pause(ctx, backoff(failures))
	}
}

// replay is a history that is read from its beginning, because it was begun anew:
// what it does not mention is gone.
type replay struct {
	at   central.Cursor // zero: none is under way
	seen map[string]bool
}

// step asks once for changes, and has the region take them.
func (u *Uplink) step(ctx context.Context, bucket string, r *replay) error {
	src, known, err := u.region.Source(bucket)
	if err != nil {
		return err
	}
	at := central.Cursor{Epoch: src.Epoch, Seq: src.Seq}
	if r.at.Epoch != "" {
		at = r.at
	}
	got, err := u.client.Changes(ctx, bucket, at, atOnce, longPoll)
	u.said(ctx, err)
	if err != nil {
		return err
	}
	if got.Epoch != at.Epoch {
		*r = replay{}
		if known && got.Epoch != src.Epoch {
			u.log.WarnContext(ctx, "the bucket's history was begun anew: it is read from the beginning", "bucket", bucket)
			r.seen = map[string]bool{}
		}
		at = central.Cursor{Epoch: got.Epoch}
	}
	if len(got.Changes) > 0 && got.Changes[0].Seq != at.Seq+1 {
		return fmt.Errorf("asked the centre for what follows %d, and got %d", at.Seq, got.Changes[0].Seq)
	}
	for _, c := range got.Changes {
		at.Seq = c.Seq
	}
	u.at(bucket, got.Head-min(got.Head, at.Seq))
	ended := at.Seq >= got.Head
	if len(got.Changes) == 0 && (r.seen == nil || !ended) {
		if ended {
			u.synced(bucket)
		}
		return nil
	}
	if err := u.take(ctx, bucket, got.Changes, r); err != nil {
		return err
	}
	if r.seen != nil && !ended {
		r.at = at // the old place stays written down until all was read
		return nil
	}
	if r.seen != nil {
		if err := u.forget(ctx, bucket, r.seen); err != nil {
			return err
		}
	}
	*r = replay{}
	op, err := catalogue.NewPut(catalogue.Source{Bucket: bucket, Epoch: at.Epoch, Seq: at.Seq})
	if err == nil {
		err = u.region.Submit(ctx, op)
	}
	if err == nil && ended {
		u.synced(bucket)
	}
	return err
}

// take has the region take changes: together, or one by one if it refuses that.
func (u *Uplink) take(ctx context.Context, bucket string, changes []central.Change, r *replay) error {
	var each [][]catalogue.Op
	var all []catalogue.Op
	made := make(map[string]bool) // collections
	put := make(map[string]bool)  // resources
	for _, c := range changes {
		o, err := central.Verify(u.signer(), c)
		if err == nil && o.Bucket != bucket {
			err = fmt.Errorf("it is of the bucket %q", o.Bucket)
		}
		var ops []catalogue.Op
		if err == nil {
			ops, err = u.opsOf(o, c.Deleted, made)
		}
		if err == nil && r.seen != nil {
			// Mostly the history was only written anew, and nothing is news.
			ops, err = u.news(ops, put)
		}
		if err != nil {
			// To stop here would keep all that follows from every school.
			u.met.changes.WithLabelValues("skipped").Inc()
			u.log.ErrorContext(ctx, "a change of the bucket can't be taken, and is left out", "bucket", bucket, "number", c.Seq, "key", o.Key, "err", err)
			continue
		}
		if r.seen != nil {
			if c.Deleted {
				delete(r.seen, central.ResourceID(o.Bucket, o.Key))
			} else {
				r.seen[central.ResourceID(o.Bucket, o.Key)] = true
			}
		}
		u.met.changes.WithLabelValues("taken").Inc()
		each = append(each, ops)
		all = append(all, ops...)
	}
	if len(all) == 0 {
		return nil
	}
	err := u.submit(ctx, all)
	if !errors.Is(err, ErrRefused) {
		return err
	}
	for _, ops := range each {
		if len(ops) == 0 {
			continue
		}
		if err := u.submit(ctx, ops); errors.Is(err, ErrRefused) {
			u.log.ErrorContext(ctx, "the region does not take a change of the bucket: it is left out", "bucket", bucket, "err", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// news leaves out what the catalogue has already, unless it will have another
// version by then: put is what was put and is not there yet.
func (u *Uplink) news(ops []catalogue.Op, put map[string]bool) ([]catalogue.Op, error) {
	var out []catalogue.Op
	for _, op := range ops {
		if op.Put != nil && op.Put.Kind == catalogue.KindResource && !put[op.Put.ID] {
			now, there, err := u.region.Resource(op.Put.ID)
			if err != nil {
				return nil, err
			}
			if there {
				same, err := catalogue.NewPut(now)
				if err == nil && bytes.Equal(same.Put.Body, op.Put.Body) {
					continue
				}
			}
			put[op.Put.ID] = true
		}
		out = append(out, op)
	}
	return out, nil
}

// maxSubmit bounds what one command carries: records may be long.
const maxSubmit = 256 << 10

// submit sends ops in as many commands as they need, in their order.
func (u *Uplink) submit(ctx context.Context, ops []catalogue.Op) error {
	for len(ops) > 0 {
		n, bytes := 0, 0
		for n < len(ops) && n < atOnce && (n == 0 || bytes < maxSubmit) {
			if p := ops[n].Put; p != nil {
				bytes += len(p.Body)
			}
			n++
		}
		if err := u.region.Submit(ctx, ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// forget purges what came from a bucket and is not in its history.
func (u *Uplink) forget(ctx context.Context, bucket string, seen map[string]bool) error {
	var gone []string
	err := u.region.Resources(ctx, bucket, func(id string) bool {
		if !seen[id] {
			gone = append(gone, id)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range gone {
		op, err := purgeOf(id, "gone from the bucket "+bucket)
		if err != nil {
			return err
		}
		if err := u.region.Submit(ctx, op); err != nil && !errors.Is(err, ErrRefused) {
			return err
		}
	}
	return nil
}

func purgeOf(id, reason string) (catalogue.Op, error) {
	return catalogue.NewPut(catalogue.Purge{ID: "gone-" + id, Scope: catalogue.ScopeResource, Target: id, Reason: reason})
}

// opsOf is what an object means for the catalogue.
func (u *Uplink) opsOf(o central.Object, deleted bool, made map[string]bool) ([]catalogue.Op, error) {
	id := central.ResourceID(o.Bucket, o.Key)
	if deleted {
		_, there, err := u.region.Resource(id)
		if err != nil || !there {
			return nil, err
		}
		op, err := purgeOf(id, "deleted from the bucket "+o.Bucket)
		return []catalogue.Op{op}, err
	}
	m := o.Meta
	collection := slug(m.Collection)
	if collection == "" {
		collection = slug(o.Bucket)
	}
	var ops []catalogue.Op
	there, err := u.region.Collection(collection)
	if err != nil {
		return nil, err
	}
	if !there && !made[collection] {
		title := m.Collection
		if title == "" {
			title = o.Bucket
		}
		op, err := catalogue.NewPut(catalogue.Collection{ID: collection, Title: title})
		if err != nil {
			return nil, err
		}
		ops, made[collection] = append(ops, op), true
	}
	res := catalogue.Resource{
		ID: id, Collection: collection, Title: m.Title, Filename: filename(o.Key), ContentType: m.ContentType,
		Description: m.Description, Language: m.Language, Level: m.Level, Licence: m.Licence, Length: o.Length, SHA256: o.SHA256,
		Modified: o.Modified, Expires: m.Expires, Audience: m.Audience, Bucket: o.Bucket, Key: o.Key, ETag: o.ETag,
	}
	if res.Title == "" {
		res.Title = res.Filename
	}
	if res.ContentType == "" {
		res.ContentType = "application/octet-stream"
	}
	if o.Length > 0 {
		res.Manifest, res.Listed = o.List, true
	}
	op, err := catalogue.NewPut(res)
	if err != nil {
		// What people wrote about the file may be the fault. The file is not.
		res.Title, res.Description, res.Language, res.Level, res.Licence = res.Filename, "", "", "", ""
		res.ContentType = "application/octet-stream"
		op, err = catalogue.NewPut(res)
	}
	return append(ops, op), err
}

// filename is the last part of a key, made fit for a file's name.
func filename(key string) string {
	name := path.Base(key)
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '_'
		}
		return r
	}, name)
	if name == "" || name == "." || name == ".." {
		return "file"
	}
	for len(name) > central.MaxName {
		// The end tells what kind of file it is.
		_, n := utf8.DecodeRuneInString(name)
		name = name[n:]
	}
	return name
}

// slug makes an id of a name that people gave.
func slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case plain[r] != "":
			b.WriteString(plain[r])
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String()[:min(b.Len(), 60)], "-")
}

// plain is how the letters of French names are written without their marks.
var plain = map[rune]string{ //nolint:gochecknoglobals // never written to
	'à': "a", 'â': "a", 'ä': "a", 'ç': "c", 'é': "e", 'è': "e", 'ê': "e", 'ë': "e", 'î': "i", 'ï': "i",
	'ô': "o", 'ö': "o", 'ù': "u", 'û': "u", 'ü': "u", 'ÿ': "y", 'œ': "oe", 'æ': "ae", 'ñ': "n",
}

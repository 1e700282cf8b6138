package catalogue

import (
	"math"

	"preau/cache/block"
	"preau/replication/identity"
)

// quickCommand reads a command of version 1 that is made of puts, deletions
// and counts.
func quickCommand(p []byte) (c Command, ok bool) {
	q := &quick{p: p}
	f := q.fields()
	f.need(1)
	q.fixed(c.ID[:])
	f.need(2)
	c.At = q.time()
	f.need(3)
	c.By = q.text()
	f.need(4)
	n := q.list(MaxOps)
	c.Ops = make([]Op, n)
	for i := 0; i < n && !q.off; i++ {
		c.Ops[i] = q.op()
	}
	f.end()
	return c, q.done()
}

func (q *quick) op() (op Op) {
	f := q.fields()
	switch {
	case f.has(1):
		op.Put = q.put()
	case f.has(2):
		op.Delete = q.delete()
	case f.has(4):
		op.Count = q.count()
	default:
		q.fail()
	}
	f.end()
	return op
}

func (q *quick) put() *Put {
	var v Put
	f := q.fields()
	f.need(1)
	v.Kind = Kind(q.uint(math.MaxUint8))
	f.need(2)
	v.ID = q.text()
	f.need(3)
	v.Body = q.blob()
	if f.has(4) {
		v.If = q.index()
	}
	f.end()
	return &v
}

func (q *quick) delete() *Delete {
	var v Delete
	f := q.fields()
	f.need(1)
	v.Kind = Kind(q.uint(math.MaxUint8))
	f.need(2)
	v.ID = q.text()
	if f.has(3) {
		v.If = q.index()
	}
	if f.has(4) {
		v.Missing = q.yes()
	}
	f.end()
	return &v
}

func (q *quick) index() *uint64 {
	n := q.uint(math.MaxUint64)
	return &n
}

func (q *quick) count() *Count {
	var v Count
	f := q.fields()
	f.need(1)
	v.Box = q.text()
	f.need(2)
	v.Number = q.uint(math.MaxUint64)
	f.need(3)
	n := q.list(MaxTallies)
	v.Counts = make([]Tally, n)
	for i := 0; i < n && !q.off; i++ {
		t := q.fields()
		t.need(1)
		v.Counts[i].Key = q.text()
		t.need(2)
		v.Counts[i].N = uint32(q.uint(math.MaxUint32))
		t.end()
	}
	f.end()
	return &v
}

// quickFact reads a body that is in its one form, which makes it normal too.
func quickFact(k Kind, body []byte) (f Fact, ok bool) {
	q := &quick{p: body}
	switch k {
	case KindBox:
		f = q.box()
	case KindRevocation:
		f = q.revocation()
	case KindCollection:
		f = q.collection()
	case KindResource:
		f = q.resource()
	case KindSubscription:
		f = q.subscription()
	case KindPin:
		f = q.pin()
	case KindPurge:
		f = q.purge()
	case KindContact:
		f = q.contact()
	default:
		return nil, false
	}
	return f, q.done()
}

func (q *quick) box() (v Box) {
	f := q.fields()
	f.need(1)
	v.Name = q.text()
	f.need(2)
	v.School = identity.School(q.text())
	f.need(3)
	q.fixed(v.SPKI[:])
	f.need(4)
	v.Enrolled = q.time()
	if f.has(5) {
		v.MayRejoin = q.yes()
	}
	f.end()
	return v
}

func (q *quick) revocation() (v Revocation) {
	f := q.fields()
	f.need(1)
	v.Role = identity.Role(q.text())
	f.need(2)
	v.Name = q.text()
	if f.has(3) {
		v.School = identity.School(q.some())
	}
	if f.has(4) {
		v.Reason = q.some()
	}
	f.end()
	return v
}

func (q *quick) collection() (v Collection) {
	f := q.fields()
	f.need(1)
	v.ID = q.text()
	f.need(2)
	v.Title = q.text()
	if f.has(3) {
		v.Audience = q.schools()
	}
	f.end()
	return v
}

func (q *quick) resource() (v Resource) {
	f := q.fields()
	for i, s := range [...]*string{&v.ID, &v.Collection, &v.Title, &v.Filename, &v.ContentType} {
		f.need(byte(i + 1))
		*s = q.text()
	}
	for i, s := range [...]*string{&v.Description, &v.Language, &v.Level, &v.Licence} {
		if f.has(byte(i + 6)) {
			*s = q.some()
		}
	}
	f.need(10)
	v.Length = int64(q.uint(math.MaxInt64))
	f.need(11)
	q.fixed(v.SHA256[:])
	f.need(12)
	v.Modified = q.time()
	if f.has(13) {
		v.Expires = q.time()
	}
	if f.has(14) {
		v.Audience = q.schools()
	}
	if f.has(15) {
		v.Blocks = make([]block.Digest, q.list(MaxInlineBlocks))
		for i := range v.Blocks {
			q.fixed(v.Blocks[i][:])
		}
	}
	if f.has(16) {
		if q.fixed(v.Manifest[:]); v.Manifest.IsZero() {
			q.fail()
		}
	}
	if f.has(17) {
		v.Listed = q.yes()
	}
	for i, s := range [...]*string{&v.Bucket, &v.Key, &v.ETag} {
		if f.has(byte(i + 18)) {
			*s = q.some()
		}
	}
	f.end()
	return v
}

func (q *quick) subscription() (v Subscription) {
	f := q.fields()
	f.need(1)
	v.ID = q.text()
	if f.has(2) {
		v.School = identity.School(q.some())
	}
	f.need(3)
	v.Collection = q.text()
	f.end()
	return v
}

func (q *quick) pin() (v Pin) {
	f := q.fields()
	f.need(1)
	v.ID = q.text()
	if f.has(2) {
		v.Resource = q.some()
	}
	if f.has(3) {
		v.Collection = q.some()
	}
	if f.has(4) {
		v.Schools = q.schools()
	}
	if f.has(5) {
		v.From = q.time()
	}
	if f.has(6) {
		v.Until = q.time()
	}
	f.end()
	return v
}

func (q *quick) purge() (v Purge) {
	f := q.fields()
	f.need(1)
	v.ID = q.text()
	f.need(2)
	v.Scope = Scope(q.uint(math.MaxUint8))
	if f.has(3) {
		v.Site = q.some()
	}
	if f.has(4) {
		if q.fixed(v.Mark[:]); v.Mark == [8]byte{} {
			q.fail()
		}
	}
	for i, s := range [...]*string{&v.Target, &v.Reason, &v.By} {
		if f.has(byte(i + 5)) {
			*s = q.some()
		}
	}
	f.end()
	return v
}

func (q *quick) contact() (v Contact) {
	f := q.fields()
	f.need(1)
	v.Box = q.text()
	f.need(2)
	v.At = q.time()
	f.need(3)
	v.Index = q.uint(math.MaxUint64)
	if f.has(4) {
		v.Version = q.some()
	}
	if f.has(5) {
		if v.Counted = q.uint(math.MaxUint64); v.Counted == 0 {
			q.fail()
		}
	}
	f.end()
	return v
}

package catalogue

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"preau/replication/identity"
)

// work is one command under way. All that it changes stays in here until it is
// known that every operation can be carried out.
type work struct {
	b     *batch
	index uint64
	at    time.Time
	by    string

	touched map[recordKey]*touch
	order   []*touch // those that were changed
	rows    map[string][]byte
	refs    map[string]map[string]*byte
	counts  map[Kind]int64 // what rows alone change
	moved   int
}

// touch is a record that the command looked at.
type touch struct {
	recordKey
	where   place   // of base
	base    *Record // before the command; nil if there never was one
	now     *Record // like base until it is changed
	changed bool
}

func (t *touch) alive() bool { return t.now != nil && !t.now.Deleted }

// index is that of the living record before the command, 0 for none.
func (t *touch) index() uint64 {
	if t.base == nil || t.base.Deleted {
		return 0
	}
	return t.base.Index
}

// refusal ends a command, but not the batch.
type refusal struct {
	code   Code
	detail string
}

func (r *refusal) Error() string { return string(r.code) + ": " + r.detail }

func refuse(code Code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (w *work) begin(index uint64, c Command) *work {
	w.index, w.at, w.by, w.moved = index, c.At, c.By, 0
	w.order = w.order[:0]
	if w.touched == nil || len(w.touched) > 2*MaxOps { // clearing a map costs what it once held
		w.touched, w.rows = map[recordKey]*touch{}, map[string][]byte{}
		w.refs, w.counts = map[string]map[string]*byte{}, map[Kind]int64{}
	}
	clear(w.touched)
	clear(w.rows)
	clear(w.refs)
	clear(w.counts)
	return w
}

func (w *work) do(op Op, r *Result) error {
	switch {
	case op.Put != nil:
		return w.put(*op.Put)
	case op.Delete != nil:
		return w.delete(*op.Delete)
	case op.Redeem != nil:
		return w.redeem(*op.Redeem, r)
	case op.Rekey != nil:
		return w.rekey(*op.Rekey, r)
	case op.Count != nil:
		return w.count(*op.Count)
	case op.Seen != nil:
		return w.heard(*op.Seen)
	case op.Prune != nil:
		return w.prune(*op.Prune, r)
	}
	return refuse(CodeInvalid, "it asks for nothing")
}

// load is the record of a kind that is in the change index.
func (w *work) load(k Kind, id string) (*touch, error) {
	key := recordKey{k, id}
	if t, ok := w.touched[key]; ok {
		return t, nil
	}
	t := &touch{recordKey: key}
	w.touched[key] = t
	if at, ok := w.b.stands[key]; ok {
		t.where, t.base, t.now = at.place, at.record, at.record
		return t, nil
	}
	row, err := w.b.row(placeKey(k, id))
	if err != nil {
		return t, err
	}
	if row == nil {
		w.b.stands[key] = standing{}
		return t, nil
	}
	if t.where, _, err = parsePlace(row); err != nil {
		return t, err
	}
	if row, err = w.b.row(t.where.key()); err != nil {
		return t, err
	}
	r, err := parseRecord(row)
	if err != nil {
		return t, fmt.Errorf("%s %q: %w", k, id, err)
	}
	t.base = &r
	if t.base.Kind != k || t.base.ID != id || t.base.Index != t.where.index {
		return t, fmt.Errorf("%w: %s %q is not where it should be", ErrDamaged, k, id)
	}
	t.now = t.base
	w.b.stands[key] = standing{t.where, t.base}
	return t, nil
}

// alive says whether there is such a record.
func (w *work) alive(k Kind, id string) (bool, error) {
	t, err := w.load(k, id)
	return t.alive(), err
}

// fact reads the body of a record that is alive.
func fact[T Fact](t *touch) (T, error) { return Body[T](*t.now) }

// change gives a record another content.
func (w *work) change(t *touch, now *Record) {
	if !t.changed {
		t.changed = true
		w.order = append(w.order, t)
	}
	t.now = now
}

// set keeps f, which is normal and has no fault. It reports whether that
// changes anything. Body is f's encoding, nil if that is not known.
func (w *work) set(t *touch, f Fact, body []byte) (bool, error) {
	if body == nil {
		var err error
		if body, err = encode(f); err != nil {
			return false, fmt.Errorf("encode %s %q: %w", t.kind, t.id, err)
		}
	}
	if len(body) > MaxRecordBytes {
		return false, refuse(CodeInvalid, "it has %d bytes, the most is %d", len(body), MaxRecordBytes)
	}
	audience, err := w.audience(f)
	if err != nil {
		return false, err
	}
	if t.alive() && bytes.Equal(t.now.Body, body) && slices.Equal(t.now.Audience, audience) {
		return false, nil
	}
	if err := w.unname(t); err != nil {
		return false, err
	}
	for _, to := range targets(f) {
		w.refer(to.owner, refTail(t.kind, t.id), &to.flag)
	}
	w.change(t, &Record{Kind: t.kind, ID: t.id, Audience: audience, Body: body})
	return true, nil
}

// remove leaves a mark instead of a record that is alive.
func (w *work) remove(t *touch) error {
	if err := w.unname(t); err != nil {
		return err
	}
	w.change(t, &Record{Kind: t.kind, ID: t.id, Deleted: true})
	return nil
}

// finish hands what was changed to the batch. Only what differs from what
// was before counts as a change, and who could see it before is derived from
// that too: nobody saw what was in between.
func (w *work) finish() error {
	b, nth := w.b, uint32(0)
	for _, t := range w.order {
		was := t.base != nil && !t.base.Deleted
		if was == t.alive() && (!was || bytes.Equal(t.base.Body, t.now.Body) && slices.Equal(t.base.Audience, t.now.Audience)) {
			continue
		}
		r := *t.now
		r.Index, r.At = w.index, w.at
		formerly(t.base, &r)
		if t.base != nil {
			b.rows[t.where.key()] = nil
		}
		at := place{w.index, nth}
		b.rows[at.key()] = r.row()
		b.rows[placeKey(t.kind, t.id)] = at.row(r.Deleted)
		b.stands[t.recordKey] = standing{at, &r}
		b.out[t.recordKey] = standing{at, &r}
		nth++
		w.counts[t.kind] += count(t.alive()) - count(was)
	}
	maps.Copy(b.rows, w.rows)
	for owner, tails := range w.refs {
		if b.refs[owner] == nil {
			b.refs[owner] = map[string]*byte{}
		}
		maps.Copy(b.refs[owner], tails)
	}
	for k, n := range w.counts {
		b.meta.count(k, n)
	}
	return nil
}

func count(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func (m *meta) count(k Kind, n int64) {
	if m.Counts[k] += uint64(n); m.Counts[k] == 0 { // adding a negative number wraps round to taking it away
		delete(m.Counts, k)
	}
}

// formerly works out who could see a record once and can't now. Above
// MaxAudience schools it is said to all: those who never saw it learn no more
// than that something of that id is gone.
func formerly(base, now *Record) {
	if base == nil || !now.Deleted && len(now.Audience) == 0 {
		return
	}
	now.AllFormer = base.AllFormer || !base.Deleted && len(base.Audience) == 0
	if now.AllFormer {
		return
	}
	former := inOrder(append(slices.Clone(base.Former), base.Audience...))
	now.Former = slices.DeleteFunc(former, func(s identity.School) bool {
		_, still := slices.BinarySearch(now.Audience, s)
		return still
	})
	if len(now.Former) == 0 {
		now.Former = nil
	}
	if len(now.Former) > MaxAudience {
		now.Former, now.AllFormer = nil, true
	}
}

// target is what a fact names.
type target struct {
	owner string
	flag  byte // 1: the resource has its audience from its collection
}

func targets(f Fact) []target {
	switch f := f.(type) {
	case Resource:
		return []target{{refOwner(KindCollection, f.Collection), byte(count(len(f.Audience) == 0))}}
	case Subscription:
		return []target{{refOwner(KindCollection, f.Collection), 0}}
	case Pin:
		if f.Resource != "" {
			return []target{{refOwner(KindResource, f.Resource), 0}}
		}
		return []target{{refOwner(KindCollection, f.Collection), 0}}
	}
	return nil
}

func (w *work) refer(owner, tail string, flag *byte) {
	if w.refs[owner] == nil {
		w.refs[owner] = map[string]*byte{}
	}
	w.refs[owner][tail] = flag
}

// unname takes back what a record that is alive names.
func (w *work) unname(t *touch) error {
	if !t.alive() {
		return nil
	}
	var f Fact
	var err error
	switch t.kind {
	case KindResource:
		f, err = fact[Resource](t)
	case KindSubscription:
		f, err = fact[Subscription](t)
	case KindPin:
		f, err = fact[Pin](t)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	for _, to := range targets(f) {
		w.refer(to.owner, refTail(t.kind, t.id), nil)
	}
	return nil
}

// named is a record that names another.
type named struct {
	recordKey
	flag byte
}

// naming lists the records of kind k (0: of any) that name another one, in
// the order of kinds and ids.
func (w *work) naming(owner string, k Kind) ([]named, error) {
	prefix := owner
	if k != 0 {
		prefix += string([]byte{byte(k)})
	}
	found := map[string]byte{}
	err := w.b.tx.Scan([]byte(prefix), nil, func(key, value []byte) bool {
		if len(key) > len(owner) && len(value) == 1 {
			found[string(key[len(owner):])] = value[0]
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, refs := range []map[string]*byte{w.b.refs[owner], w.refs[owner]} {
		for tail, flag := range refs {
			switch {
			case !strings.HasPrefix(owner+tail, prefix):
			case flag == nil:
				delete(found, tail)
			default:
				found[tail] = *flag
			}
		}
	}
	list := make([]named, 0, len(found))
	for tail, flag := range found {
		list = append(list, named{recordKey{Kind(tail[0]), tail[1:]}, flag})
	}
	slices.SortFunc(list, func(x, y named) int {
		return strings.Compare(refTail(x.kind, x.id), refTail(y.kind, y.id))
	})
	return list, nil
}

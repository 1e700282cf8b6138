package catalogue_test

import (
	"maps"
	"slices"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

var threeSchools = []identity.School{lyon, brest, nantes}

type modelKey struct {
	kind catalogue.Kind
	id   string
}

// modelRecord is a record as a person would keep it: who sees it now, and who
// has ever seen it.
type modelRecord struct {
	fact  catalogue.Fact // nil: deleted
	sees  map[identity.School]bool
	saw   map[identity.School]bool
	index uint64
	at    time.Time
}

// model is the catalogue without any of its art: every command works on a copy
// of everything.
type model struct {
	records map[modelKey]*modelRecord
	sums    map[string]uint64 // no time passes in them
	numbers map[string]uint64
	floor   uint64
	walked  uint64
	before  *model // the command
}

func newModel() *model {
	return &model{records: map[modelKey]*modelRecord{}, sums: map[string]uint64{}, numbers: map[string]uint64{}}
}

func (m *model) clone() *model {
	c := &model{map[modelKey]*modelRecord{}, maps.Clone(m.sums), maps.Clone(m.numbers), m.floor, m.walked, nil}
	for k, r := range m.records {
		q := *r
		q.sees, q.saw = maps.Clone(r.sees), maps.Clone(r.saw)
		c.records[k] = &q
	}
	return c
}

func (m *model) fact(k catalogue.Kind, id string) catalogue.Fact {
	if r := m.records[modelKey{k, id}]; r != nil {
		return r.fact
	}
	return nil
}

// apply returns the model after a command, and why it was refused.
func (m *model) apply(index uint64, c catalogue.Command) (*model, catalogue.Code) {
	n := m.clone()
	n.before = m
	defer func() { n.before = nil }()
	for _, op := range c.Ops {
		if code := n.do(op, c); code != "" {
			return m, code
		}
	}
	n.settle(m, index, c.At)
	return n, ""
}

// settle gives what differs from before its index, and notes who sees what.
func (m *model) settle(before *model, index uint64, at time.Time) {
	for k, r := range m.records {
		old := before.records[k]
		if old == nil && r.fact == nil {
			delete(m.records, k)
			continue
		}
		r.sees = map[identity.School]bool{}
		for _, s := range threeSchools {
			if r.fact != nil && m.visible(r.fact, s) {
				r.sees[s] = true
			}
		}
		if old != nil && same(old.fact, r.fact) && maps.Equal(old.sees, r.sees) {
			continue
		}
		if r.saw == nil {
			r.saw = map[identity.School]bool{}
		}
		maps.Copy(r.saw, r.sees)
		r.index, r.at = index, at
	}
}

func same(x, y catalogue.Fact) bool {
	if x == nil || y == nil {
		return x == nil && y == nil
	}
	p, err := catalogue.EncodeAny(x)
	q, err2 := catalogue.EncodeAny(y)
	return err == nil && err2 == nil && slices.Equal(p, q)
}

func (m *model) visible(f catalogue.Fact, s identity.School) bool {
	in := func(list []identity.School) bool { return len(list) == 0 || slices.Contains(list, s) }
	switch f := f.(type) {
	case catalogue.Token:
		return false
	case catalogue.Collection:
		return in(f.Audience)
	case catalogue.Resource:
		if len(f.Audience) > 0 {
			return in(f.Audience)
		}
		c, ok := m.fact(catalogue.KindCollection, f.Collection).(catalogue.Collection)
		return ok && in(c.Audience)
	case catalogue.Pin:
		return in(f.Schools)
	case catalogue.Subscription:
		return f.School == "" || f.School == s
	case catalogue.Box:
		return f.School == s
	case catalogue.Revocation:
		return f.School == "" || f.School == s
	}
	return true
}

func (m *model) do(op catalogue.Op, c catalogue.Command) catalogue.Code {
	switch {
	case op.Put != nil:
		return m.put(*op.Put, c)
	case op.Delete != nil:
		return m.delete(*op.Delete)
	case op.Redeem != nil:
		return m.redeem(*op.Redeem, c)
	case op.Count != nil:
		if m.fact(catalogue.KindBox, op.Count.Box) == nil {
			return catalogue.CodeNotFound
		}
		if op.Count.Number <= m.numbers[op.Count.Box] {
			return ""
		}
		m.numbers[op.Count.Box] = op.Count.Number
		for _, t := range op.Count.Counts {
			m.sums[t.Key] += uint64(t.N) * 1000
		}
		return ""
	case op.Prune != nil:
		return m.prune(op.Prune.Before)
	}
	return catalogue.CodeInvalid
}

func (m *model) store(f catalogue.Fact) {
	k := modelKey{f.Kind(), f.RecordID()}
	if m.records[k] == nil {
		m.records[k] = &modelRecord{}
	}
	m.records[k].fact = f
}

func (m *model) put(op catalogue.Put, c catalogue.Command) catalogue.Code {
	if op.If != nil {
		index := uint64(0)
		if r := m.before.records[modelKey{op.Kind, op.ID}]; r != nil && r.fact != nil {
			index = r.index
		}
		if index != *op.If {
			return catalogue.CodeConflict
		}
	}
	f := bodyOf(op)
	needs := func(k catalogue.Kind, id string) catalogue.Code {
		if id != "" && m.fact(k, id) == nil {
			return catalogue.CodeNotFound
		}
		return ""
	}
	old := m.fact(op.Kind, op.ID)
	switch g := f.(type) {
	case catalogue.Resource:
		if code := needs(catalogue.KindCollection, g.Collection); code != "" {
			return code
		}
	case catalogue.Subscription:
		if code := needs(catalogue.KindCollection, g.Collection); code != "" {
			return code
		}
	case catalogue.Pin:
		if code := needs(catalogue.KindCollection, g.Collection) + needs(catalogue.KindResource, g.Resource); code != "" {
			return code
		}
	case catalogue.Revocation:
		if b, ok := m.fact(catalogue.KindBox, g.Name).(catalogue.Box); ok {
			g.School = b.School
			f = g
		}
	case catalogue.Token:
		if t, ok := old.(catalogue.Token); ok && t.UsedBy != "" {
			return catalogue.CodeTokenUsed
		}
	case catalogue.Purge:
		g.By = c.By
		f = g
		if !same(old, f) {
			if g.Scope == catalogue.ScopeCollection {
				m.drop(catalogue.KindCollection, g.Target)
			} else {
				m.drop(catalogue.KindResource, g.Target)
			}
		}
	}
	m.store(f)
	return ""
}

func (m *model) delete(op catalogue.Delete) catalogue.Code {
	if m.fact(op.Kind, op.ID) == nil {
		if op.Missing {
			return ""
		}
		return catalogue.CodeNotFound
	}
	if op.Kind == catalogue.KindCollection {
		for _, r := range m.records {
			if f, ok := r.fact.(catalogue.Resource); ok && f.Collection == op.ID {
				return catalogue.CodeConflict
			}
		}
	}
	m.drop(op.Kind, op.ID)
	return ""
}

func (m *model) drop(k catalogue.Kind, id string) {
	if m.fact(k, id) == nil {
		return
	}
	m.records[modelKey{k, id}].fact = nil
	if k == catalogue.KindBox {
		delete(m.numbers, id)
	}
	for key, r := range m.records {
		gone := false
		switch f := r.fact.(type) {
		case catalogue.Resource:
			gone = k == catalogue.KindCollection && f.Collection == id
		case catalogue.Subscription:
			gone = k == catalogue.KindCollection && f.Collection == id
		case catalogue.Pin:
			gone = k == catalogue.KindCollection && f.Collection == id || k == catalogue.KindResource && f.Resource == id
		}
		if gone {
			m.drop(key.kind, key.id)
		}
	}
}

func (m *model) redeem(op catalogue.Redeem, c catalogue.Command) catalogue.Code {
	t, ok := m.fact(catalogue.KindToken, op.Token).(catalogue.Token)
	box, taken := m.fact(catalogue.KindBox, op.Name).(catalogue.Box)
	switch {
	case !ok:
		return catalogue.CodeTokenUnknown
	case m.fact(catalogue.KindRevocation, catalogue.RevocationID(identity.Box, op.Name)) != nil:
		return catalogue.CodeRevoked
	case t.UsedBy != "" && t.UsedBy == op.Name && t.UsedSPKI == op.SPKI && taken && box.SPKI == op.SPKI:
		return ""
	case t.UsedBy != "":
		return catalogue.CodeTokenUsed
	case !c.At.Before(t.NotAfter):
		return catalogue.CodeTokenExpired
	case taken && box.SPKI != op.SPKI:
		return catalogue.CodeNameTaken
	}
	m.store(catalogue.Box{Name: op.Name, School: t.School, SPKI: op.SPKI, Enrolled: c.At})
	if m.fact(catalogue.KindSchool, string(t.School)) == nil {
		m.store(catalogue.SchoolEntry{Code: t.School})
	}
	t.UsedBy, t.UsedSPKI = op.Name, op.SPKI
	m.store(t)
	return ""
}

// prune forgets along the index, up to the first record that is too new.
func (m *model) prune(before time.Time) catalogue.Code {
	var keys []modelKey
	for k := range m.records {
		keys = append(keys, k)
	}
	limit := ^uint64(0)
	for _, k := range keys {
		if r := m.records[k]; !r.at.Before(before) && r.index > m.walked {
			limit = min(limit, r.index)
		}
	}
	walked := m.walked
	for _, k := range keys {
		r := m.records[k]
		if r.index >= limit || r.index <= m.walked {
			continue
		}
		walked = max(walked, r.index)
		hid := r.fact == nil || !maps.Equal(r.saw, r.sees)
		// Tokens are seen by nobody, and still say that they were used.
		if _, purge := r.fact.(catalogue.Purge); purge || r.fact == nil {
			delete(m.records, k)
			m.floor = max(m.floor, r.index)
		} else if hid {
			r.saw = maps.Clone(r.sees)
			m.floor = max(m.floor, r.index)
		}
	}
	m.walked = walked
	return ""
}

package catalogue

import (
	"preau/replication/identity"
)

func (w *work) put(op Put) error {
	switch {
	case op.Kind.counter():
		return refuse(CodeInvalid, byHand)
	case kindNames[op.Kind] == "":
		return refuse(CodeInvalid, "there is no kind %d", uint8(op.Kind))
	case len(op.Body) > MaxRecordBytes:
		return refuse(CodeInvalid, "it has %d bytes, the most is %d", len(op.Body), MaxRecordBytes)
	}
	f, err := readFact(op.Kind, op.Body)
	if err != nil {
		// The text is a library's, and stays out of the result.
		return refuse(CodeInvalid, "the body is no %s, or not in its one form", op.Kind)
	}
	if fault := f.fault(); fault != "" {
		return refuse(CodeInvalid, "%s", fault)
	}
	if f.RecordID() != op.ID {
		return refuse(CodeInvalid, "the %s in the body has another id", op.Kind)
	}
	t, err := w.load(op.Kind, op.ID)
	if err != nil {
		return err
	}
	if op.If != nil && *op.If != t.index() {
		return refuse(CodeConflict, "the %s was changed meanwhile: it is at %d", op.Kind, t.index())
	}
	f, filled, err := w.fits(t, f)
	if err != nil {
		return err
	}
	body := op.Body
	if filled {
		body = nil
	}
	before := t.now
	changed, err := w.set(t, f, body)
	if err != nil || !changed {
		return err
	}
	return w.follows(f, before)
}

// fits looks at a fact among the others. It reports whether it filled in what
// they know.
func (w *work) fits(t *touch, f Fact) (_ Fact, filled bool, err error) {
	switch f := f.(type) {
	case Region:
		return f, false, w.sameRegion(t, f)
	case Resource:
		return f, false, w.must(KindCollection, f.Collection)
	case Subscription:
		return f, false, w.must(KindCollection, f.Collection)
	case Pin:
		if f.Resource != "" {
			return f, false, w.must(KindResource, f.Resource)
		}
		return f, false, w.must(KindCollection, f.Collection)
	case Purge:
		if f.By != "" {
			return f, false, nil
		}
		f.By = w.by
		return f, true, nil
	case Revocation:
		if f.Role != identity.Box || f.School != "" {
			return f, false, nil
		}
		box, err := w.load(KindBox, f.Name)
		if err != nil || !box.alive() {
			return f, false, err
		}
		b, err := fact[Box](box)
		f.School = b.School
		return f, true, err
	case Token:
		return f, false, w.unused(t, f)
	case Deposit:
		return f, false, w.goesOn(t, f)
	}
	return f, false, nil
}

func (w *work) sameRegion(t *touch, f Region) error {
	if !t.alive() {
		return nil
	}
	old, err := fact[Region](t)
	switch {
	case err != nil:
		return err
	case old.ID != f.ID:
		return refuse(CodeConflict, "this is region %s already", old.ID)
	case f.Epoch < old.Epoch:
		return refuse(CodeConflict, "the region is in epoch %d already", old.Epoch)
	}
	return nil
}

// unused sees to it that nobody but redeem says that a token was used.
func (w *work) unused(t *touch, f Token) error {
	if f.UsedBy != "" || f.UsedSPKI != [32]byte{} {
		return refuse(CodeInvalid, "a token is used by redeeming it")
	}
	if !t.alive() {
		return nil
	}
	old, err := fact[Token](t)
	if err != nil {
		return err
	}
	if old.UsedBy != "" {
		return refuse(CodeTokenUsed, "the token was used by %s", old.UsedBy)
	}
	return nil
}

func (w *work) must(k Kind, id string) error {
	ok, err := w.alive(k, id)
	if err == nil && !ok {
		err = refuse(CodeNotFound, "there is no %s %s", k, id)
	}
	return err
}

// audience is who may see a fact.
func (w *work) audience(f Fact) ([]identity.School, error) {
	one := func(s identity.School) []identity.School {
		if s == "" {
			return nil
		}
		return []identity.School{s}
	}
	switch f := f.(type) {
	case Box:
		return one(f.School), nil
	case Revocation:
		if f.Role != identity.Box {
			return nil, nil
		}
		return one(f.School), nil
	case Policy:
		return one(f.School), nil
	case Subscription:
		return one(f.School), nil
	case Deposit:
		return one(f.School), nil
	case Pin:
		return f.Schools, nil
	case Collection:
		return f.Audience, nil
	case Resource:
		if len(f.Audience) > 0 {
			return f.Audience, nil
		}
		t, err := w.load(KindCollection, f.Collection)
		if err != nil || !t.alive() {
			return nil, err
		}
		return t.now.Audience, nil
	}
	return nil, nil
}

// follows carries out what a change brings with it.
func (w *work) follows(f Fact, before *Record) error {
	switch f := f.(type) {
	case Collection:
		if before == nil || before.Deleted {
			return nil
		}
		return w.reveal(f, before.Audience)
	case Purge:
		switch f.Scope {
		case ScopeResource:
			return w.drop(KindResource, f.Target)
		case ScopeCollection:
			return w.empty(f.Target)
		}
	}
	return nil
}

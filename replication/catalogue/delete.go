package catalogue

import (
	"slices"

	"preau/replication/identity"
)

func (w *work) delete(op Delete) error {
	switch {
	case op.Kind.counter():
		return refuse(CodeInvalid, byHand)
	case op.Kind == KindRegion || op.Kind == KindAuthority:
		return refuse(CodeInvalid, "a region can't do without its %s", op.Kind)
	case kindNames[op.Kind] == "":
		return refuse(CodeInvalid, "there is no kind %d", uint8(op.Kind))
	case len(op.ID) > MaxIDBytes || op.ID != "" && id("", op.ID) != "":
		return refuse(CodeInvalid, "the id can't be")
	}
	t, err := w.load(op.Kind, op.ID)
	switch {
	case err != nil:
		return err
	case op.If != nil && *op.If != t.index():
		return refuse(CodeConflict, "the %s was changed meanwhile: it is at %d", op.Kind, t.index())
	case !t.alive() && op.Missing:
		return nil
	case !t.alive():
		return refuse(CodeNotFound, "there is no %s %s", op.Kind, op.ID)
	}
	if op.Kind == KindDeposit {
		f, err := fact[Deposit](t)
		if err != nil {
			return err
		}
		if !f.Kept {
			return refuse(CodeConflict, "the centre does not keep that deposit yet, and nobody else would have it")
		}
	}
	if op.Kind == KindCollection {
		in, err := w.naming(refOwner(KindCollection, op.ID), KindResource)
		if err != nil {
			return err
		}
		if len(in) > 0 {
			return refuse(CodeConflict, "the collection still has %d resources: delete them first, or purge it", len(in))
		}
	}
	return w.drop(op.Kind, op.ID)
}

// drop deletes a record, if there is one, and what can't be without it: pins,
// subscriptions, and what is noted of a box.
func (w *work) drop(k Kind, id string) error {
	t, err := w.load(k, id)
	if err != nil || !t.alive() {
		return err
	}
	if err := w.remove(t); err != nil {
		return err
	}
	switch k {
	case KindBox:
		return w.forget(id)
	case KindCollection, KindResource:
		with, err := w.naming(refOwner(k, id), 0)
		if err != nil {
			return err
		}
		for _, n := range with {
			if err := w.drop(n.kind, n.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty deletes a collection with all that is in it.
func (w *work) empty(collection string) error {
	in, err := w.naming(refOwner(KindCollection, collection), KindResource)
	if err != nil {
		return err
	}
	if err := w.together(len(in), "purge its resources first"); err != nil {
		return err
	}
	return w.drop(KindCollection, collection)
}

// together bounds what one command may bring with it.
func (w *work) together(n int, instead string) error {
	if w.moved += n; w.moved > MaxTogether {
		return refuse(CodeInvalid, "it would change %d resources at once, the most is %d: %s", w.moved, MaxTogether, instead)
	}
	return nil
}

// reveal shows the resources of a collection to those that may see it now, but
// for those that have an audience of their own.
func (w *work) reveal(c Collection, before []identity.School) error {
	if slices.Equal(before, c.Audience) {
		return nil
	}
	in, err := w.naming(refOwner(KindCollection, c.ID), KindResource)
	if err != nil {
		return err
	}
	in = slices.DeleteFunc(in, func(n named) bool { return n.flag != 1 })
	if err := w.together(len(in), "give the new audience to a new collection"); err != nil {
		return err
	}
	for _, n := range in {
		t, err := w.load(n.kind, n.id)
		if err != nil {
			return err
		}
		if t.alive() {
			w.change(t, &Record{Kind: t.kind, ID: t.id, Audience: c.Audience, Body: t.now.Body})
		}
	}
	return nil
}

package catalogue

import (
	"crypto/subtle"

	"preau/replication/identity"
)

func (w *work) redeem(op Redeem, r *Result) error {
	if fault := first(id("the token", op.Token), name(op.Name), unless(op.SPKI != [32]byte{}, "the key is missing")); fault != "" {
		return refuse(CodeInvalid, "%s", fault)
	}
	t, err := w.load(KindToken, op.Token)
	if err != nil {
		return err
	}
	if !t.alive() {
		return refuse(CodeTokenUnknown, "there is no such token")
	}
	token, err := fact[Token](t)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(token.SecretHash[:], op.SecretHash[:]) != 1 {
		return refuse(CodeTokenUnknown, "there is no such token")
	}
	if err := w.admitted(token.Role, op.Name); err != nil {
		return err
	}
	if token.UsedBy != "" {
		return w.again(token, op, r)
	}
	if !w.at.Before(token.NotAfter) {
		return refuse(CodeTokenExpired, "the token ended at %s", token.NotAfter.Format("2006-01-02 15:04 MST"))
	}
	if err := w.enter(token, op); err != nil {
		return err
	}
	token.UsedBy, token.UsedSPKI = op.Name, op.SPKI
	if _, err := w.set(t, token, nil); err != nil {
		return err
	}
	r.School, r.Role = token.School, token.Role
	return nil
}

// again answers a token that was used: to who used it as before, for that
// answer can have been lost, and to nobody else.
func (w *work) again(token Token, op Redeem, r *Result) error {
	used := refuse(CodeTokenUsed, "the token was used before")
	if token.UsedBy != op.Name || token.UsedSPKI != op.SPKI {
		return used
	}
	if token.Role == identity.Box {
		t, err := w.load(KindBox, op.Name)
		if err != nil {
			return err
		}
		if !t.alive() {
			return used
		}
		box, err := fact[Box](t)
		if err != nil {
			return err
		}
		if box.SPKI != op.SPKI {
			return used
		}
	}
	r.School, r.Role = token.School, token.Role
	return nil
}

// enter makes the records of who comes in with a token.
func (w *work) enter(token Token, op Redeem) error {
	switch token.Role {
	case identity.Server:
		// Its record is put by itself once it has an address.
		taken, err := w.alive(KindServer, op.Name)
		if err == nil && taken {
			err = refuse(CodeNameTaken, "there is a server %s already; remove it first if it is gone", op.Name)
		}
		return err
	case identity.Box:
	default:
		return nil
	}
	t, err := w.load(KindBox, op.Name)
	if err != nil {
		return err
	}
	box := Box{Name: op.Name, School: token.School, SPKI: op.SPKI, Enrolled: w.at}
	if t.alive() {
		old, err := fact[Box](t)
		if err != nil {
			return err
		}
		if old.SPKI != op.SPKI {
			return refuse(CodeNameTaken, "another box is called %s already", op.Name)
		}
		box.MayRejoin = old.MayRejoin
	}
	if _, err := w.set(t, box, nil); err != nil {
		return err
	}
	entry, err := w.load(KindSchool, string(token.School))
	if err != nil || entry.alive() {
		return err
	}
	_, err = w.set(entry, SchoolEntry{Code: token.School}, nil)
	return err
}

// admitted refuses who was revoked.
func (w *work) admitted(role identity.Role, name string) error {
	out, err := w.alive(KindRevocation, RevocationID(role, name))
	if err == nil && out {
		err = refuse(CodeRevoked, "%s %s was revoked", role, name)
	}
	return err
}

// rekey gives a box another key. Of servers and operators no key is kept: of
// them it says only that they are not revoked.
func (w *work) rekey(op Rekey, r *Result) error {
	if fault := first(name(op.Box), role(op.Role), unless(op.SPKI != [32]byte{}, "the key is missing")); fault != "" {
		return refuse(CodeInvalid, "%s", fault)
	}
	if err := w.admitted(op.Role, op.Box); err != nil {
		return err
	}
	r.Role = op.Role
	if op.Role != identity.Box {
		return nil
	}
	t, err := w.load(KindBox, op.Box)
	if err != nil {
		return err
	}
	if !t.alive() {
		return refuse(CodeNotFound, "there is no box %s", op.Box)
	}
	box, err := fact[Box](t)
	if err != nil {
		return err
	}
	box.SPKI, r.School = op.SPKI, box.School
	_, err = w.set(t, box, nil)
	return err
}

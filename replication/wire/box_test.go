package wire_test

import (
	"errors"
	"testing"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// TestABoxIsDialledByItsSchool: whoever listens under a box's name must be that
// box, of that school, with the key that was enrolled last.
func TestABoxIsDialledByItsSchool(t *testing.T) {
	now := time.Now()
	ours, foreign := newRegion(t, now.Add(-5*365*day)), newRegion(t, now)
	s := ours.serve(t, options{as: ours.box("library")})
	strange := foreign.serve(t, options{as: foreign.box("library")})
	pair, err := ours.creds(t, ours.box("other"), now).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	good := wire.Target{Name: "library", Address: s.target.Address, Role: identity.Box, School: "0690001A"}
	tests := map[string]struct {
		change func(*wire.Target)
		want   error
	}{
		"the box":           {change: func(*wire.Target) {}},
		"another name":      {func(to *wire.Target) { to.Name = "hall" }, wire.ErrRole},
		"another school":    {func(to *wire.Target) { to.School = "0690002B" }, wire.ErrForeign},
		"no school":         {func(to *wire.Target) { to.School = "" }, wire.ErrForeign},
		"an older key":      {func(to *wire.Target) { to.Key = identity.KeyOf(pair.Leaf) }, wire.ErrRevoked},
		"as a server":       {func(to *wire.Target) { to.Role = "" }, wire.ErrForeign}, // not signed for it
		"of another region": {func(to *wire.Target) { to.Address = strange.target.Address }, wire.ErrForeign},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := good
			tt.change(&target)
			tr := transport(t, dialer(t, ours.creds(t, ours.box("hall"), now), func(c *wire.DialConfig) { c.QUIC = false }), target)
			got, err := get(t.Context(), tr, "/")
			if !errors.Is(err, tt.want) || tt.want == nil && got != ours.box("hall").String() {
				t.Errorf("got %q, %v, want the error %v", got, err, tt.want)
			}
		})
	}
}

// TestABoxHoldsNoDateAgainstABox: either clock may be wrong.
func TestABoxHoldsNoDateAgainstABox(t *testing.T) {
	now := time.Now()
	ours := newRegion(t, now.Add(-5*365*day))
	s := ours.serve(t, options{as: ours.box("library"), cfg: func(c *wire.Config) { c.AnyDate = true }, issued: now.Add(-400 * day)})
	creds := ours.creds(t, ours.box("hall"), now.Add(-400*day))
	target := wire.Target{Name: "library", Address: s.target.Address, Role: identity.Box, School: "0690001A"}
	tr := transport(t, dialer(t, creds, func(c *wire.DialConfig) { c.QUIC = false }), target)
	if got, err := get(t.Context(), tr, "/"); err != nil || got != ours.box("hall").String() {
		t.Errorf("got %q, %v", got, err)
	}
	for _, p := range s.Peers() {
		if p.Lapsed {
			t.Errorf("%s counts as lapsed", p)
		}
	}
}

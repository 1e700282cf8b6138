package feed

import (
	"testing"
	"time"

	"preau/replication/identity"
)

// A box without a battery may think that it is 1970; a wrong one, 2090.
func TestNoClockOfABoxMakesASnapshotWrong(t *testing.T) {
	founded := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	ca := authorityFor(t, founded, founded.AddDate(20, 0, 0))
	// A certificate begins two days before it was made, even the first.
	cert := ca.issueFor(t, identity.Identity{Region: here, Role: identity.Server, Name: "alpha"}, founded.AddDate(0, 0, -2), founded.AddDate(1, 0, 0))
	hello := &Hello{Region: here, Epoch: 1, Mode: ModeSnapshot, Until: 1, Chain: cert.Certificate}
	for _, year := range []int{1970, 2027, 2090} {
		if _, err := newVerifier(hello, "0690001A", ca.pool(), time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
			t.Errorf("in %d: %v", year, err)
		}
	}
	if _, err := newVerifier(hello, "0690001A", newAuthority(t).pool(), time.Now()); err == nil {
		t.Error("another region's authority is believed")
	}
}

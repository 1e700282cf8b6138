package follow

import (
	"testing"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

func TestAServerThatWasRevokedIsKnown(t *testing.T) {
	f, c := opened(t)
	c.apply(t, record(t, catalogue.Revocation{Role: identity.Server, Name: "s2"}),
		record(t, catalogue.Revocation{Role: identity.Box, Name: "s3", School: school}))
	for name, want := range map[string]bool{"s1": false, "s2": true, "s3": false} {
		if f.ServerRevoked(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

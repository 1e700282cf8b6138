//go:build system && linux

package yard_test

import (
	"testing"

	"preau/node/whole/netns"
)

// prefix begins the names of all namespaces, so that what a killed run left is
// found by the next one.
const prefix = "yrd"

// host is a namespace in which the command can be run.
type host struct{ *netns.Host }

func newHost(t *testing.T, name, addr string) *host {
	t.Helper()
	return &host{netns.New(t, prefix+name, addr)}
}

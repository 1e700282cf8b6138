//go:build appliance && linux

package images_test

import (
	"os"
	"testing"

	"preau/images/hosttest"
)

func TestMain(m *testing.M) {
	hosttest.Main()
	os.Exit(m.Run())
}

// What the tests of this folder use all the time.
var (
	need   = hosttest.Need
	do     = hosttest.Do
	within = hosttest.Within
)

const epoch = hosttest.Epoch

// host is one with which this folder's tests do more.
type host struct{ *hosttest.Host }

func boot(t *testing.T) host {
	t.Helper()
	return host{hosttest.Boot(t)}
}

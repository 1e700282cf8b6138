//go:build system && linux

package yard_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// profileSeconds is how long boxes are profiled from when something begins.
const profileSeconds = 2

// profiles numbers what is kept.
var profiles atomic.Int32

// profiled keeps CPU profiles of boxes where PREAU_YARD_PROFILES says, from now
// on; it is called again to wait for them.
func profiled(t *testing.T, boxes ...*box) (wait func()) {
	t.Helper()
	dir := os.Getenv("PREAU_YARD_PROFILES")
	if dir == "" {
		return func() {}
	}
	var all sync.WaitGroup
	n := profiles.Add(1)
	for _, b := range boxes {
		all.Go(func() {
			text, err := b.look(fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds))
			if err == nil {
				name := fmt.Sprintf("%s-%d-%s.pprof", strings.ReplaceAll(t.Name(), "/", "_"), n, b.name)
				err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
	return all.Wait
}

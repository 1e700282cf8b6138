package gossip

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// label marks memberlist's goroutines. It does not wait for them when it shuts
// down: one that probes sleeps to the end of its interval. With a label, which
// goroutines hand on to those that they start, it can be seen when the last one
// has gone; and profiles say whose they are.
const label = "gossip"

// goneWithin is more than the longest probe takes.
const goneWithin = 8 * time.Second

var labels atomic.Uint64

// labelled calls f under a label of its own, and returns that.
func labelled(ctx context.Context, f func()) string {
	id := fmt.Sprintf("run-%d", labels.Add(1))
	pprof.Do(ctx, pprof.Labels(label, id), func(context.Context) { f() })
	return id
}

// gone waits until no goroutine has the label.
func gone(id string) {
	mark := fmt.Appendf(nil, "%q:%q", label, id)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var all bytes.Buffer
	for end := time.Now().Add(goneWithin); time.Now().Before(end); <-tick.C {
		all.Reset()
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil || !bytes.Contains(all.Bytes(), mark) {
			return
		}
	}
}

package region

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// gcPercent keeps what thousands of idle connections cost in memory close to
	// what they need.
	gcPercent = 50
	// tidyEvery is how often a server that does little gives back memory. A
	// collection is also what makes the stacks small again that a handshake or a
	// catch-up has made large: with thousands of boxes, most of what they cost.
	tidyEvery = 30 * time.Second
)

// limitMemory sets the collector, unless somebody has.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// runMemory gives memory back while there is nothing to do that would by
// itself, until ctx ends.
func runMemory(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	var last uint32
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.NumGC == last {
			debug.FreeOSMemory()
			m.NumGC++
		}
		last = m.NumGC
	}
}

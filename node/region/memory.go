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
	// collection is also what makes the stacks small again, by half each time,
	// that a handshake or a catch-up has made large: with thousands of boxes,
	// most of what they cost.
	tidyEvery = 30 * time.Second
	// busyAbove is how many collections within that time tell of a server that
	// has better things to do.
	busyAbove = 4
	// little is the part of the memory that is not worth a collection.
	little = 64
)

// limitMemory sets the collector, unless somebody has.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// runMemory gives memory back whenever there is time for it, until ctx ends.
func runMemory(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	var t tidier
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if t.due(m.NumGC, m.Sys-m.HeapReleased) {
			debug.FreeOSMemory()
			runtime.ReadMemStats(&m)
			t.done(m.NumGC, m.Sys-m.HeapReleased)
		}
	}
}

// tidier decides when to give memory back.
type tidier struct {
	collections uint32 // by the time of the last look
	before      uint64 // bytes from the system when that was last done
	after       uint64 // and once it was
}

// due reports whether it is worth while now, with so many collections in all and
// so many bytes from the system: the server is quiet, and has either taken more
// since the last time, or got something out of that.
func (t *tidier) due(collections uint32, bytes uint64) bool {
	busy := collections-t.collections > busyAbove
	t.collections = collections
	if busy {
		return false
	}
	worth := bytes > t.after+t.after/little || t.before > t.after+t.after/little
	t.before = bytes
	return worth
}

func (t *tidier) done(collections uint32, bytes uint64) { t.collections, t.after = collections, bytes }

package region

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// gcPercent is how much garbage may wait, in parts of what is live.
	gcPercent = 50
	// gcCrowded is the same where boxes follow. What thousands of idle
	// connections cost is what they need, and the garbage that lies between it
	// from when they were made: they come all at once after an outage, and each
	// handshake leaves far more than it keeps.
	gcCrowded = 20
	// crowd is from how many boxes on.
	crowd = 200
	// countEvery is how often they are counted: within that time some hundred
	// can come.
	countEvery = time.Second
	// tidyEvery is how often a server that does little gives back memory. A
	// collection is also what makes the stacks small again, by half each time,
	// that a handshake or a catch-up has made large: with thousands of boxes,
	// most of what they cost.
	tidyEvery = 30 * time.Second
	// busyAbove is how many collections within that time tell of a server that
	// has better things to do.
	busyAbove = 4
	// little is the part of the memory that is not worth another collection, and
	// much the part that must have been taken since to be worth one: with a
	// thousand boxes it costs as much CPU as their heartbeats of a minute.
	little, much = 64, 16
)

// limitMemory sets the collector, unless somebody has.
func limitMemory(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// percentFor is how much garbage may wait with so many boxes, where it was now
// so far: the number at which it changes is not the one at which it changes back.
func percentFor(boxes, now int) int {
	switch {
	case boxes >= crowd:
		return gcCrowded
	case boxes < crowd/2:
		return gcPercent
	}
	return now
}

// runMemory gives memory back whenever there is time for it, until ctx ends, and
// lets less garbage wait while many boxes follow.
func runMemory(ctx context.Context, boxes func() int) error {
	count, tidy := time.NewTicker(countEvery), time.NewTicker(tidyEvery)
	defer count.Stop()
	defer tidy.Stop()
	percent := gcPercent
	var t tidier
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-count.C:
			if p := percentFor(boxes(), percent); p != percent {
				percent = p
				limitMemory(percent)
			}
			continue
		case <-tidy.C:
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
	worth := bytes > t.after+t.after/much || t.before > t.after+t.after/little
	t.before = bytes
	return worth
}

func (t *tidier) done(collections uint32, bytes uint64) { t.collections, t.after = collections, bytes }

//go:build bench

package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// regionScale is how large the region of a run is.
type regionScale struct {
	boxes   int
	purges  int           // one after the other
	burst   int           // purges at once
	idle    time.Duration // how long nothing happens
	changes int           // while all boxes are away
	entries int           // of the large catalogue
	writing time.Duration // of one round of writes
	rounds  int
}

var ( // values, never changed
	normalRegion = regionScale{boxes: 3000, purges: 6, burst: 100, idle: time.Minute, changes: 10_000,
		entries: 1_000_000, writing: 8 * time.Second, rounds: 3}
	quickRegion = regionScale{boxes: 300, purges: 3, burst: 100, idle: 10 * time.Second, changes: 2_000,
		entries: 50_000, writing: 2 * time.Second, rounds: 1}
)

// What a region must reach on a machine with two cores.
const (
	wantMost      = 5 * time.Second  // a purge is with 99 % of the boxes
	wantAll       = 10 * time.Second // and with all
	wantIdle      = 0.05             // of one core, for all servers
	wantPerBox    = 60 * kiB         // of memory, on the servers
	wantCaughtUp  = 120 * time.Second
	wantServer    = giB // that no server's memory reaches
	wantRestart   = 15 * time.Second
	wantSnapshot  = 50_000_000 // bytes of records for a second of the server's CPU
	wantBox       = 100_000_000
	wantEntries   = 5000 // a second
	wantOfRawLogs = 0.6
)

// regionScenarios are the sections about a region: three servers on real disks,
// with mutual TLS on loopback, and light boxes in a process of their own.
func (b *bench) regionScenarios() []scenario {
	s := b.scale.region
	head := []string{"", "measured", "target", ""}
	return []scenario{
		{
			key: "region-boxes", title: fmt.Sprintf("A region: %d boxes follow three servers", s.boxes),
			notes: []string{"Three processes with a server each, which keep what they agree on with fsync; the boxes are in a fourth, each with a certificate and a connection of its own. " +
				"They take every batch, and acknowledge within 1.5 s as real ones do, but keep nothing. A time counts from the operator's request. " +
				"Memory is resident, mapped files included; CPU is that of the three servers together."},
			head: head, alone: true, all: b.benchRegionBoxes,
		},
		{
			key: "region-million", title: fmt.Sprintf("A catalogue of %d entries", s.entries),
			notes: []string{"One server, so that its time is its own. A restart counts from the start of the process until a new box has the first part of a snapshot. " +
				"The snapshot's bytes are those of the records' ids and bodies alone, before compression. The boxes that take it are processes that keep what they get in Badger."},
			head: head, alone: true, all: b.benchRegionMillion,
		},
		{
			key: "region-writes", title: "What a region can decide",
			notes: []string{fmt.Sprintf("Entries of one small change (a pin), %d submitters, %d rounds in turn, median. In the first rows three servers are in one process and talk TLS on loopback, with real fsync: "+
				"first with a state machine that does nothing, which is what raft and its log can do, then with the catalogue in bbolt. In the last row the entries come one by one through the port of three servers in three processes, as another server hands them on.", submitters, s.rounds)},
			head: head, alone: true, all: b.benchRegionWrites,
		},
	}
}

// regionMain is the main of the region's child processes, which are this test
// binary again.
func regionMain(args []string) (child bool) {
	if len(args) != 3 || !strings.HasPrefix(args[1], regionArgument) {
		return false
	}
	mains := map[string]func(string) error{
		"server": serverMain, "boxes": boxesMain, "copy": copyMain, "follow": followMain, "writes": writesMain,
		"central": centralMain,
	}
	role := strings.TrimPrefix(args[1], regionArgument)
	go endWithParent(os.Getppid())
	if err := mains[role](args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
	return true
}

// endWithParent ends a child whose test is gone, and that did not end when it was
// told so.
func endWithParent(parent int) {
	for os.Getppid() == parent {
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	os.Exit(1)
}

const regionArgument = "preau-bench-region-"

// verdicts writes the rows of a table with targets.
type verdicts struct {
	t   *testing.T
	out *table
}

func (v verdicts) row(what, measured, target string, met bool) {
	verdict := metOrMissed(met)
	v.t.Logf("%s: %s, target %s: %s", what, measured, target, verdict)
	v.out.row(what, measured, target, verdict)
}

func metOrMissed(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

// fact is a row without a target.
func (v verdicts) fact(what, measured string) {
	v.t.Logf("%s: %s", what, measured)
	v.out.row(what, measured, "", "")
}

package central

import "preau/replication/hold"

const (
	// RunSize is about how many bytes of a file are asked for at once, where all
	// are wanted: an answer that breaks off is worth what came of it.
	RunSize = 8 << 20
	// Running is how many runs are worth having on their way.
	Running = 3
)

// Run is a stretch of a file.
type Run struct {
	Off    int64
	Blocks []hold.Entry
}

// Runs cuts a file's blocks into runs for Client.Blocks.
func Runs(entries []hold.Entry) []Run {
	var runs []Run
	off, size := int64(0), int64(RunSize)
	for _, e := range entries {
		if size >= RunSize {
			runs, size = append(runs, Run{Off: off}), 0
		}
		last := &runs[len(runs)-1]
		last.Blocks = append(last.Blocks, e)
		off, size = off+int64(e.Length), size+int64(e.Length)
	}
	return runs
}

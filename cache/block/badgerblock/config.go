package badgerblock

import (
	"errors"
	"fmt"

	"preau/cache/block"
)

const (
	mib = 1 << 20

	minSegment = 2 * mib
	maxSegment = 256 * mib
	maxRings   = 16
)

// RingConfig describes one ring.
type RingConfig struct {
	// Name is part of the names of the ring's folders: 1 to 16 lower-case
	// letters. A ring that is renamed loses nothing: what lies under a name
	// that is no longer there counts as ring 0's.
	Name string `toml:"name"`
}

// Config says where blocks are kept and how much room they may take. The zero
// value is not usable; start from DefaultConfig.
type Config struct {
	// Dir is the store's own folder. It is created if it is not there.
	Dir string `toml:"dir"`
	// BudgetBytes bounds the disk space of everything under Dir, plus
	// ExtraUsage. It may be larger than the disk: the disk's own size, less
	// the reserve, then is the bound.
	BudgetBytes int64 `toml:"budget_bytes"`
	// Rings are the queues; a block.Ring is an index into them.
	Rings []RingConfig `toml:"rings"`
	// ReserveBytes is how much of the file system is left to others. 0 derives
	// it from the file system's size.
	ReserveBytes int64 `toml:"reserve_bytes"`
	// SegmentBytes is the unit in which room is made, in whole MiB. 0 derives
	// it from the budget or, if that is less, from the disk. It may change
	// between starts.
	SegmentBytes int64 `toml:"segment_bytes"`
	// ScrubBytesPerSecond is how fast Run reads everything again to find what
	// the disk has damaged. 0 turns it off.
	ScrubBytesPerSecond int64 `toml:"scrub_bytes_per_second"`

	// ExtraUsage, if not nil, tells what else counts against the budget. It
	// must be quick and may be called at any time.
	ExtraUsage func() int64 `toml:"-"`
	// OnDamage, if not nil, is called with each damaged block after it was
	// dropped. It must not call the store's Close.
	OnDamage func(d block.Digest, s block.Segment) `toml:"-"`
}

// DefaultConfig is a store of 2 GiB with the rings that a cache of objects
// wants. Dir is left to the caller.
func DefaultConfig() Config {
	return Config{
		BudgetBytes:         2 << 30,
		Rings:               []RingConfig{{Name: "probation"}, {Name: "main"}, {Name: "documents"}},
		ScrubBytesPerSecond: mib,
	}
}

// Validate reports every mistake in c.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: must be given"))
	}
	if len(c.Rings) == 0 || len(c.Rings) > maxRings {
		errs = append(errs, fmt.Errorf("rings: there are %d, want 1 to %d", len(c.Rings), maxRings))
	}
	seen := make(map[string]bool)
	for i, r := range c.Rings {
		if !ringName(r.Name) {
			errs = append(errs, fmt.Errorf("rings[%d].name: %q is not 1 to 16 lower-case letters", i, r.Name))
		}
		if seen[r.Name] {
			errs = append(errs, fmt.Errorf("rings[%d].name: %q is there twice", i, r.Name))
		}
		seen[r.Name] = true
	}
	if c.ReserveBytes < 0 {
		errs = append(errs, errors.New("reserve_bytes: is negative"))
	}
	if c.ScrubBytesPerSecond < 0 {
		errs = append(errs, errors.New("scrub_bytes_per_second: is negative"))
	}
	if n := c.SegmentBytes; n != 0 && (n < minSegment || n > maxSegment || n%mib != 0) {
		errs = append(errs, fmt.Errorf("segment_bytes: %d is not a whole number of MiB from 2 to 256", n))
	}
	// With less there is nothing left to evict once every ring has a segment
	// that is being written.
	if least := c.leastBudget(); c.BudgetBytes < least {
		errs = append(errs, fmt.Errorf("budget_bytes: %d is less than %d, the least for %d rings", c.BudgetBytes, least, len(c.Rings)))
	}
	return errors.Join(errs...)
}

func (c Config) leastBudget() int64 {
	return int64(2*len(c.Rings)+2) * geometryFor(c.segmentBytes(c.BudgetBytes)).cost
}

// segmentBytes is SegmentBytes or, if that is 0, a 48th of what may be used on
// a disk that has onDisk bytes for us: up to three segments' room is kept free
// for the next one and for what is carried forward, which leaves more than nine
// tenths in use.
func (c Config) segmentBytes(onDisk int64) int64 {
	if c.SegmentBytes != 0 {
		return c.SegmentBytes
	}
	n := min(c.BudgetBytes, onDisk) / 48 / mib * mib
	return min(max(n, minSegment), maxSegment)
}

func ringName(s string) bool {
	if len(s) == 0 || len(s) > 16 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// geometry is what one segment may hold and take, all of it allocated before
// the first byte is written, so that a disk filled by others cannot make a
// write through Badger's memory maps fail: such a failure is a SIGBUS.
type geometry struct {
	values  int64 // length of the value log at most
	entries int64 // entries at most
	lsm     int64 // bytes of keys and the like in the memtable at most
	ballast int64 // room for the table that the memtable becomes on closing
	cost    int64 // disk space of a segment that is being written
}

const (
	// entryOverhead bounds what Badger puts around a value and its key in the
	// value log: header (22), time stamp (8), checksum (4).
	entryOverhead = 22 + 8 + 4
	// commitOverhead bounds the mark at the end of a transaction.
	commitOverhead = 22 + 11 + 8 + 20 + 4
	// lsmOverhead bounds, beside the key, an entry's place in the memtable and
	// in its log: there, what is around the key (34), a pointer to the value
	// (12), and a transaction's mark for each entry (65).
	lsmOverhead = 112
	// smallFiles is for Badger's small files.
	smallFiles = 64 << 10
)

func geometryFor(segment int64) geometry {
	g := geometry{
		// The slack lets a whole number of full blocks fit with what is
		// around them.
		values:  segment + segment/64,
		entries: min(max(segment/4096, 1024), 16384),
	}
	g.lsm = g.entries * int64(lsmOverhead+blockKeyLen)
	g.ballast = g.entries*128 + smallFiles
	// The memtable's log is as long as lsm allows at most.
	g.cost = g.values + g.lsm + g.ballast + smallFiles
	return g
}

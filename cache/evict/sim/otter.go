package sim

import (
	"fmt"
	"math"

	"github.com/maypok86/otter/v2"
)

// tinyLFU is otter's W-TinyLFU.
type tinyLFU struct {
	cache    *otter.Cache[int, uint32]
	unit     int64
	capacity int64
}

// newTinyLFU weighs in bytes if every size fits otter's 32 bits, else in KiB.
func newTinyLFU(capacity int64, t Trace) (*tinyLFU, error) {
	unit := int64(1)
	for _, s := range t.Sizes {
		if s > math.MaxUint32 {
			unit = 1 << 10
		}
	}
	cache, err := otter.New(&otter.Options[int, uint32]{
		MaximumWeight: uint64(capacity / unit),
		Weigher:       func(_ int, weight uint32) uint32 { return weight },
		Executor:      func(task func()) { task() }, // decides before the next request, as the others do
	})
	if err != nil {
		return nil, fmt.Errorf("make otter cache: %w", err)
	}
	return &tinyLFU{cache: cache, unit: unit, capacity: capacity}, nil
}

func (c *tinyLFU) Request(object int, size int64) bool {
	if _, ok := c.cache.GetIfPresent(object); ok {
		return true
	}
	if size > c.capacity {
		return false
	}
	weight := (size + c.unit - 1) / c.unit
	c.cache.Set(object, uint32(min(weight, math.MaxUint32)))
	c.cache.CleanUp()
	return false
}

// Close ends what otter runs in the background.
func (c *tinyLFU) Close() { c.cache.StopAllGoroutines() }

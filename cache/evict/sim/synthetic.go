package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

const (
	schoolWeeks   = 8
	schoolDay     = 8 * 3600.0 // seconds of lessons
	weekSeconds   = 5 * schoolDay
	catalogue     = 20_000
	zipfExponent  = 0.9
	weeklyDrift   = 0.15 // part of the catalogue that changes rank each week
	burstRequests = 0.60 // part of requests made by a class at once
	onceRequests  = 0.15 // part of requests for something nobody asks for again
)

// Synthetic makes about n requests as a school might: objects of Zipf
// popularity that drifts from week to week, classes of 25 to 35 that open one
// object within minutes, single readers, and things asked for once. Sizes are
// those of pages and worksheets (a half), media files (two fifths) and videos
// and installers. The same seed makes the same trace. It is invented: it shows
// how policies differ in kind, not what a school would save.
func Synthetic(seed uint64, n int) Trace {
	rnd := rand.New(rand.NewPCG(seed, 0x7072656175))
	sizes := make([]int64, catalogue)
	for i := range sizes {
		sizes[i] = schoolSize(rnd)
	}
	ranks := rnd.Perm(catalogue)
	sums := make([]float64, catalogue)
	for i, sum := 0, 0.0; i < catalogue; i++ {
		sum += math.Pow(float64(i+1), -zipfExponent)
		sums[i] = sum
	}
	draw := func() int { return ranks[sort.SearchFloat64s(sums, rnd.Float64()*sums[catalogue-1])] }

	type event struct {
		at     float64
		object int
		size   int64
	}
	var events []event
	once := catalogue
	for week := range schoolWeeks {
		if week > 0 {
			for range int(weeklyDrift * catalogue / 2) {
				a, b := rnd.IntN(catalogue), rnd.IntN(catalogue)
				ranks[a], ranks[b] = ranks[b], ranks[a]
			}
		}
		start := float64(week) * weekSeconds
		for last := len(events) + n/schoolWeeks; len(events) < last; {
			at := start + rnd.Float64()*weekSeconds
			switch p := rnd.Float64() * (burstRequests/30 + 1 - burstRequests); {
			case p < burstRequests/30:
				object, within := draw(), 60+rnd.Float64()*540
				for range 25 + rnd.IntN(11) {
					events = append(events, event{at + rnd.Float64()*within, object, sizes[object]})
				}
			case p < burstRequests/30+onceRequests:
				events = append(events, event{at, once, schoolSize(rnd)})
				once++
			default:
				object := draw()
				events = append(events, event{at, object, sizes[object]})
			}
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	var b Builder[int]
	for _, e := range events {
		b.Add(e.object, e.size)
	}
	return b.Trace()
}

func schoolSize(rnd *rand.Rand) int64 {
	between := func(low, high float64) int64 { // evenly on a log scale
		return int64(low * math.Pow(high/low, rnd.Float64()))
	}
	switch p := rnd.Float64(); {
	case p < 0.5:
		return between(5e3, 1e6)
	case p < 0.9:
		return between(1e6, 11e6)
	default:
		return between(20e6, 180e6)
	}
}

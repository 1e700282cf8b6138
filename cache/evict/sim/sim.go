// Package sim replays a trace of requests through the eviction policy and
// through others, to see what share of requests and of bytes each answers from
// a cache of a given size.
//
// The policy runs as it does on a box: the same code, over rings of segments,
// of which only whole ones are removed. The others are given the benefit of
// exact accounting and single objects. It is a tool to choose constants with:
// it knows no time, no freshness, no concurrency and no failures.
package sim

import "fmt"

// Cache answers requests in the order of a trace and keeps what it likes.
type Cache interface {
	// Request reports whether the object was there. Afterwards it may be.
	Request(object int, size int64) (hit bool)
}

// Outcome is what a policy made of a trace.
type Outcome struct {
	Hits, HitBytes int64
	Carried        int64 // bytes written again to make room
}

// Policy is one way to decide what a cache of capacity bytes keeps.
type Policy struct {
	Name   string
	Replay func(t Trace, capacity int64) (Outcome, error)
}

// Result is the outcome of one policy at one size.
type Result struct {
	Outcome
	Policy          string
	Fraction        float64 // of the trace's footprint
	Capacity        int64
	Requests, Bytes int64
}

// HitRatio is the share of requests that were answered from the cache.
func (r Result) HitRatio() float64 { return float64(r.Hits) / float64(max(1, r.Requests)) }

// ByteHitRatio is the share of bytes that were answered from the cache.
func (r Result) ByteHitRatio() float64 { return float64(r.HitBytes) / float64(max(1, r.Bytes)) }

// Amplification is how many bytes were written for each byte fetched.
func (r Result) Amplification() float64 {
	fetched := r.Bytes - r.HitBytes
	return float64(fetched+r.Carried) / float64(max(1, fetched))
}

// Run replays t through each policy with caches of the given sizes, which are
// fractions of t's footprint. Results come by policy, then by size.
func Run(t Trace, sizes []float64, policies []Policy) ([]Result, error) {
	var bytes int64
	for _, q := range t.Requests {
		bytes += q.Size
	}
	var results []Result
	for _, p := range policies {
		for _, f := range sizes {
			capacity := int64(f * float64(t.Footprint))
			o, err := p.Replay(t, capacity)
			if err != nil {
				return nil, fmt.Errorf("replay through %s with %d bytes: %w", p.Name, capacity, err)
			}
			results = append(results, Result{
				Outcome: o, Policy: p.Name, Fraction: f, Capacity: capacity,
				Requests: int64(len(t.Requests)), Bytes: bytes,
			})
		}
	}
	return results, nil
}

// replay sends t through c.
func replay(t Trace, c Cache) Outcome {
	var o Outcome
	for _, q := range t.Requests {
		if c.Request(q.Object, q.Size) {
			o.Hits++
			o.HitBytes += q.Size
		}
	}
	return o
}

package sim

import "preau/cache/evict"

// Preau is the name of our own policy in results.
const Preau = "preau"

// Sizes are the cache sizes usually looked at, as fractions of the footprint.
func Sizes() []float64 { return []float64{0.01, 0.03, 0.05, 0.10, 0.25, 0.50} }

// Policies returns ours with its default settings, the policies to compare it
// with, then one that knows the future and a bound that nothing can exceed.
func Policies() []Policy {
	return []Policy{
		Configured(Preau, evict.DefaultConfig),
		exact("FIFO", func(capacity int64) Cache { return &recency{queue: newQueue(), capacity: capacity} }),
		exact("LRU", func(capacity int64) Cache { return &recency{queue: newQueue(), capacity: capacity, lru: true} }),
		exact("SIEVE", func(capacity int64) Cache { return &sieve{queue: newQueue(), capacity: capacity} }),
		exact("S3-FIFO", func(capacity int64) Cache {
			return &s3fifo{small: newQueue(), main: newQueue(), ghost: newQueue(), capacity: capacity}
		}),
		{"W-TinyLFU", func(t Trace, capacity int64) (Outcome, error) {
			c, err := newTinyLFU(capacity, t)
			if err != nil {
				return Outcome{}, err
			}
			defer c.Close()
			return replay(t, c), nil
		}},
		{"Belady", func(t Trace, capacity int64) (Outcome, error) {
			return replay(t, &belady{next: nextUses(t), capacity: capacity, cached: make(map[int]*future)}), nil
		}},
		{"bound", func(t Trace, capacity int64) (Outcome, error) {
			hits, bytes := bound(t, capacity)
			return Outcome{Hits: int64(hits), HitBytes: int64(bytes)}, nil
		}},
	}
}

// Configured returns our policy with the settings that config makes of a
// budget, under a name. Objects is set from the trace if config leaves it 0.
func Configured(name string, config func(budget int64) evict.Config) Policy {
	return configured(name, config, func(p *evict.Policy) rules { return p })
}

func configured(name string, config func(budget int64) evict.Config, wrap func(*evict.Policy) rules) Policy {
	return Policy{name, func(t Trace, capacity int64) (Outcome, error) {
		cfg := config(capacity)
		if cfg.Objects == 0 {
			share := float64(capacity) / float64(max(1, t.Footprint))
			cfg.Objects = max(1, int(share*float64(len(t.Sizes))))
		}
		p, err := evict.New(cfg)
		if err != nil {
			return Outcome{}, err
		}
		s := newSegments(wrap(p), capacity)
		o := replay(t, s)
		o.Carried = s.carried
		return o, nil
	}}
}

func exact(name string, cache func(capacity int64) Cache) Policy {
	return Policy{name, func(t Trace, capacity int64) (Outcome, error) {
		return replay(t, cache(capacity)), nil
	}}
}

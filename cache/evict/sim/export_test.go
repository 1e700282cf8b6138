package sim

import "preau/cache/evict"

// Rules lets tests replay other rules over the same segments.
type Rules = rules

// Ruled is our policy with its rules changed by wrap.
func Ruled(name string, config func(budget int64) evict.Config, wrap func(*evict.Policy) Rules) Policy {
	return configured(name, config, func(p *evict.Policy) rules { return wrap(p) })
}

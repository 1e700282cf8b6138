package evict_test

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"preau/cache/block"
	"preau/cache/evict"
)

const mib = 1 << 20

// config has shares of 100, 100 and 800 MiB.
func config() evict.Config {
	c := evict.DefaultConfig(1000 * mib)
	c.ProbationShare, c.DocumentShare, c.DocumentMax = 0.1, 0.1, mib
	return c
}

func mustNew(tb testing.TB, c evict.Config) *evict.Policy {
	tb.Helper()
	p, err := evict.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// evicted drops k from Probation.
func evicted(tb testing.TB, p *evict.Policy, k evict.Key, size int64) {
	tb.Helper()
	if keep, _ := p.Retire(k, evict.Probation, size); keep {
		tb.Fatalf("untouched object %d was kept", k)
	}
}

func TestAdmit(t *testing.T) {
	tests := map[string]struct {
		size   int64
		before func(p *evict.Policy)
		config func(c *evict.Config)
		want   block.Ring
	}{
		"small":                      {size: 10, want: evict.Documents},
		"empty":                      {size: 0, want: evict.Documents},
		"largest document":           {size: mib, want: evict.Documents},
		"smallest other":             {size: mib + 1, want: evict.Probation},
		"of unknown size":            {size: -1, want: evict.Probation},
		"as large as probation":      {size: 100 * mib, want: evict.Probation},
		"too large for probation":    {size: 100*mib + 1, want: evict.Main},
		"small without a class":      {size: 10, config: func(c *evict.Config) { c.DocumentShare = 0 }, want: evict.Probation},
		"evicted before":             {size: 2 * mib, before: func(p *evict.Policy) { p.Retire(1, evict.Probation, 2*mib) }, want: evict.Main},
		"evicted, size now unknown":  {size: -1, before: func(p *evict.Policy) { p.Retire(1, evict.Probation, 2*mib) }, want: evict.Main},
		"document evicted before":    {size: 10, before: func(p *evict.Policy) { p.Retire(1, evict.Documents, 10) }, want: evict.Main},
		"another evicted before":     {size: 10, before: func(p *evict.Policy) { p.Retire(2, evict.Documents, 10) }, want: evict.Documents},
		"evicted from main before":   {size: 10, before: func(p *evict.Policy) { p.Retire(1, evict.Main, 10) }, want: evict.Documents},
		"evicted before, then twice": {size: 10, before: func(p *evict.Policy) { p.Retire(1, evict.Documents, 10); p.Admit(1, 10) }, want: evict.Documents},
		"evicted just long enough ago": {size: 10, before: func(p *evict.Policy) {
			p.Retire(1, evict.Documents, 10)
			p.Retire(2, evict.Probation, 1001*mib)
		}, want: evict.Documents},
		"evicted not so long ago": {size: 10, before: func(p *evict.Policy) {
			p.Retire(1, evict.Documents, 10)
			p.Retire(2, evict.Probation, 990*mib)
		}, want: evict.Main},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := config()
			if tt.config != nil {
				tt.config(&c)
			}
			p := mustNew(t, c)
			if tt.before != nil {
				tt.before(p)
			}
			if got := p.Admit(1, tt.size); got != tt.want {
				t.Errorf("Admit(1, %d) = %d, want %d", tt.size, got, tt.want)
			}
		})
	}
}

func TestRetire(t *testing.T) {
	type answer struct {
		keep bool
		to   block.Ring
	}
	drop := func(r block.Ring) answer { return answer{false, r} }
	keep := answer{true, evict.Main}
	tests := map[string]struct {
		touches int
		from    []block.Ring // one call each
		want    []answer
	}{
		"untouched in probation": {0, []block.Ring{evict.Probation}, []answer{drop(evict.Probation)}},
		"untouched document":     {0, []block.Ring{evict.Documents}, []answer{drop(evict.Documents)}},
		"untouched in main":      {0, []block.Ring{evict.Main}, []answer{drop(evict.Main)}},
		"touched in probation":   {1, []block.Ring{evict.Probation}, []answer{keep}},
		"touched document":       {1, []block.Ring{evict.Documents}, []answer{keep}},
		"promotion starts anew": {3, []block.Ring{evict.Probation, evict.Main},
			[]answer{keep, drop(evict.Main)}},
		"one lap for each touch in main": {2, []block.Ring{evict.Main, evict.Main, evict.Main},
			[]answer{keep, keep, drop(evict.Main)}},
		"three laps at most": {100, []block.Ring{evict.Main, evict.Main, evict.Main, evict.Main},
			[]answer{keep, keep, keep, drop(evict.Main)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, config())
			for range tt.touches {
				p.Touch(7)
			}
			for i, from := range tt.from {
				var got answer
				got.keep, got.to = p.Retire(7, from, 5*mib)
				if got != tt.want[i] {
					t.Errorf("call %d: Retire(7, %d) = %v, want %v", i+1, from, got, tt.want[i])
				}
			}
		})
	}
}

func TestRetireOfUnknownSizeIsRemembered(t *testing.T) {
	p := mustNew(t, config())
	evicted(t, p, 1, -1)
	if got := p.Admit(1, 5*mib); got != evict.Main {
		t.Errorf("Admit = %d, want %d", got, evict.Main)
	}
}

func TestNextRing(t *testing.T) {
	tests := map[string]struct {
		used []int64 // probation, main, documents; shares 10, 80, 10
		want block.Ring
	}{
		"nothing at all":                      {nil, evict.Probation},
		"all empty":                           {[]int64{0, 0, 0}, evict.Probation},
		"each at its share":                   {[]int64{100, 800, 100}, evict.Probation},
		"probation over":                      {[]int64{101, 799, 100}, evict.Probation},
		"main over":                           {[]int64{100, 801, 99}, evict.Main},
		"documents over":                      {[]int64{99, 800, 101}, evict.Documents},
		"documents over by most":              {[]int64{110, 750, 140}, evict.Documents},
		"main holds what documents leave":     {[]int64{100, 900, 0}, evict.Main},
		"documents alone":                     {[]int64{0, 0, 1}, evict.Documents},
		"main alone":                          {[]int64{0, 1000, 0}, evict.Main},
		"probation alone":                     {[]int64{1000, 0, 0}, evict.Probation},
		"no ring but the first":               {[]int64{5}, evict.Probation},
		"half the disk: shares of what it is": {[]int64{50, 405, 45}, evict.Main},
		"a ring of someone else's":            {[]int64{100, 800, 101, 1e12}, evict.Documents},
		"far beyond any disk":                 {[]int64{math.MaxInt64, math.MaxInt64, 0}, evict.Probation},
	}
	p := mustNew(t, config())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := p.NextRing(tt.used); got != tt.want {
				t.Errorf("NextRing(%v) = %d, want %d", tt.used, got, tt.want)
			}
		})
	}
}

func TestValidateReportsEveryMistake(t *testing.T) {
	if err := evict.DefaultConfig(1 << 40).Validate(); err != nil {
		t.Errorf("default config: %v", err)
	}
	bad := evict.Config{BudgetBytes: 5, ProbationShare: math.NaN(), DocumentShare: 2, DocumentMax: -1, Objects: -1}
	_, err := evict.New(bad)
	if err == nil {
		t.Fatal("New accepted a config that is all wrong")
	}
	for _, key := range []string{"budget_bytes", "probation_share", "document_share", "document_max_bytes", "objects"} {
		if !strings.Contains(err.Error(), key+":") {
			t.Errorf("error does not name %s: %v", key, err)
		}
	}
	full := config()
	full.ProbationShare, full.DocumentShare = 0.6, 0.4
	if err := full.Validate(); err == nil {
		t.Error("shares that leave nothing for Main were accepted")
	}
}

func TestMemoryForAMillionObjects(t *testing.T) {
	c := config()
	c.Objects = 1_200_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := mustNew(t, c)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 15e6 {
		t.Errorf("a policy for 1.2 million objects takes %d bytes, want at most 15 MB", n)
	}
	runtime.KeepAlive(p)
}

// As many objects as expected, all of them touched or all evicted, must not
// blur into each other: one is lost to crowding or taken for another rarely.
func TestTablesHoldWhatTheyAreMadeFor(t *testing.T) {
	const n = 200_000
	c := config()
	c.Objects = n
	p := mustNew(t, c)
	for k := range evict.Key(n) {
		p.Touch(k)
	}
	lost := 0
	for k := range evict.Key(n) {
		if keep, _ := p.Retire(k, evict.Main, 1); !keep {
			lost++
		}
	}
	if lost > n*4/100 {
		t.Errorf("%d of %d touched objects were forgotten, want at most 4 %%", lost, n)
	}
	t.Logf("touched: %.1f %% forgotten", 100*float64(lost)/n)
	p = mustNew(t, c)
	for k := range evict.Key(n) {
		evicted(t, p, k, 1)
	}
	missed, wrong := 0, 0
	for k := range evict.Key(n) {
		if p.Admit(k+n, 10*mib) == evict.Main {
			wrong++
		}
	}
	for k := range evict.Key(n) {
		if p.Admit(k, 10*mib) != evict.Main {
			missed++
		}
	}
	t.Logf("evicted: %.1f %% forgotten, %d others taken for one", 100*float64(missed)/n, wrong)
	if missed > n*4/100 || wrong > n/1000 {
		t.Errorf("of %d evicted objects %d were forgotten and %d others taken for one, want at most 4 %% and 0.1 %%", n, missed, wrong)
	}
}

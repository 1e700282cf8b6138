package fill

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// bitmap is the naive model of spans.
type bitmap [64]bool

func (m *bitmap) of(s spans) {
	for _, p := range s {
		for i := p.from; i < p.to; i++ {
			m[i] = true
		}
	}
}

func (m *bitmap) end(pos int64) int64 {
	for pos < int64(len(m)) && m[pos] {
		pos++
	}
	return pos
}

func TestSpansAreASetOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spans
		var model bitmap
		at := rapid.Int64Range(0, int64(len(model)))
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				from, to := at.Draw(t, "from"), at.Draw(t, "to")
				s = s.add(from, to)
				for i := from; i < to; i++ {
					model[i] = true
				}
			},
			"remove": func(t *rapid.T) {
				from, to := at.Draw(t, "from"), at.Draw(t, "to")
				s = s.remove(from, to)
				for i := from; i < to; i++ {
					model[i] = false
				}
			},
			"": func(t *rapid.T) {
				var got bitmap
				got.of(s)
				if got != model {
					t.Fatalf("%v is not the set it should be", s)
				}
				for i, p := range s {
					if p.from >= p.to || i > 0 && s[i-1].to >= p.from {
						t.Fatalf("%v is not in order, or touches", s)
					}
				}
				var size int64
				for _, held := range model {
					if held {
						size++
					}
				}
				if s.size() != size {
					t.Fatalf("size of %v = %d, want %d", s, s.size(), size)
				}
				pos, limit := at.Draw(t, "pos"), at.Draw(t, "limit")
				if got, want := s.end(pos), model.end(pos); got != want {
					t.Fatalf("end(%d) of %v = %d, want %d", pos, s, got, want)
				}
				if limit >= pos {
					want := pos
					for want < limit && !model[want] {
						want++
					}
					if got := s.next(pos, limit); got != want {
						t.Fatalf("next(%d, %d) of %v = %d, want %d", pos, limit, s, got, want)
					}
					if got, want := s.covers(pos, limit), model.end(pos) >= limit; got != want {
						t.Fatalf("covers(%d, %d) of %v = %v", pos, limit, s, got)
					}
				}
			},
		})
	})
}

func TestPlan(t *testing.T) {
	p := planner{near: 10, skip: 5, most: 3}
	tests := map[string]struct {
		have   spans
		length int64
		flying []flight
		wants  []want
		plan   []span
	}{
		"nothing wanted":                         {length: 100},
		"all of it":                              {length: 100, wants: []want{{0, endless, true}}, plan: []span{{0, 100}}},
		"of unknown length":                      {length: endless, wants: []want{{0, endless, true}}, plan: []span{{0, endless}}},
		"all is held":                            {have: spans{{0, 100}}, length: 100, wants: []want{{0, 100, false}}},
		"the class shares a fetch":               {length: 100, wants: []want{{0, 100, true}, {0, 100, true}, {0, 50, true}}, plan: []span{{0, 100}}},
		"a reader far ahead gets its own":        {length: 100, flying: []flight{{0, 100}}, wants: []want{{0, 100, true}, {50, 100, true}}, plan: []span{{50, 100}}},
		"a reader just ahead waits":              {length: 100, flying: []flight{{40, 100}}, wants: []want{{50, 100, true}}},
		"one who has enough to read waits too":   {have: spans{{50, 80}}, length: 100, flying: []flight{{0, 100}}, wants: []want{{0, 40, true}, {50, 80, false}}},
		"up to what is held":                     {have: spans{{50, 80}}, length: 100, wants: []want{{0, 100, true}}, plan: []span{{0, 50}}},
		"up to what is flying":                   {length: 100, flying: []flight{{50, 80}}, wants: []want{{0, 100, true}}, plan: []span{{0, 50}}},
		"behind what stops a fetch":              {have: spans{{20, 40}}, length: 100, flying: []flight{{0, 100}}, wants: []want{{20, 100, false}}, plan: []span{{40, 100}}},
		"a short run does not stop it":           {have: spans{{20, 24}}, length: 100, flying: []flight{{0, 100}}, wants: []want{{20, 100, false}}},
		"no more than the bound":                 {length: 100, wants: []want{{0, 5, true}, {20, 25, true}, {40, 45, true}, {60, 65, true}}, plan: []span{{0, 5}, {20, 25}, {40, 45}}},
		"those who wait first":                   {have: spans{{0, 2}}, length: 100, flying: []flight{{30, 40}, {50, 60}}, wants: []want{{0, 10, false}, {80, 90, true}}, plan: []span{{80, 90}}},
		"beyond the end":                         {length: 100, wants: []want{{100, endless, true}, {200, 300, true}}},
		"of two at one place one goes on":        {length: 100, flying: []flight{{50, 50}, {50, 100}}, wants: []want{{50, 100, true}}},
		"what a fetch brings is not asked again": {length: 100, flying: []flight{{0, 50}}, wants: []want{{0, 100, true}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := p.plan(tt.have, tt.length, tt.flying, tt.wants); !slices.Equal(got, tt.plan) {
				t.Errorf("plan = %v, want %v", got, tt.plan)
			}
		})
	}
}

func TestPlanNeverFetchesTwiceAndStarvesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 60
		draw := func(name string) span {
			from := rapid.Int64Range(0, size-1).Draw(t, name)
			return span{from, rapid.Int64Range(from+1, size).Draw(t, name)}
		}
		p := planner{
			near: rapid.Int64Range(0, 20).Draw(t, "near"), skip: rapid.Int64Range(0, 10).Draw(t, "skip"),
			most: rapid.IntRange(1, 6).Draw(t, "most"),
		}
		var have spans
		for range rapid.IntRange(0, 4).Draw(t, "held") {
			s := draw("held")
			have = have.add(s.from, s.to)
		}
		var flying []flight
		for range rapid.IntRange(0, 3).Draw(t, "flights") {
			s := draw("flight")
			if rapid.Bool().Draw(t, "at its end") {
				s.from = s.to
			}
			flying = append(flying, flight{s.from, s.to})
		}
		var wants []want
		for range rapid.IntRange(0, 8).Draw(t, "wants") {
			s := draw("want")
			wants = append(wants, want{s.from, s.to, rapid.Bool().Draw(t, "waiting")})
		}
		length := rapid.Int64Range(1, size).Draw(t, "length")
		plan := p.plan(have, length, flying, wants)

		if len(plan) > 0 && len(flying)+len(plan) > p.most {
			t.Fatalf("%d flying and %d planned, bound %d", len(flying), len(plan), p.most)
		}
		all := slices.Clone(flying)
		for k, g := range plan {
			if g.from >= g.to || g.to > length {
				t.Fatalf("planned %v of %d", g, length)
			}
			if have.next(g.from, g.to) < g.to {
				t.Fatalf("planned %v of which some is held: %v", g, have)
			}
			for _, o := range plan[:k] {
				if g.from < o.to && o.from < g.to && g.from <= o.from {
					t.Fatalf("planned %v and %v", o, g)
				}
			}
			// A fetch that starts ahead of another is where that one ends.
			for _, f := range all {
				if f.pos == g.from && f.to > g.from {
					t.Fatalf("planned %v, which %v is about to bring", g, f)
				}
				if f.pos > g.from && f.pos < g.to {
					t.Fatalf("planned %v into %v", g, f)
				}
			}
			all = append(all, flight{g.from, g.to})
		}
		if len(all) >= p.most {
			return
		}
		for _, w := range wants {
			from := have.end(w.pos)
			if from >= min(w.end, length) {
				continue
			}
			if !p.served(have, all, from, w.waiting && from == w.pos) {
				t.Fatalf("%v gets nothing: held %v, flying %v", w, have, all)
			}
		}
	})
}

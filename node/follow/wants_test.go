package follow

import (
	"slices"
	"testing"
	"time"

	"preau/replication/catalogue"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func library() *known {
	day := func(d int) time.Time { return noon.AddDate(0, 0, d) }
	return &known{
		near: map[string]*resource{
			"atlas":  {collection: "geo", length: 10, modified: day(-3)},
			"map":    {collection: "geo", length: 10, modified: day(-1)},
			"exam":   {collection: "maths", length: 10, expires: day(1), modified: day(-2)},
			"old":    {collection: "geo", length: 10, expires: day(-1)},
			"song":   {collection: "music", length: 10},
			"choir":  {collection: "music", length: 100},
			"violin": {collection: "music", length: 15},
		},
		pins:          map[string]catalogue.Pin{},
		subscriptions: map[string]catalogue.Subscription{},
		policies:      map[string]catalogue.Policy{},
	}
}

func ids(wants []want) []string {
	var out []string
	for _, w := range wants {
		id := w.id
		if w.pinned {
			id += "!"
		}
		out = append(out, id)
	}
	return out
}

func TestWants(t *testing.T) {
	hour := time.Hour
	tests := map[string]struct {
		set  func(k *known)
		want []string
		next time.Time
	}{
		"nothing asked for": {set: func(*known) {}, next: noon.AddDate(0, 0, 1)},
		"a subscription, newest first, without what has expired": {
			set:  func(k *known) { k.subscriptions["s"] = catalogue.Subscription{Collection: "geo"} },
			want: []string{"map", "atlas"}, next: noon.AddDate(0, 0, 1),
		},
		"another school's subscription": {
			set:  func(k *known) { k.subscriptions["s"] = catalogue.Subscription{Collection: "geo", School: "0750001B"} },
			next: noon.AddDate(0, 0, 1),
		},
		"a pin comes first and makes a subscription's a pinned one": {
			set: func(k *known) {
				k.subscriptions["s"] = catalogue.Subscription{Collection: "geo"}
				k.pins["p"] = catalogue.Pin{Resource: "atlas", Until: noon.Add(hour)}
				k.pins["q"] = catalogue.Pin{Collection: "maths"}
			},
			want: []string{"exam!", "atlas!", "map"}, next: noon.Add(hour),
		},
		"pins that have not begun, or are over": {
			set: func(k *known) {
				k.pins["p"] = catalogue.Pin{Resource: "atlas", From: noon.Add(2 * hour)}
				k.pins["q"] = catalogue.Pin{Resource: "map", Until: noon}
				k.pins["r"] = catalogue.Pin{Resource: "map", Schools: nil, From: noon.Add(3 * hour)}
			},
			next: noon.Add(2 * hour),
		},
		"hints, as far as there is room for them": {
			set: func(k *known) {
				k.hints = []catalogue.Hint{{Key: "r/choir"}, {Key: "o/site/x"}, {Key: "r/song"}, {Key: "r/violin"}, {Key: "r/unknown"}}
				k.policies[""] = catalogue.Policy{PrefetchPopular: 20}
			},
			want: []string{"song"}, next: noon.AddDate(0, 0, 1),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := library()
			tt.set(k)
			got, next := k.wants("0690001A", noon)
			if !slices.Equal(ids(got), tt.want) || !next.Equal(tt.next) {
				t.Errorf("%v until %v, want %v until %v", ids(got), next, tt.want, tt.next)
			}
		})
	}
}

func TestASchoolsPolicyFillsUpFromEverybodys(t *testing.T) {
	k := library()
	k.policies[""] = catalogue.Policy{PrefetchRate: 1000, KAnonymity: 5, PrefetchHours: []catalogue.Hours{{From: 0, To: 60}}}
	k.policies["0690001A"] = catalogue.Policy{PrefetchRate: 50}
	if p := k.policy("0690001A"); p.PrefetchRate != 50 || p.KAnonymity != 5 || len(p.PrefetchHours) != 1 {
		t.Errorf("%+v", p)
	}
	if p := k.policy("0750001B"); p.PrefetchRate != 1000 {
		t.Errorf("another school: %+v", p)
	}
}

func TestWithin(t *testing.T) {
	at := func(h, m int) time.Time { return time.Date(2026, 11, 23, h, m, 30, 0, time.UTC) }
	night := []catalogue.Hours{{From: 22 * 60, To: 6 * 60}}
	tests := map[string]struct {
		hours []catalogue.Hours
		now   time.Time
		ok    bool
		next  time.Time
	}{
		"no hours":              {now: at(12, 0), ok: true},
		"noon, nights only":     {hours: night, now: at(12, 0), next: time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)},
		"before midnight":       {hours: night, now: at(23, 59), ok: true},
		"after midnight":        {hours: night, now: at(0, 0), ok: true},
		"the end is not in it":  {hours: night, now: at(6, 0), next: time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)},
		"the next of two spans": {hours: []catalogue.Hours{{From: 60, To: 120}, {From: 13 * 60, To: 14 * 60}}, now: at(12, 30), next: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)},
		"the first of tomorrow": {hours: []catalogue.Hours{{From: 60, To: 120}}, now: at(12, 0), next: time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if ok, next := within(tt.hours, tt.now); ok != tt.ok || !next.Equal(tt.next) {
				t.Errorf("%v, %v; want %v, %v", ok, next, tt.ok, tt.next)
			}
		})
	}
}

func TestTheClockIsBelievedWithinReason(t *testing.T) {
	recorded := noon
	certificate := noon.AddDate(0, 3, 0)
	tests := map[string]struct{ now, want time.Time }{
		"right":             {noon.Add(time.Hour), noon.Add(time.Hour)},
		"lapsed for months": {noon.AddDate(1, 0, 0), noon.AddDate(1, 0, 0)},
		"no battery":        {time.Unix(0, 0), recorded},
		"far in the future": {noon.AddDate(60, 0, 0), recorded},
		"a minute too slow": {noon.Add(-time.Minute), recorded},
	}
	for name, tt := range tests {
		if got := clock(tt.now, recorded, certificate); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

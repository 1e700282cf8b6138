package main

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	now := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(2940), "2,940"}, {count(-1234567), "-1,234,567"},
		{some(1, "box", "boxes"), "1 box"}, {some(0, "box", "boxes"), "0 boxes"}, {some(2940, "box", "boxes"), "2,940 boxes"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.0 KiB"}, {size(1<<20 - 1), "1.0 MiB"}, {size(30_000_000), "29 MiB"},
		{size(5 << 40), "5.0 TiB"}, {size(5000 << 40), "5000 TiB"},
		{when(time.Time{}, now), "never"}, {when(now, now), "now"}, {when(now.Add(-45*time.Second), now), "45 s ago"},
		{when(now.Add(-3*time.Minute), now), "3 min ago"}, {when(now.Add(-26*time.Hour), now), "26 h ago"},
		{when(now.Add(-12*24*time.Hour), now), "12 days ago"}, {when(now.Add(7*24*time.Hour), now), "in 7 days"},
		{nodeName("Biblio_1.school.example"), "biblio-1"}, {nodeName("--"), ""}, {nodeName("École"), "cole"},
		{oneLine("a\x1b[31m\nb"), "a [31m b"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
	if long := nodeName("a123456789b123456789c123456789d12345678-more"); long != "a123456789b123456789c123456789d12345678" {
		t.Errorf("long name %q", long)
	}
}

func TestMoments(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-09-01":                time.Date(2026, 9, 1, 0, 0, 0, 0, time.Local),
		"2026-09-01T08:30":          time.Date(2026, 9, 1, 8, 30, 0, 0, time.Local),
		"2026-09-01 08:30":          time.Date(2026, 9, 1, 8, 30, 0, 0, time.Local),
		"2026-09-01T08:30:00+02:00": time.Date(2026, 9, 1, 6, 30, 0, 0, time.UTC),
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || !m.Equal(want) {
			t.Errorf("%s = %v, %v; want %v", text, m, err, want)
		}
	}
	var m moment
	if err := m.UnmarshalText([]byte("soon")); err == nil {
		t.Error("soon was taken for a time")
	}
}

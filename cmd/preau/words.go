package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"preau/node/config"
)

// count writes a number as people read it: 2,940.
func count[N int | int64 | uint64](n N) string {
	text := fmt.Sprint(n)
	digits, sign := strings.CutPrefix(text, "-")
	var b strings.Builder
	if sign {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// some is a number of things: "1 box", "2 boxes".
func some[N int | int64 | uint64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + more
}

// size writes a number of bytes roughly.
func size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n) / 1024
	i := 0
	for ; v >= 1023.95 && i < len(units)-1; i++ {
		v /= 1024
	}
	if v >= 10 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// when says how far t is from now.
func when(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	if d < -time.Second {
		return "in " + span(-d)
	}
	if d < 2*time.Second {
		return "now"
	}
	return span(d) + " ago"
}

// span is a length of time in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	case d < 2*config.Day:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
	}
	return fmt.Sprintf("%s days", count(int64((d+config.Day/2)/config.Day)))
}

// moment is a point in time that somebody wrote: a day, or a day and an hour.
type moment struct{ time.Time }

var momentLayouts = []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// UnmarshalText reads it. What has no zone is in the zone of this machine.
func (m *moment) UnmarshalText(text []byte) error {
	for _, layout := range momentLayouts {
		if t, err := time.ParseInLocation(layout, string(text), time.Local); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q is not a time: write it like 2026-09-01, 2026-09-01T08:00 or 2026-09-01T08:00:00+02:00", text)
}

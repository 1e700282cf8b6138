package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time. In files and flags it always has a unit: "30s",
// "1h30m", "7d". A day is 24 hours.
type Duration time.Duration

// Day is the unit that the standard library lacks.
const Day = 24 * time.Hour

var leadingDays = regexp.MustCompile(`^([0-9]+)d`)

// ParseDuration reads a length of time, which cannot be negative.
func ParseDuration(text string) (Duration, error) {
	s := strings.ReplaceAll(strings.TrimSpace(text), " ", "")
	if s == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%q lacks its unit: write it like %[2]ss, %[2]sm, %[2]sh or %[2]sd", text, s)
	}
	var days time.Duration
	if m := leadingDays.FindStringSubmatch(s); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || n > math.MaxInt64/int64(Day)-1 {
			return 0, fmt.Errorf("%q is longer than can be counted", text)
		}
		days = time.Duration(n) * Day
		if s = s[len(m[0]):]; s == "" {
			return Duration(days), nil
		}
	}
	rest, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a length of time: write it like 30s, 2h, 7d or 1h30m`, text)
	}
	if rest < 0 {
		return 0, fmt.Errorf("%q: a length of time cannot be negative", text)
	}
	if days > math.MaxInt64-rest {
		return 0, fmt.Errorf("%q is longer than can be counted", text)
	}
	return Duration(days + rest), nil
}

// Std is d as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d without needless zeros: 7d, 2h, 1h30m.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	if d.Std()%Day == 0 {
		return strconv.FormatInt(int64(d.Std()/Day), 10) + "d"
	}
	s := d.Std().String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText makes durations readable wherever they are printed.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration for files and flags.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size. In files and flags it is written with a unit, "2GiB" or
// "500 MB", or as a plain number of bytes.
type Bytes int64

// The units that sizes are written in.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var byteUnits = []struct {
	name string
	size Bytes
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
}

// ParseBytes reads a size. Letters may be of either case; "2G" is refused
// because half of its readers take it for 7 % more than the other half.
func ParseBytes(text string) (Bytes, error) {
	s := strings.TrimSpace(text)
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	number, unit := s[:end], strings.TrimSpace(s[end:])
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("%q: a size cannot be negative", text)
	}
	size, err := unitSize(unit)
	if err != nil {
		return 0, fmt.Errorf("%q %w", text, err)
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		if whole > math.MaxInt64/int64(size) {
			return 0, fmt.Errorf("%q is more bytes than can be counted", text)
		}
		return Bytes(whole) * size, nil
	}
	fraction, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write it like 2GiB or 500MB", text)
	}
	if fraction *= float64(size); fraction >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more bytes than can be counted", text)
	}
	return Bytes(fraction), nil
}

func unitSize(unit string) (Bytes, error) {
	if unit == "" || strings.EqualFold(unit, "B") {
		return 1, nil
	}
	for _, u := range byteUnits {
		if strings.EqualFold(unit, u.name) {
			return u.size, nil
		}
	}
	if len(unit) == 1 && strings.ContainsAny(unit, "kKmMgGtT") {
		u := strings.ToUpper(unit)
		return 0, fmt.Errorf("is ambiguous: write %siB (powers of 1024) or %sB (powers of 1000)", u, u)
	}
	return 0, fmt.Errorf("is not a size: write it like 2GiB or 500MB")
}

// String writes the size in the largest unit that loses nothing.
func (b Bytes) String() string {
	if b == 0 {
		return "0"
	}
	for _, u := range byteUnits {
		if b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText makes sizes readable wherever they are printed.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseBytes for files and flags.
func (b *Bytes) UnmarshalText(text []byte) error {
	parsed, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

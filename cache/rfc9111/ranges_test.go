package rfc9111_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

func TestRFC9110_14_2_Range(t *testing.T) {
	type spans = []rfc9111.Span
	tests := map[string]struct {
		value string
		size  int64
		want  spans
		err   error
	}{
		"first bytes":             {"bytes=0-1", 11, spans{{0, 2}}, nil},
		"one byte":                {"bytes=10-10", 11, spans{{10, 1}}, nil},
		"to the end":              {"bytes=1-", 11, spans{{1, 10}}, nil},
		"beyond the end":          {"bytes=5-99", 11, spans{{5, 6}}, nil},
		"far beyond the end":      {"bytes=5-99999999999999999999999", 11, spans{{5, 6}}, nil},
		"suffix":                  {"bytes=-3", 11, spans{{8, 3}}, nil},
		"suffix longer than all":  {"bytes=-300", 11, spans{{0, 11}}, nil},
		"unit in capitals":        {"BYTES=0-1", 11, spans{{0, 2}}, nil},
		"two":                     {"bytes=0-1,5-6", 11, spans{{0, 2}, {5, 2}}, nil},
		"two in their order":      {"bytes=5-6, 0-1", 11, spans{{5, 2}, {0, 2}}, nil},
		"white space and empties": {"bytes= ,0-1 ,, 5-6\t,", 11, spans{{0, 2}, {5, 2}}, nil},
		"overlapping":             {"bytes=0-5,3-8", 11, spans{{0, 9}}, nil},
		"touching":                {"bytes=0-4,5-8", 11, spans{{0, 9}}, nil},
		"inside another":          {"bytes=0-8,3-4", 11, spans{{0, 9}}, nil},
		"the same twice":          {"bytes=3-4,3-4", 11, spans{{3, 2}}, nil},
		"bridging":                {"bytes=8-9,0-1,2-7", 11, spans{{0, 10}}, nil},
		"joined at the first":     {"bytes=5-6,0-0,7-8", 11, spans{{5, 4}, {0, 1}}, nil},
		"one of two satisfiable":  {"bytes=20-30,0-1", 11, spans{{0, 2}}, nil},
		"after the end":           {"bytes=11-", 11, nil, rfc9111.ErrUnsatisfiable},
		"far after the end":       {"bytes=99999999999999999999-", 11, nil, rfc9111.ErrUnsatisfiable},
		"last nothing":            {"bytes=-0", 11, nil, rfc9111.ErrUnsatisfiable},
		"anything of nothing":     {"bytes=0-", 0, nil, rfc9111.ErrUnsatisfiable},
		"the end of nothing":      {"bytes=-5", 0, nil, rfc9111.ErrNoRange},
		"another unit":            {"lines=0-1", 11, nil, rfc9111.ErrNoRange},
		"no unit":                 {"0-1", 11, nil, rfc9111.ErrNoRange},
		"no range":                {"bytes=", 11, nil, rfc9111.ErrNoRange},
		"backwards":               {"bytes=5-4", 11, nil, rfc9111.ErrNoRange},
		"one of two backwards":    {"bytes=0-1,5-4", 11, nil, rfc9111.ErrNoRange},
		"no dash":                 {"bytes=5", 11, nil, rfc9111.ErrNoRange},
		"only a dash":             {"bytes=-", 11, nil, rfc9111.ErrNoRange},
		"negative":                {"bytes=--5", 11, nil, rfc9111.ErrNoRange},
		"plus":                    {"bytes=+1-2", 11, nil, rfc9111.ErrNoRange},
		"hexadecimal":             {"bytes=0x0-0x1", 11, nil, rfc9111.ErrNoRange},
		"white space inside":      {"bytes=0 - 1", 11, nil, rfc9111.ErrNoRange},
		"three":                   {"bytes=0-1-2", 11, nil, rfc9111.ErrNoRange},
		"sixteen":                 {"bytes=" + strings.Repeat("0-0,", 16), 11, spans{{0, 1}}, nil},
		"seventeen":               {"bytes=" + strings.Repeat("0-0,", 17), 11, nil, rfc9111.ErrNoRange},
		"size unknown":            {"bytes=0-1", -1, nil, rfc9111.ErrNoRange},
		"greatest size":           {"bytes=0-9223372036854775807", math.MaxInt64, spans{{0, math.MaxInt64}}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := rfc9111.ParseRange(tt.value, tt.size)
			if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("ParseRange(%q, %d) = %v, %v, want %v, %v", tt.value, tt.size, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestRFC9110_14_1_2_RangeOfUnknownSize(t *testing.T) {
	got, err := rfc9111.ParseRangeSpecs("bytes=5-9, 7-, -3")
	want := []rfc9111.RangeSpec{{First: 5, Last: 9, Suffix: -1}, {First: 7, Last: -1, Suffix: -1}, {First: -1, Last: -1, Suffix: 3}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ParseRangeSpecs = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "bytes", "bytes=", "bytes=1", "bytes=2-1", "x=1-2", "bytes=" + strings.Repeat("0-0,", 17)} {
		if got, err := rfc9111.ParseRangeSpecs(bad); !errors.Is(err, rfc9111.ErrNoRange) {
			t.Errorf("ParseRangeSpecs(%q) = %v, %v", bad, got, err)
		}
	}
}

func TestRFC9110_14_4_ContentRange(t *testing.T) {
	tests := map[string]struct {
		value            string
		off, last, total int64
		bad              bool
	}{
		"whole":            {value: "bytes 4-9/10", off: 4, last: 9, total: 10},
		"unknown total":    {value: "bytes 4-9/*", off: 4, last: 9, total: -1},
		"unsatisfied":      {value: "bytes */10", off: -1, last: -1, total: 10},
		"unit in capitals": {value: "Bytes 0-0/1", off: 0, last: 0, total: 1},
		"nothing known":    {value: "bytes */*", bad: true},
		"backwards":        {value: "bytes 9-4/10", bad: true},
		"last is total":    {value: "bytes 4-10/10", bad: true},
		"another unit":     {value: "lines 4-9/10", bad: true},
		"equals sign":      {value: "bytes=4-9/10", bad: true},
		"no total":         {value: "bytes 4-9", bad: true},
		"no last":          {value: "bytes 4-/10", bad: true},
		"no first":         {value: "bytes -9/10", bad: true},
		"no dash":          {value: "bytes 4/10", bad: true},
		"negative total":   {value: "bytes 4-9/-10", bad: true},
		"two spaces":       {value: "bytes  4-9/10", bad: true},
		"too great":        {value: "bytes 0-99999999999999999999/*", bad: true},
		"total too great":  {value: "bytes 0-9/99999999999999999999", bad: true},
		"two of them":      {value: "bytes 4-9/10, bytes 0-1/10", bad: true},
		"empty":            {bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			off, last, total, err := rfc9111.ParseContentRange(tt.value)
			if tt.bad {
				if !errors.Is(err, rfc9111.ErrContentRange) {
					t.Errorf("ParseContentRange(%q) = %d-%d/%d, %v", tt.value, off, last, total, err)
				}
				return
			}
			if err != nil || off != tt.off || last != tt.last || total != tt.total {
				t.Errorf("ParseContentRange(%q) = %d-%d/%d, %v", tt.value, off, last, total, err)
			}
		})
	}
}

// Joining loses no byte that was asked for and adds none, whatever the order.
func TestRangesCoverWhatWasAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 24
		var want [size]bool
		var parts []string
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			first := rapid.IntRange(0, size+4).Draw(t, "first")
			last := rapid.IntRange(first, size+8).Draw(t, "last")
			parts = append(parts, fmt.Sprintf("%d-%d", first, last))
			for i := first; i <= last && i < size; i++ {
				want[i] = true
			}
		}
		spans, err := rfc9111.ParseRange("bytes="+strings.Join(parts, ","), size)
		if err != nil && !errors.Is(err, rfc9111.ErrUnsatisfiable) {
			t.Fatal(err)
		}
		var got [size]bool
		for i, s := range spans {
			if s.Len <= 0 || s.Off < 0 || s.End() > size {
				t.Fatalf("span %v leaves the body", s)
			}
			for j := s.Off; j < s.End(); j++ {
				if got[j] {
					t.Fatalf("byte %d twice in %v", j, spans)
				}
				got[j] = true
			}
			for _, u := range spans[:i] {
				if u.End() == s.Off || s.End() == u.Off {
					t.Fatalf("%v and %v touch", u, s)
				}
			}
		}
		if got != want {
			t.Fatalf("%v covers %v, want %v", spans, got, want)
		}
	})
}

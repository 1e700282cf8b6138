package update

import (
	"fmt"
	"strings"
	"time"
)

// Night is when a box changes over if nobody says otherwise: that cuts what it is
// sending.
var Night = []string{"01:00-05:00"}

// Span is a part of the day, in minutes; one whose end is not after its beginning
// goes over midnight.
type Span struct{ From, To int }

// ParseHours reads spans such as 22:00-06:00; any, or nothing, is none.
func ParseHours(texts []string) ([]Span, error) {
	var out []Span
	for _, text := range texts {
		if text == "any" && len(texts) == 1 {
			return nil, nil
		}
		from, to, ok := strings.Cut(text, "-")
		f, err1 := minutes(from)
		t, err2 := minutes(to)
		if !ok || err1 != nil || err2 != nil || f == t {
			return nil, fmt.Errorf("%q is not a span of the day: write it like 22:00-06:00, or any alone", text)
		}
		out = append(out, Span{f, t})
	}
	return out, nil
}

func minutes(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err
}

// within reports whether a time is in one of the spans. Without any, every time is.
func within(spans []Span, now time.Time) bool {
	minute := now.Hour()*60 + now.Minute()
	for _, s := range spans {
		if s.From < s.To && minute >= s.From && minute < s.To || s.From > s.To && (minute >= s.From || minute < s.To) {
			return true
		}
	}
	return len(spans) == 0
}

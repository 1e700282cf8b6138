package rfc9111

import (
	"errors"
	"math"
	"slices"
	"strings"
)

var (
	// ErrNoRange reports that a Range field must be ignored: it is not in
	// bytes, or malformed, or asks for more pieces than we care to send.
	ErrNoRange = errors.New("range is to be ignored")
	// ErrUnsatisfiable reports that none of the bytes asked for exist: the
	// answer is 416.
	ErrUnsatisfiable = errors.New("range cannot be satisfied")
	// ErrContentRange reports a Content-Range that cannot be trusted.
	ErrContentRange = errors.New("content-range is not valid")
)

// maxSpans bounds the pieces of one request (RFC 9110 section 14.2 warns of
// many small ranges).
const maxSpans = 16

// Span is a run of bytes of a body.
type Span struct{ Off, Len int64 }

// End returns the offset behind the last byte.
func (s Span) End() int64 { return s.Off + s.Len }

// RangeSpec is one range as it was asked for, before the size is known (RFC
// 9110 section 14.1.2). With Suffix >= 0 it is the last Suffix bytes; else it
// is First to Last, or to the end if Last is -1.
type RangeSpec struct{ First, Last, Suffix int64 }

// Resolve returns the bytes that the spec means in a body of a known size.
func (r RangeSpec) Resolve(size int64) (Span, bool) {
	if r.Suffix >= 0 {
		n := min(r.Suffix, size)
		return Span{size - n, n}, n > 0
	}
	if r.First >= size {
		return Span{}, false
	}
	last := size - 1
	if r.Last >= 0 {
		last = min(last, r.Last)
	}
	return Span{r.First, last - r.First + 1}, true
}

// ParseRangeSpecs reads a Range field. Its error is ErrNoRange.
func ParseRangeSpecs(value string) ([]RangeSpec, error) {
	rest, ok := bytesUnit(value)
	if !ok {
		return nil, ErrNoRange
	}
	specs := make([]RangeSpec, 0, 1)
	for {
		spec, tail, found, err := nextSpec(rest)
		if err != nil || found && len(specs) == maxSpans {
			return nil, ErrNoRange
		}
		if !found {
			break
		}
		specs = append(specs, spec)
		rest = tail
	}
	if len(specs) == 0 {
		return nil, ErrNoRange
	}
	return specs, nil
}

// ParseRange reads a Range field for a body of size bytes (RFC 9110 sections
// 14.1.2 and 14.2) and returns what to send, in the order asked for. Ranges that
// overlap or touch are joined at the place of the first; those that cannot be
// satisfied are left out. The errors are ErrNoRange and ErrUnsatisfiable.
func ParseRange(value string, size int64) ([]Span, error) {
	rest, ok := bytesUnit(value)
	if !ok || size < 0 {
		return nil, ErrNoRange
	}
	var spans []Span
	count, emptySuffix := 0, false
	for {
		spec, tail, found, err := nextSpec(rest)
		if err != nil || found && count == maxSpans {
			return nil, ErrNoRange
		}
		if !found {
			break
		}
		rest = tail
		count++
		if s, ok := spec.Resolve(size); ok {
			spans = join(spans, s)
		} else if spec.Suffix > 0 {
			emptySuffix = true
		}
	}
	switch {
	case count == 0:
		return nil, ErrNoRange
	case len(spans) > 0:
		return spans, nil
	case emptySuffix:
		// The end of an empty body can be satisfied, but no Content-Range can
		// say so: the whole is sent.
		return nil, ErrNoRange
	}
	return nil, ErrUnsatisfiable
}

// join adds s, swallowing every span that it overlaps or touches.
func join(spans []Span, s Span) []Span {
	at := -1
	for i := 0; i < len(spans); {
		t := spans[i]
		if t.Off > s.End() || s.Off > t.End() {
			i++
			continue
		}
		end := max(s.End(), t.End())
		s.Off = min(s.Off, t.Off)
		s.Len = end - s.Off
		if at < 0 || i < at {
			at = i
		}
		spans = slices.Delete(spans, i, i+1)
		i = 0 // the span has grown: it may touch one passed by
	}
	if at < 0 {
		at = len(spans)
	}
	return slices.Insert(spans, min(at, len(spans)), s)
}

func bytesUnit(value string) (rest string, ok bool) {
	unit, rest, ok := strings.Cut(trimOWS(value), "=")
	return rest, ok && equalFold(unit, "bytes")
}

// nextSpec takes one range off a list. Empty members are skipped (RFC 9110
// section 5.6.1.2).
func nextSpec(s string) (spec RangeSpec, rest string, found bool, err error) {
	s = strings.TrimLeft(s, " \t,")
	if s == "" {
		return RangeSpec{}, "", false, nil
	}
	elem, rest, _ := strings.Cut(s, ",")
	from, to, ok := strings.Cut(trimOWS(elem), "-")
	if !ok {
		return RangeSpec{}, "", false, ErrNoRange
	}
	if from == "" {
		n, ok := parseOffset(to)
		if !ok {
			return RangeSpec{}, "", false, ErrNoRange
		}
		return RangeSpec{First: -1, Last: -1, Suffix: n}, rest, true, nil
	}
	first, ok := parseOffset(from)
	if !ok {
		return RangeSpec{}, "", false, ErrNoRange
	}
	last := int64(-1)
	if to != "" {
		if last, ok = parseOffset(to); !ok || last < first {
			return RangeSpec{}, "", false, ErrNoRange
		}
	}
	return RangeSpec{First: first, Last: last, Suffix: -1}, rest, true, nil
}

// parseOffset reads digits. What is too great to be held is as good as the
// greatest number there is: no body has such a byte.
func parseOffset(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		if d := int64(s[i] - '0'); n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
	}
	return n, true
}

// ParseContentRange reads a Content-Range in bytes (RFC 9110 section 14.4).
// total is -1 if the sender does not know it. For the form without a range,
// which goes with 416, off and last are -1. The error is ErrContentRange.
func ParseContentRange(value string) (off, last, total int64, err error) {
	unit, rest, ok := strings.Cut(trimOWS(value), " ")
	if !ok || !equalFold(unit, "bytes") {
		return 0, 0, 0, ErrContentRange
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, 0, ErrContentRange
	}
	total = -1
	if size != "*" {
		if total, ok = parseOffset(size); !ok || total == math.MaxInt64 {
			return 0, 0, 0, ErrContentRange
		}
	}
	if span == "*" {
		if total < 0 {
			return 0, 0, 0, ErrContentRange
		}
		return -1, -1, total, nil
	}
	a, b, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, 0, ErrContentRange
	}
	off, ok1 := parseOffset(a)
	last, ok2 := parseOffset(b)
	// Section 14.4: a last position before the first, or not below the
	// total, makes it invalid: the message must not be combined with anything.
	if !ok1 || !ok2 || last < off || last == math.MaxInt64 || total >= 0 && last >= total {
		return 0, 0, 0, ErrContentRange
	}
	return off, last, total, nil
}

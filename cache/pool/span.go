package pool

import (
	"net/http"
	"strconv"

	"preau/cache/block"
	"preau/cache/rfc9111"
)

// span is what of a representation a response has: the bytes off..end of total.
// end and total are -1 while nobody knows them.
type span struct{ off, end, total int64 }

func (s span) length() int64 {
	if s.end < 0 {
		return -1
	}
	return s.end - s.off
}

// gridStart and gridEnd are where the first block begins and the last one ends.
func (s span) gridStart() int64 { return floor(s.off) }

func (s span) gridEnd() int64 {
	if s.end < 0 {
		return -1
	}
	end := floor(s.end + block.Size - 1)
	if s.total >= 0 {
		end = min(end, s.total)
	}
	return end
}

// blocks is how many blocks it touches at most.
func (s span) blocks() int {
	if s.end < 0 {
		return block.MaxBlocks
	}
	return block.NumBlocks(s.gridEnd() - s.gridStart())
}

func floor(n int64) int64 { return n / block.Size * block.Size }

// spanOf reads what a response says that it has; false if that can't be.
func spanOf(status int, h http.Header, length int64) (span, bool) {
	switch status {
	case http.StatusOK:
		return span{0, length, length}, length <= block.MaxBlocks*block.Size
	case http.StatusPartialContent:
		off, last, total, err := rfc9111.ParseContentRange(h.Get("Content-Range"))
		if err != nil || off < 0 || total < 0 || length >= 0 && length != last-off+1 || total > block.MaxBlocks*block.Size {
			return span{}, false
		}
		return span{off, last + 1, total}, true
	}
	return span{}, false
}

// want is what a request asks for.
type want struct {
	ranged      bool
	first, last int64 // of the range, on the grid; last is -1 for the end
	onGrid      bool  // the range is known without the length
	conditional bool
}

// wanted reads a request's header; false if it is not for neighbours.
func wanted(h http.Header) (want, bool) {
	w := want{onGrid: true, conditional: h.Get("If-None-Match") != "" || h.Get("If-Modified-Since") != ""}
	rng := h.Get("Range")
	if rng == "" {
		return w, true
	}
	specs, err := rfc9111.ParseRangeSpecs(rng)
	if err != nil || len(specs) != 1 {
		return w, false
	}
	w.ranged = true
	s := specs[0]
	if s.Suffix >= 0 || s.First < 0 {
		w.onGrid = false
		return w, true
	}
	w.first, w.last = floor(s.First), -1
	if s.Last >= 0 && s.Last < block.MaxBlocks*block.Size {
		w.last = floor(s.Last+block.Size) - 1
	}
	return w, true
}

// rangeOf is the value of a Range field.
func rangeOf(first, last int64) string {
	v := "bytes=" + strconv.FormatInt(first, 10) + "-"
	if last >= 0 {
		v += strconv.FormatInt(last, 10)
	}
	return v
}

package fill

import "sort"

// span is the bytes from..to-1.
type span struct{ from, to int64 }

// spans is a set of bytes as sorted spans that neither touch nor overlap.
type spans []span

// at finds the first span that ends after pos.
func (s spans) at(pos int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].to > pos })
}

// end is where the run of held bytes that holds pos ends; pos itself if the
// byte at pos is not held.
func (s spans) end(pos int64) int64 {
	if i := s.at(pos); i < len(s) && s[i].from <= pos {
		return s[i].to
	}
	return pos
}

// next is the first held byte at or after pos, or limit if there is none
// before it.
func (s spans) next(pos, limit int64) int64 {
	i := s.at(pos)
	if i == len(s) || s[i].from >= limit {
		return limit
	}
	return max(pos, s[i].from)
}

// covers reports whether every byte of from..to is held.
func (s spans) covers(from, to int64) bool { return s.end(from) >= to }

// size counts the held bytes.
func (s spans) size() int64 {
	var n int64
	for _, p := range s {
		n += p.to - p.from
	}
	return n
}

// add returns s with from..to held. It may reuse the memory of s.
func (s spans) add(from, to int64) spans {
	if from >= to {
		return s
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].to >= from }) // touching counts
	j := i
	for j < len(s) && s[j].from <= to {
		from, to = min(from, s[j].from), max(to, s[j].to)
		j++
	}
	if i == j {
		s = append(s, span{})
		copy(s[i+1:], s[i:])
		s[i] = span{from, to}
		return s
	}
	s[i] = span{from, to}
	return append(s[:i+1], s[j:]...)
}

// remove returns s without from..to.
func (s spans) remove(from, to int64) spans {
	if from >= to {
		return s
	}
	var out spans
	for _, p := range s {
		if p.to <= from || p.from >= to {
			out = append(out, p)
			continue
		}
		if p.from < from {
			out = append(out, span{p.from, from})
		}
		if p.to > to {
			out = append(out, span{to, p.to})
		}
	}
	return out
}

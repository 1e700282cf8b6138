package find

import (
	"slices"
	"strings"
)

// mostRecent is how many words may wait to be put in order among all.
const mostRecent = 1024

// terms are all words in order. New ones wait in a short list of their own, for
// which room is made more cheaply.
type terms struct{ all, recent []string }

func (t *terms) add(w string) {
	i, ok := slices.BinarySearch(t.recent, w)
	if ok {
		return
	}
	t.recent = slices.Insert(t.recent, i, w)
	if len(t.recent) >= mostRecent {
		t.all = merge(t.all, t.recent)
		t.recent = t.recent[:0]
	}
}

// merge puts two ordered lists together.
func merge(a, b []string) []string {
	out := make([]string, 0, (len(a)+len(b))*9/8)
	for len(a) > 0 && len(b) > 0 {
		if a[0] <= b[0] {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// keep drops the words for which want is false.
func (t *terms) keep(want func(string) bool) {
	drop := func(w string) bool { return !want(w) }
	t.all = slices.DeleteFunc(t.all, drop)
	t.recent = slices.DeleteFunc(t.recent, drop)
}

// begin calls fn with each word that begins so, until fn has enough.
func (t *terms) begin(prefix string, fn func(w string) (more bool)) {
	for _, list := range [][]string{t.all, t.recent} {
		i, _ := slices.BinarySearch(list, prefix)
		for ; i < len(list) && strings.HasPrefix(list[i], prefix); i++ {
			if !fn(list[i]) {
				return
			}
		}
	}
}

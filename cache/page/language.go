package page

import (
	"math"
	"net/http"
	"strconv"
	"strings"
)

// Lang is a language that pages are in, as HTML names it.
type Lang string

// The languages of every page.
const (
	French  Lang = "fr"
	English Lang = "en"
)

// Both is the same thing in both languages.
type Both[T any] struct{ French, English T }

// In is the one in a language.
func (b Both[T]) In(l Lang) T {
	if l == English {
		return b.English
	}
	return b.French
}

// wish is how much a client likes a language (RFC 9110 §12.5.4).
type wish struct {
	said   bool
	weight float64
	place  int
}

func (w *wish) hear(weight float64, place int) {
	if !w.said || weight > w.weight {
		*w = wish{true, weight, place}
	}
}

// Language picks the language that a client likes better. It is French where
// there is no preference, as these are French schools; who refuses it, and says
// nothing of English, gets English all the same.
func Language(r *http.Request) Lang {
	var fr, en, others wish
	place := 0
	for _, v := range r.Header.Values("Accept-Language") {
		for item := range strings.SplitSeq(v, ",") {
			tag, params, _ := strings.Cut(item, ";")
			weight, ok := weightOf(params)
			if !ok {
				continue
			}
			place++
			switch main, _, _ := strings.Cut(strings.TrimSpace(tag), "-"); {
			case strings.EqualFold(main, "fr"):
				fr.hear(weight, place)
			case strings.EqualFold(main, "en"):
				en.hear(weight, place)
			case main == "*":
				others.hear(weight, math.MaxInt) // what is named goes first
			}
		}
	}
	if !fr.said {
		fr = others
	}
	if !en.said {
		en = others
	}
	switch {
	case en.weight > fr.weight, fr.said && fr.weight == 0 && !en.said:
		return English
	case en.weight == fr.weight && en.weight > 0 && en.place < fr.place:
		return English
	}
	return French
}

// weightOf reads the parameters of a preference (RFC 9110 §12.4.2). One that
// can't be read is as if it were not there.
func weightOf(params string) (float64, bool) {
	for p := range strings.SplitSeq(params, ";") {
		name, v, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return q, err == nil && q >= 0 && q <= 1
	}
	return 1, true
}

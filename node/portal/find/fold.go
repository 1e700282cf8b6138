package find

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxWord is how much of a word counts, in bytes once folded.
const maxWord = 48

// alike are letters that do not fall apart by themselves (Unicode's NFKD) and
// are typed as others.
var alike = strings.NewReplacer("œ", "oe", "æ", "ae", "ß", "ss", "ø", "o", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "ı", "i")

// elided are the short words that French writes with an apostrophe at the end.
var elided = map[string]bool{
	"l": true, "d": true, "j": true, "m": true, "t": true, "s": true, "c": true, "n": true, "qu": true,
	"jusqu": true, "lorsqu": true, "puisqu": true, "quoiqu": true,
}

// empty are words that say nothing by themselves. Who looks for them with others
// finds what lacks them.
var empty = map[string]bool{
	"le": true, "la": true, "les": true, "un": true, "une": true, "des": true, "de": true, "du": true, "et": true, "en": true, "au": true, "aux": true,
	"the": true, "a": true, "an": true, "of": true, "and": true, "in": true,
}

// split calls fn with each word of a text, folded.
func split(text string, fn func(word string)) {
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = Plain(text)
	start := -1
	for i, c := range text {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			if word := text[start:i]; !apostrophe(c) || !elided[word] {
				fn(cut(word))
			}
			start = -1
		}
	}
	if start >= 0 {
		fn(cut(text[start:]))
	}
}

func apostrophe(c rune) bool {
	return c == '\'' || c == '’' || c == 'ʼ' || c == '`' || c == '´' || c == '＇'
}

// Plain is a text without accents and capitals, as it is compared with others.
func Plain(text string) string {
	ascii := true
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(text)
	}
	var b strings.Builder
	b.Grow(len(text))
	// An acute accent by itself is an apostrophe badly typed: it must not fall
	// apart into a space.
	text = strings.ReplaceAll(strings.ToValidUTF8(text, " "), "´", "'")
	for _, c := range norm.NFKD.String(text) {
		if unicode.Is(unicode.Mn, c) {
			continue
		}
		b.WriteRune(unicode.ToLower(c))
	}
	out := alike.Replace(b.String())
	if !norm.NFKD.IsNormalString(out) { // of capitals whose small letters fall apart
		return Plain(out)
	}
	return out
}

// cut shortens a word that is none.
func cut(word string) string {
	if len(word) <= maxWord {
		return word
	}
	n := maxWord
	for !utf8.RuneStart(word[n]) {
		n--
	}
	return word[:n]
}

// found are the words of a document, each once, with the fields that have it.
type found struct {
	list  []string
	in    []uint8
	title uint8 // how many words it has
}

func wordsOf(d Doc) found {
	var out found
	at := map[string]int{}
	put := func(text string, field uint8) (n int) {
		split(text, func(w string) {
			in := field
			if n == 0 && field == inTitle {
				in |= first
			}
			n++
			i, ok := at[w]
			if !ok {
				if len(out.list) == maxWords {
					return
				}
				i = len(out.list)
				at[w] = i
				out.list, out.in = append(out.list, strings.Clone(w)), append(out.in, 0)
			}
			out.in[i] |= in
		})
		return n
	}
	out.title = uint8(min(put(d.Title, inTitle), 255))
	put(d.Filename, inFilename)
	put(d.Collection, inCollection)
	put(d.Level, inCollection)
	put(d.Description, inDescription)
	return out
}

// query is what somebody looks for: whole words, and one that may go on.
type query struct {
	words []string
	last  string
}

// maxAsked is how many words of a query count.
const maxAsked = 12

func parse(text string) query {
	if len(text) > 1000 {
		text = text[:1000]
	}
	var all []string
	split(text, func(w string) {
		if !slices.Contains(all, w) && len(all) < maxAsked {
			all = append(all, w)
		}
	})
	if say := slices.DeleteFunc(slices.Clone(all), func(w string) bool { return empty[w] }); len(say) > 0 {
		all = say
	}
	if len(all) == 0 {
		return query{}
	}
	return query{words: all[:len(all)-1], last: all[len(all)-1]}
}

// forms are a word and what differs from it by a final s or x alone.
func forms(w string) []string {
	out := []string{w}
	if len(w) < 4 {
		return out
	}
	switch w[len(w)-1] {
	case 's', 'x':
		return append(out, w[:len(w)-1])
	}
	return append(out, w+"s", w+"x")
}

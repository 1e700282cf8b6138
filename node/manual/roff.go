package manual

import (
	"fmt"
	"strings"
	"time"
)

// About says what a page is of.
type About struct {
	Version string
	Date    time.Time
}

// roff is a page that is being written.
type roff struct{ strings.Builder }

func newPage(name string, section int, a About, source string) *roff {
	r := &roff{}
	r.line(`.\" Written by the program itself; changes here are lost.`)
	r.line(fmt.Sprintf(`.TH %s %d %s %s %s`, quoted(strings.ToUpper(name)), section, `"`+a.Date.UTC().Format(time.DateOnly)+`"`, quoted(source+" "+a.Version), quoted("Préau")))
	// Words that are typed are not broken, and margins stay as they are.
	r.line(".nh")
	r.line(".ad l")
	return r
}

func (r *roff) line(text string) { r.WriteString(text + "\n") }

func (r *roff) section(title string)    { r.line(".SH " + quoted(strings.ToUpper(title))) }
func (r *roff) subsection(title string) { r.line(".SS " + quoted(title)) }

// prose writes paragraphs. Lines that begin with a blank are examples, which are
// shown as they are.
func (r *roff) prose(text string) {
	var paragraph, example []string
	first := true
	flush := func() {
		if len(paragraph) > 0 {
			if !first {
				r.line(".PP")
			}
			first = false
			r.filled(strings.Join(paragraph, " "))
			paragraph = nil
		}
		for len(example) > 0 && example[len(example)-1] == "" {
			example = example[:len(example)-1]
		}
		if len(example) > 0 {
			r.line(".PP")
			r.line(".RS 4")
			r.line(".nf")
			for _, e := range example {
				r.line(escape(e))
			}
			r.line(".fi")
			r.line(".RE")
			first = false
			example = nil
		}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch {
		case strings.HasPrefix(line, " "):
			if len(paragraph) > 0 {
				flush()
			}
			example = append(example, unindented(line))
		case line == "" && len(example) > 0:
			example = append(example, "") // it may go on after it
		case line == "":
			flush()
		default:
			if len(example) > 0 {
				flush()
			}
			paragraph = append(paragraph, strings.TrimSpace(line))
		}
	}
	flush()
}

// item writes a name that is typed, and what is said of it.
func (r *roff) item(name, text string) {
	r.line(".TP")
	r.line(".B " + quoted(name))
	if text = strings.TrimSpace(text); text == "" {
		text = name
	}
	r.filled(text)
}

// unindented takes off what tells an example from other words: four blanks, or
// as many as there are.
func unindented(line string) string {
	for range 4 {
		line = strings.TrimPrefix(line, " ")
	}
	return line
}

// widest is how long a line of a page's source may be.
const widest = 76

// filled writes words that are filled into lines.
func (r *roff) filled(text string) {
	var line strings.Builder
	for word := range strings.FieldsSeq(text) {
		word = escape(word)
		if line.Len() > 0 && line.Len()+1+len(word) > widest {
			r.line(line.String())
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	if line.Len() > 0 {
		r.line(line.String())
	}
}

// escape makes roff print text as it is. A hyphen is made a minus, which can be
// copied into a shell.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\(rs`, "-", `\-`, "\n", " ", "\t", " ", "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return strings.ReplaceAll(text, "'", `\(aq`)
}

// quoted is an argument of a macro.
func quoted(text string) string {
	return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"`
}

package manual

import (
	"errors"
	"fmt"
	"strings"
)

// Settings is a configuration file that has a page in section 5.
type Settings struct {
	File    string // its name, such as "box.toml"
	Title   string // what it is, in half a line
	Paths   []Entry
	SeeAlso []string
}

// errReference is what is wrong with a reference that can't be read.
var errReference = errors.New("the reference file is not written as it should be")

// Page is the page of a configuration file, made from its commented reference:
// blocks of comment, each with the key or the table that it is about.
func (s Settings) Page(program string, a About, reference []byte) ([]byte, error) {
	r := newPage(program+"-"+s.File, 5, a, program)
	r.section("name")
	r.line(escape(program+"-"+s.File) + ` \- ` + escape(s.Title))
	r.section("description")
	blocks, err := readReference(string(reference))
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 || blocks[0].subject != "" {
		return nil, fmt.Errorf("%w: it does not begin with words about the file", errReference)
	}
	for i, b := range blocks {
		switch {
		case b.subject == "" && i == 0:
			r.prose(b.text)
			r.section("settings")
		case b.subject == "":
			return nil, fmt.Errorf("%w: nothing follows %.60q", errReference, b.text)
		case b.table:
			r.subsection(b.subject)
			r.prose(b.text)
		default:
			r.item(b.subject, b.text)
		}
	}
	if len(s.Paths) > 0 {
		r.section("files")
		for _, f := range s.Paths {
			r.item(f.Name, f.Text)
		}
	}
	seeAlso(r, s.SeeAlso)
	return []byte(r.String()), nil
}

// block is a comment with what it is about.
type block struct {
	text, subject string
	table         bool
}

// readReference reads a reference file. A line that begins with "# " is words;
// one that begins with "#" and no blank is a key that is off.
func readReference(reference string) ([]block, error) {
	var out []block
	var words []string
	emit := func(subject string) {
		if len(words) > 0 || subject != "" {
			out = append(out, block{strings.Join(words, "\n"), subject, strings.HasPrefix(strings.TrimPrefix(subject, "#"), "[")})
		}
		words = nil
	}
	for line := range strings.Lines(reference) {
		line = strings.TrimRight(line, "\n")
		text, comment := strings.CutPrefix(line, "# ")
		switch {
		case line == "#":
			words = append(words, "")
		case comment:
			words = append(words, text)
		case line == "":
			emit("")
		case len(words) == 0:
			return nil, fmt.Errorf("%w: there are no words before %q", errReference, line)
		default:
			subject, off := strings.CutPrefix(line, "#")
			if off {
				words = append(words, "", "It is off unless it is written.")
			}
			emit(subject)
		}
	}
	emit("")
	return out, nil
}

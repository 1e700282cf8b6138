// Package manual writes what a system shows of a command-line program: its
// manual pages in roff (man(7)) and what has bash, zsh and fish complete it.
//
// It writes from a description of the commands, which is made from what the
// program itself reads its command line by, so neither can fall behind it. It
// knows of no program and of no library for command lines.
package manual

import (
	"cmp"
	"slices"
	"strings"
)

// Program is a program with its commands.
type Program struct {
	Name     string // as it is typed
	Title    string // what it is, in half a line
	Detail   string // what is to be known before the commands
	Commands []Command
	Files    []Entry
	SeeAlso  []string // pages, such as "systemctl(1)"
}

// Command is a command, or a group of them.
type Command struct {
	Name     string
	Group    string // the heading that it stands under
	Help     string // a sentence
	Detail   string // paragraphs; lines that begin with blanks are shown as they are
	Args     []Arg
	Flags    []Flag
	Commands []Command
}

// Arg is an argument that is known by its place.
type Arg struct {
	Name, Help string
	Values     []string // all that it may be, if that can be told
	Optional   bool
	Many       bool
}

// Flag is an option.
type Flag struct {
	Name, Help  string
	Short       rune // 0: it has no short form
	Placeholder string
	Values      []string
	Required    bool
	Switch      bool // it takes no value
}

// Entry is something with a name, and words about it.
type Entry struct{ Name, Text string }

// kind of value that a flag or an argument takes, for completion.
type kind int

const (
	anything kind = iota
	file
	folder
)

func (f Flag) kind() kind { return kindOf(f.Placeholder) }

func kindOf(placeholder string) kind {
	switch strings.ToUpper(placeholder) {
	case "FILE", "PATH":
		return file
	case "DIR", "FOLDER":
		return folder
	}
	return anything
}

// walk visits every command with the words that lead to it, groups before what
// is in them.
func (p Program) walk(visit func(path string, c Command)) {
	var into func(path string, list []Command)
	into = func(path string, list []Command) {
		for _, c := range list {
			own := strings.TrimSpace(path + " " + c.Name)
			visit(own, c)
			into(own, c.Commands)
		}
	}
	into("", p.Commands)
}

// groups are the headings in the order in which they first appear; the empty one
// is for those that stand under none.
func (p Program) groups() []string {
	var out []string
	for _, c := range p.Commands {
		if !slices.Contains(out, c.Group) {
			out = append(out, c.Group)
		}
	}
	return out
}

// synopsis is how a command is typed, without the program's name.
func (c Command) synopsis() string {
	var words []string
	for _, f := range c.Flags {
		if f.Required {
			words = append(words, f.long())
		}
	}
	if len(c.Commands) > 0 {
		words = append(words, "COMMAND")
	}
	for _, a := range c.Args {
		word := cmp.Or(strings.ToUpper(a.Name), "ARG")
		if a.Many {
			word += "..."
		}
		if a.Optional {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	if slices.ContainsFunc(c.Flags, func(f Flag) bool { return !f.Required }) {
		words = append(words, "[FLAGS]")
	}
	return strings.Join(words, " ")
}

// long is a flag as it is typed.
func (f Flag) long() string {
	if f.Switch {
		return "--" + f.Name
	}
	return "--" + f.Name + "=" + cmp.Or(f.Placeholder, strings.ToUpper(f.Name))
}

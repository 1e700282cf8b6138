package manual

import (
	"fmt"
	"strings"
)

// Zsh has zsh complete the program: a file of that name with a leading
// underscore, in a folder of fpath.
func (p Program) Zsh() []byte {
	var b strings.Builder
	fn := "_" + p.Name
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion for %s, written by the program itself.\n\n%s() {\n", p.Name, p.Name, fn)
	b.WriteString(`	local at= flag= word
	local -a list
	integer i
	for ((i = 2; i < CURRENT; i++)); do
		word=${words[i]} flag=
		case "$at/$word" in
`)
	p.walk(func(path string, _ Command) {
		parent, name := split(path)
		fmt.Fprintf(&b, "		%q) at=%q ;;\n", parent+"/"+name, path)
	})
	b.WriteString("		esac\n		case \"$at $word\" in\n")
	fmt.Fprintf(&b, "		%s) flag=$word; ((i++)) ;;\n		esac\n	done\n", patterns(p.withValue(func(Flag) bool { return true })))
	b.WriteString(`	((i > CURRENT)) || flag=
	if [[ -z $flag && ${words[CURRENT]} == --*=* ]]; then
		flag=${words[CURRENT]%%=*}
		compset -P '*='
	fi
	case "$at $flag" in
`)
	p.walk(func(path string, c Command) {
		for _, f := range c.Flags {
			if len(f.Values) > 0 {
				fmt.Fprintf(&b, "	%q) list=(%s); _describe value list; return ;;\n", path+" --"+f.Name, strings.Join(f.Values, " "))
			}
		}
	})
	for _, k := range []struct {
		do string
		is kind
	}{{"_files", file}, {"_files -/", folder}, {"_message value", anything}} {
		if list := p.withValue(func(f Flag) bool { return len(f.Values) == 0 && f.kind() == k.is }); len(list) > 0 {
			fmt.Fprintf(&b, "	%s) %s; return ;;\n", patterns(list), k.do)
		}
	}
	b.WriteString("	esac\n	if [[ ${words[CURRENT]} == -* ]]; then\n		case $at in\n")
	p.walk(func(path string, c Command) {
		fmt.Fprintf(&b, "		%q) list=(", path)
		for _, f := range c.Flags {
			b.WriteString(single("--"+f.Name+":"+f.Help) + " ")
		}
		b.WriteString("'--help:Say how it is used.') ;;\n")
	})
	b.WriteString("		*) list=('--help:Say how it is used.') ;;\n		esac\n		_describe -o flag list\n		return\n	fi\n	case $at in\n")
	describe := func(path string, list []Command) {
		fmt.Fprintf(&b, "	%s) list=(", single(path))
		for _, c := range list {
			b.WriteString(single(c.Name+":"+c.Help) + " ")
		}
		b.WriteString("); _describe command list ;;\n")
	}
	describe("", p.Commands)
	p.walk(func(path string, c Command) {
		if len(c.Commands) > 0 {
			describe(path, c.Commands)
		} else if words := c.words(); len(words) > 0 {
			fmt.Fprintf(&b, "	%s) list=(%s); _describe value list ;;\n", single(path), strings.Join(words, " "))
		}
	})
	fmt.Fprintf(&b, "	*) _files ;;\n	esac\n}\n\nif [[ ${funcstack[1]} == %s ]]; then %s \"$@\"; else compdef %s %s; fi\n", fn, fn, fn, p.Name)
	return []byte(b.String())
}

// Fish has fish complete the program.
func (p Program) Fish() []byte {
	var b strings.Builder
	at := "__" + strings.ReplaceAll(p.Name, "-", "_") + "_at"
	fmt.Fprintf(&b, "# fish completion for %s, written by the program itself.\n\nfunction %s\n", p.Name, at)
	b.WriteString("	set -l at ''\n	set -l value no\n	for word in (commandline -opc)[2..-1]\n		if test $value = yes\n			set value no\n			continue\n		end\n		switch \"$at/$word\"\n")
	p.walk(func(path string, _ Command) {
		parent, name := split(path)
		fmt.Fprintf(&b, "			case %s\n				set at %s\n", single(parent+"/"+name), single(path))
	})
	b.WriteString("		end\n		switch \"$at $word\"\n			case")
	for _, f := range p.withValue(func(Flag) bool { return true }) {
		b.WriteString(" " + single(f))
	}
	b.WriteString("\n				set value yes\n		end\n	end\n	test \"$at\" = \"$argv[1]\"\nend\n\n")
	fmt.Fprintf(&b, "complete -c %s -f\ncomplete -c %s -l help -d 'Say how it is used.'\n", p.Name, p.Name)
	offer := func(path, more string) {
		fmt.Fprintf(&b, "complete -c %s -n %s %s\n", p.Name, single(at+" "+`"`+path+`"`), more)
	}
	for _, c := range p.Commands {
		offer("", "-a "+c.Name+" -d "+single(c.Help))
	}
	p.walk(func(path string, c Command) {
		for _, sub := range c.Commands {
			offer(path, "-a "+sub.Name+" -d "+single(sub.Help))
		}
		switch words := c.words(); {
		case len(c.Commands) > 0:
		case len(words) > 0:
			offer(path, "-a "+single(strings.Join(words, " ")))
		case len(c.Args) > 0:
			offer(path, "-F")
		}
		for _, f := range c.Flags {
			more := "-l " + f.Name
			if f.Short != 0 {
				more += " -s " + string(f.Short)
			}
			switch {
			case f.Switch:
			case len(f.Values) > 0:
				more += " -x -a " + single(strings.Join(f.Values, " "))
			case f.kind() == folder:
				more += " -x -a '(__fish_complete_directories)'"
			case f.kind() == file:
				more += " -r -F"
			default:
				more += " -x"
			}
			offer(path, more+" -d "+single(f.Help))
		}
	})
	return []byte(b.String())
}

// single puts text in single quotes, in which neither shell changes anything
// once its own are written otherwise.
func single(text string) string {
	return "'" + strings.NewReplacer("'", "’", `\`, `/`, "\n", " ").Replace(text) + "'"
}

package manual

import (
	"fmt"
	"slices"
	"strings"
)

// Bash has bash complete the program. It needs nothing but bash.
func (p Program) Bash() []byte {
	var b strings.Builder
	fn := "_" + strings.ReplaceAll(p.Name, "-", "_")
	fmt.Fprintf(&b, "# bash completion for %s, written by the program itself.\n\n%s() {\n", p.Name, fn)
	b.WriteString(`	local cur=${COMP_WORDS[COMP_CWORD]} flag= path= kind= list= i word
	# bash takes --flag=value apart at the sign.
	if [[ $cur == = ]]; then
		cur= flag=${COMP_WORDS[COMP_CWORD-1]}
	elif [[ ${COMP_WORDS[COMP_CWORD-1]} == = ]]; then
		flag=${COMP_WORDS[COMP_CWORD-2]}
	elif [[ ${COMP_WORDS[COMP_CWORD-1]} == --* ]]; then
		flag=${COMP_WORDS[COMP_CWORD-1]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case "$path/$word" in
`)
	p.walk(func(path string, _ Command) {
		parent, name := split(path)
		fmt.Fprintf(&b, "		%q) path=%q ;;\n", parent+"/"+name, path)
	})
	b.WriteString("		esac\n		case \"$path $word\" in\n")
	fmt.Fprintf(&b, "		%s) [[ ${COMP_WORDS[i+1]} == = ]] && ((i++)); ((i++)) ;;\n", patterns(p.withValue(func(Flag) bool { return true })))
	b.WriteString("		esac\n	done\n	case \"$path $flag\" in\n")
	p.walk(func(path string, c Command) {
		for _, f := range c.Flags {
			if len(f.Values) > 0 {
				fmt.Fprintf(&b, "	%q) kind=words list=%q ;;\n", path+" --"+f.Name, strings.Join(f.Values, " "))
			}
		}
	})
	for _, k := range []struct {
		name string
		is   kind
	}{{"files", file}, {"folders", folder}, {"nothing", anything}} {
		if list := p.withValue(func(f Flag) bool { return len(f.Values) == 0 && f.kind() == k.is }); len(list) > 0 {
			fmt.Fprintf(&b, "	%s) kind=%s ;;\n", patterns(list), k.name)
		}
	}
	b.WriteString("	esac\n	if [[ -z $kind && $cur == -* ]]; then\n		kind=words\n		case \"$path\" in\n")
	p.walk(func(path string, c Command) {
		fmt.Fprintf(&b, "		%q) list=%q ;;\n", path, strings.Join(append(flagNames(c), "--help"), " "))
	})
	b.WriteString("		*) list=--help ;;\n		esac\n	fi\n	if [[ -z $kind ]]; then\n		case \"$path\" in\n")
	fmt.Fprintf(&b, "		'') kind=words list=%q ;;\n", strings.Join(names(p.Commands), " "))
	p.walk(func(path string, c Command) {
		if words := c.words(); len(words) > 0 {
			fmt.Fprintf(&b, "		%q) kind=words list=%q ;;\n", path, strings.Join(words, " "))
		}
	})
	b.WriteString(`		*) kind=files ;;
		esac
	fi
	COMPREPLY=()
	case $kind in
	words) mapfile -t COMPREPLY < <(compgen -W "$list" -- "$cur") ;;
	files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	folders) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	esac
}

`)
	fmt.Fprintf(&b, "complete -F %s %s\n", fn, p.Name)
	return []byte(b.String())
}

// withValue lists the flags that take a value of a kind, each after its command.
func (p Program) withValue(want func(Flag) bool) []string {
	var out []string
	p.walk(func(path string, c Command) {
		for _, f := range c.Flags {
			if !f.Switch && want(f) {
				out = append(out, path+" --"+f.Name)
			}
		}
	})
	return out
}

// patterns are the alternatives of a branch of a shell's case.
func patterns(list []string) string {
	if len(list) == 0 {
		return `"there are none"`
	}
	return `"` + strings.Join(list, `"|"`) + `"`
}

// words are what can stand where the command's next argument stands.
func (c Command) words() []string {
	if len(c.Commands) > 0 {
		return names(c.Commands)
	}
	if len(c.Args) > 0 {
		return c.Args[0].Values
	}
	return nil
}

func names(list []Command) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.Name
	}
	return out
}

func flagNames(c Command) []string {
	var out []string
	for _, f := range c.Flags {
		out = append(out, "--"+f.Name)
	}
	slices.Sort(out)
	return out
}

// split takes the last word off a command's path.
func split(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, ' '); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

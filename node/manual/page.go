package manual

import "strings"

// Page is the program's page in section 1: what it is, and all of its commands.
func (p Program) Page(a About) []byte {
	r := newPage(p.Name, 1, a, p.Name)
	r.section("name")
	r.line(escape(p.Name) + ` \- ` + escape(p.Title))
	r.section("synopsis")
	r.line(".B " + quoted(p.Name))
	r.line(`.I "COMMAND"`)
	r.line(`[\fIARGUMENTS\fR] [\fIFLAGS\fR]`)
	r.section("description")
	r.prose(p.Detail)
	for _, group := range p.groups() {
		title := strings.TrimSuffix(group, ":")
		if title == "" {
			title = "commands"
		}
		r.section(title)
		p.walk(func(path string, c Command) {
			if p.groupOf(path) == group {
				p.command(r, path, c)
			}
		})
	}
	if len(p.Files) > 0 {
		r.section("files")
		for _, f := range p.Files {
			r.item(f.Name, f.Text)
		}
	}
	seeAlso(r, p.SeeAlso)
	return []byte(r.String())
}

// groupOf is the heading of the command at path: that of its first word.
func (p Program) groupOf(path string) string {
	first, _, _ := strings.Cut(path, " ")
	for _, c := range p.Commands {
		if c.Name == first {
			return c.Group
		}
	}
	return ""
}

func (p Program) command(r *roff, path string, c Command) {
	r.subsection(strings.TrimSpace(p.Name + " " + path + " " + c.synopsis()))
	r.prose(c.Help)
	if c.Detail != "" {
		r.line(".PP")
		r.prose(c.Detail)
	}
	for _, a := range c.Args {
		r.item(strings.ToUpper(a.Name), a.Help)
	}
	for _, f := range c.Flags {
		name := f.long()
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", " + name
		}
		r.item(name, f.Help)
	}
}

// seeAlso names other pages.
func seeAlso(r *roff, pages []string) {
	if len(pages) == 0 {
		return
	}
	r.section("see also")
	for i, page := range pages {
		name, section, _ := strings.Cut(strings.TrimSuffix(page, ")"), "(")
		comma := ""
		if i < len(pages)-1 {
			comma = " ,"
		}
		r.line(".BR " + escape(name) + " (" + section + ")" + comma)
	}
}

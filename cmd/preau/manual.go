package main

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"preau/node/manual"
	"preau/node/obs"
)

type manualCmd struct {
	Page string `arg:"" optional:"" enum:"preau,box.toml,server.toml,central.toml" default:"preau" help:"preau, or one of the configuration files: box.toml, server.toml or central.toml."`
	Date string `placeholder:"DATE" help:"What date it bears, such as 2026-11-23 (default: today)."`
}

func (manualCmd) Help() string {
	return `    preau manual | man -l -
    preau manual box.toml | man -l -
    preau manual > /usr/local/share/man/man1/preau.1`
}

// Run writes the page.
func (c manualCmd) Run(k *kong.Context, to streams) error {
	about := manual.About{Version: obs.ReadBuild().Version, Date: time.Now()}
	if c.Date != "" {
		var err error
		if about.Date, err = time.Parse(time.DateOnly, c.Date); err != nil {
			return usage("--date: %q is no date: write it like 2026-11-23", c.Date)
		}
	}
	if c.Page == "preau" {
		return to.print(string(program(k.Model).Page(about)))
	}
	page := settingsPages()[c.Page]
	var reference bytes.Buffer
	if err := page.print(streams{out: &reference}); err != nil {
		return err
	}
	text, err := page.Page("preau", about, reference.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", c.Page, err)
	}
	return to.print(string(text))
}

// settingsPage is the page of a configuration file, and what prints its reference.
type settingsPage struct {
	manual.Settings
	print func(streams) error
}

func settingsPages() map[string]settingsPage {
	page := func(file, title, command string, print func(streams) error) settingsPage {
		return settingsPage{manual.Settings{
			File: file, Title: title,
			Paths: []manual.Entry{
				{Name: "/etc/preau/" + file, Text: "Where the Debian package's service reads it."},
				{Name: "/usr/share/doc/preau/examples/" + file, Text: "Every key there is, as " + command + " prints it."},
			},
			SeeAlso: []string{"preau(1)"},
		}, print}
	}
	return map[string]settingsPage{
		"box.toml":     page("box.toml", "settings of a box of Préau, the cache for schools", "preau config", configCmd{}.Run),
		"server.toml":  page("server.toml", "settings of a server of a Préau region", "preau region config", regionConfigCmd{}.Run),
		"central.toml": page("central.toml", "settings of a Préau gateway", "preau central config", centralConfigCmd{}.Run),
	}
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `The Debian package has it in place. Otherwise:

    . <(preau completion bash)
    preau completion zsh > "${fpath[1]}/_preau"
    preau completion fish > ~/.config/fish/completions/preau.fish`
}

// Run writes it.
func (c completionCmd) Run(k *kong.Context, to streams) error {
	p := program(k.Model)
	switch c.Shell {
	case "bash":
		return to.print(string(p.Bash()))
	case "zsh":
		return to.print(string(p.Zsh()))
	}
	return to.print(string(p.Fish()))
}

// program describes this program as kong reads it.
func program(app *kong.Application) manual.Program {
	return manual.Program{
		Name: app.Name, Title: "a cache for schools: a class downloads once", Detail: app.Detail,
		Commands: described(app.Children),
		Files: []manual.Entry{
			{Name: "/etc/preau/box.toml", Text: "Settings of the service preau-box."},
			{Name: "/etc/preau/server.toml", Text: "Settings of the service preau-region."},
			{Name: "/etc/preau/central.toml", Text: "Settings of the service preau-central."},
			{Name: "/var/lib/preau, /var/lib/preau-region, /var/lib/preau-central", Text: "What a box, a region's server and a gateway keep."},
			{Name: "~/.config/preau/operator", Text: "The identity of an operator."},
		},
		SeeAlso: []string{"preau-box.toml(5)", "preau-server.toml(5)", "preau-central.toml(5)", "systemctl(1)"},
	}
}

func described(nodes []*kong.Node) []manual.Command {
	var out []manual.Command
	for _, n := range nodes {
		if n.Hidden || n.Type != kong.CommandNode {
			continue
		}
		c := manual.Command{Name: n.Name, Help: n.Help, Detail: detail(n), Commands: described(n.Children)}
		if n.Group != nil {
			c.Group = n.Group.Title
		}
		for _, a := range n.Positional {
			c.Args = append(c.Args, manual.Arg{Name: a.Name, Help: a.Help, Values: values(a), Optional: !a.Required, Many: a.IsSlice()})
		}
		for _, f := range n.Flags {
			if f.Hidden || f.Name == "help" {
				continue
			}
			c.Flags = append(c.Flags, manual.Flag{
				Name: f.Name, Help: withDefault(f), Short: f.Short, Placeholder: f.PlaceHolder,
				Values: values(f.Value), Required: f.Required, Switch: f.IsBool() || f.IsCounter(),
			})
		}
		out = append(out, c)
	}
	return out
}

// detail is what a command says of itself, with the blanks that it begins with.
func detail(n *kong.Node) string {
	if n.Target.IsValid() && n.Target.CanInterface() {
		if h, ok := reflect.TypeAssert[kong.HelpProvider](n.Target); ok {
			return h.Help()
		}
	}
	return n.Detail
}

// withDefault is what a flag says of itself, with its default.
func withDefault(f *kong.Flag) string {
	if !f.HasDefault || f.Default == "" || f.IsBool() || strings.Contains(f.Help, "(default:") {
		return f.Help
	}
	return strings.TrimSuffix(f.Help, ".") + " (default: " + f.Default + ")."
}

// values are all that v may be, if that is told.
func values(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(v.Enum, ","), func(s string) bool { return s == "" })
}

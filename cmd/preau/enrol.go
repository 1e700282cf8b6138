package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"preau/node/config"
	"preau/node/control"
)

type enrolCmd struct {
	Token    string          `required:"" placeholder:"TOKEN" help:"The invitation that preau region token made; - reads it from standard input."`
	Data     string          `placeholder:"DIR" help:"The box's folder, where its identity goes to DIR/identity. For an operator the identity's own folder (default: ~/.config/preau/operator)."`
	Name     string          `placeholder:"NAME" help:"What it is to be called: a-z, 0-9 and - (default: this machine's name)."`
	Operator bool            `help:"Enrol a person, not a box."`
	Region   []string        `placeholder:"HOST:PORT" help:"Servers to ask before those that the token names."`
	Replace  bool            `help:"Give up an identity that is there, for the new one."`
	Timeout  config.Duration `default:"2m" help:"Give up after this time."`
	JSON     bool            `name:"json" help:"Write what was made as JSON."`
}

func (enrolCmd) Help() string {
	return `The key is made here and never leaves this machine; the region certifies it. From then on the box renews its certificate by itself.

    preau enrol --token PREAU1-... --data /var/lib/preau
    preau enrol --token PREAU1-... --data ./box2 --name library-2
    echo PREAU1-... | preau enrol --token - --data /var/lib/preau
    preau enrol --operator --token PREAU1-...

When it was cut off, the same command with the same token goes on.` + operatorHelp
}

func (c enrolCmd) Run(ctx context.Context, to streams) error {
	q := control.Enrolment{Role: "box", Name: c.Name, Servers: c.Region, Replace: c.Replace, Dir: filepath.Join(c.Data, "identity")}
	switch {
	case c.Operator:
		q.Role, q.Dir = "operator", c.Data
		if c.Data == "" {
			dir, err := ownOperatorDir()
			if err != nil {
				return usage("say where the identity is to be: --data DIR (%w)", err)
			}
			q.Dir = dir
		}
	case c.Data == "":
		return usage("say where the box's folder is: --data DIR")
	}
	if q.Name == "" {
		host, err := os.Hostname()
		if q.Name = nodeName(host); err != nil || q.Name == "" {
			return usage("this machine has no name to be called by: give one with --name")
		}
	}
	token, err := readToken(to, c.Token)
	if err != nil {
		return err
	}
	q.Token = token
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Std())
	defer cancel()
	made, err := control.Enrol(ctx, q)
	if err != nil {
		return err
	}
	if c.JSON {
		return to.json(made)
	}
	return to.print(enrolledText(made, c.Data, time.Now()))
}

func enrolledText(e control.Enrolled, data string, now time.Time) string {
	text := "This is " + e.Role + " " + e.Name
	if e.School != "" {
		text += " of school " + e.School
	}
	text += ", in region " + e.Region + ". Its identity is in " + e.Dir + "; the certificate is good until " +
		e.Until.Local().Format("2 January 2006") + " (" + when(e.Until, now) + ").\n\nNext:\n\n"
	if e.Role == "operator" {
		return text + "    export PREAU_OPERATOR=" + e.Dir + "\n    preau status\n"
	}
	return text + "    preau box --data " + data + " ...  as before: the box finds its identity there and follows the region\n"
}

// nodeName makes a name of a machine's: 1 to 40 of a-z, 0-9 and -.
func nodeName(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host)
	name = strings.Trim(name, "-")
	return strings.TrimRight(name[:min(len(name), 40)], "-")
}

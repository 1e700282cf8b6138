package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"preau/node/box"
	"preau/node/explain"
)

type explainCmd struct {
	URL     string   `arg:"" help:"A web address of a site, as it is on the platform itself or on a box (/o/NAME/…)."`
	Method  string   `placeholder:"METHOD" default:"GET" help:"GET, HEAD, POST and so on (default: GET)."`
	Cookie  []string `placeholder:"NAME=VALUE" sep:"none" help:"A cookie that the device sends. Can be given several times."`
	Header  []string `placeholder:"NAME:VALUE" sep:"none" help:"A field that the device sends, such as \"Range: bytes=0-99\". Can be given several times."`
	Config  string   `placeholder:"FILE" help:"Read the sites from a box's configuration file, instead of asking a box that runs."`
	Profile string   `placeholder:"NAME" help:"Explain by a profile as it is, with no box and no file."`

	boxFlags
}

func (explainCmd) Help() string {
	return `    preau explain https://cloud.example.org/s/AbC/download          what the box on this machine does, and why
    preau explain https://cloud.example.org/s/AbC --cookie nc_username=ada
    preau explain /o/tube/static/web-videos/a.mp4 --header "Range: bytes=0-99" --config box.toml
    preau explain https://pad.example.org/p/r.1/export/txt --profile etherpad

No site is asked, and nothing is stored. A box that runs also says what it has for the request now. The rules are looked at in order, and the first that applies decides:

  pass      the request goes to the site as it is, and nothing is stored
  standard  RFC 9111 decides, by what the site's answer says
  share     the site is asked without anything that says who asks, and what it answers is for everybody
  archive   the box makes a zip file of the folder's files

Exit codes: 0 explained, 1 failed, 2 the command line is wrong.`
}

func (c explainCmd) Run(ctx context.Context, to streams) error {
	q, err := c.question()
	if err != nil {
		return err
	}
	var a explain.Answer
	switch {
	case c.Config != "" && c.Profile != "" || (c.Config != "" || c.Profile != "") && c.Box != "":
		return usage("--config, --profile and --box can't be used together")
	case c.Profile != "":
		a, err = explain.AskProfile(c.Profile, q)
	case c.Config != "":
		var cfg box.Config
		if cfg, err = box.LoadConfig(c.Config, box.Profiles()); err == nil {
			a, err = explain.Ask(cfg.Site, q)
		}
	default:
		a, err = c.asked(ctx, q)
		if err != nil && !errors.Is(err, explain.ErrURL) {
			return err
		}
	}
	if err != nil {
		return usageError{err}
	}
	if c.JSON {
		return to.json(a)
	}
	return to.print(explainText(a))
}

// question is what the command line asks.
func (c explainCmd) question() (explain.Question, error) {
	q := explain.Question{Method: strings.ToUpper(c.Method), URL: c.URL, Header: http.Header{}}
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return q, usage("--header: %q is no field: write it like \"Range: bytes=0-99\"", line)
		}
		q.Header.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
	}
	for _, cookie := range c.Cookie {
		if name, _, ok := strings.Cut(cookie, "="); !ok || name == "" || strings.ContainsAny(cookie, ";\r\n") {
			return q, usage("--cookie: %q is no cookie: write it like name=value, and --cookie once for each", cookie)
		}
	}
	if len(c.Cookie) > 0 {
		q.Header.Add("Cookie", strings.Join(c.Cookie, "; "))
	}
	return q, nil
}

// asked asks a box that runs.
func (c explainCmd) asked(ctx context.Context, q explain.Question) (a explain.Answer, err error) {
	ask, err := c.open()
	if err != nil {
		return a, err
	}
	defer ask.CloseIdleConnections()
	body, err := json.Marshal(q)
	if err != nil {
		return a, fmt.Errorf("ask the box: %w", err)
	}
	req, err := ask.request(ctx, http.MethodPost, "/explain", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	_, err = ask.do(req, &a)
	return a, err
}

var actionWords = map[string]string{
	"pass":     "passed: the request goes to the site as it is, and nothing is stored",
	"standard": "by the standard: RFC 9111 decides, by what the site's answer says",
	"share":    "shared: the site is asked without anything that says who asks, and its answer is for everybody",
	"archive":  "made here: a zip file of the folder's files, each of them asked for once",
}

func explainText(a explain.Answer) string {
	var b strings.Builder
	line := func(name, text string) { fmt.Fprintf(&b, "%-9s %s\n", name, text) }
	if a.Site != "" {
		line("site", a.Site+", profile "+a.Profile)
	} else {
		line("profile", a.Profile)
	}
	line("action", actionWords[a.Action])
	line("rule", a.Rule)
	line("why", a.Why)
	if a.Probe != "" {
		line("first", a.Probe+", to see whether the link is open to everybody")
	}
	for i, target := range a.Asks {
		name := "asks"
		if i > 0 {
			name = "or"
		}
		line(name, target)
	}
	if a.Rewrites != "" {
		line("rewrites", a.Rewrites)
	}
	if a.Secret {
		line("secret", "the address opens what it names: it is in no list, count or log")
	}
	if a.Stored != nil {
		line("stored", storedText(*a.Stored))
	}
	if a.Live {
		line("live", "people talk meanwhile: background traffic waits")
	}
	b.WriteString("\nThe rules, in order:\n")
	for _, s := range a.Considered {
		mark := "  -"
		if s.Applies {
			mark = "  *"
		}
		fmt.Fprintf(&b, "%s %s: %s\n", mark, s.Rule, s.Why)
	}
	return b.String()
}

var storedWords = map[string]string{
	"nothing": "nothing yet",
	"gone":    "the site said a short while ago that it has it no more, and everybody is told so",
	"own":     "nothing: the site gives each asker an answer of their own",
	"never":   "never",
}

// storedText says what a box has for a request, and until when.
func storedText(s explain.Stored) string {
	if words, ok := storedWords[s.State]; ok {
		return words
	}
	var b strings.Builder
	at := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
	if s.State == "fresh" {
		fmt.Fprintf(&b, "fresh until %s", at(s.FreshUntil))
	} else {
		fmt.Fprintf(&b, "stale since %s, so the site is asked first", at(s.FreshUntil))
	}
	fmt.Fprintf(&b, "; of %s, status %d", at(s.Of), s.Status)
	if s.Bytes >= 0 {
		fmt.Fprintf(&b, ", %d bytes", s.Bytes)
	}
	if !s.Whole {
		b.WriteString(", not all of it here")
	}
	if s.OfflineUntil.IsZero() {
		b.WriteString("; never without the site")
	} else {
		fmt.Fprintf(&b, "; without the line until %s", at(s.OfflineUntil))
	}
	return b.String()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"preau/node/control"
	"preau/node/locate"
)

type locateCmd struct {
	URL     string `arg:"" help:"What a device asks for: a page of a listed site."`
	From    string `placeholder:"ADDRESS" help:"The public address that the device comes from, such as 192.0.2.7 (default: none that is known)."`
	Central string `placeholder:"ADDR" help:"Ask the gateway whose operator looks there, such as 127.0.0.1:9192, and not the region."`

	operatorFlags
}

func (locateCmd) Help() string {
	return `    preau locate https://cloud.example.org/s/AbC --from 192.0.2.7
    preau locate https://cloud.example.org/s/AbC --from 192.0.2.7 --central 127.0.0.1:9192

Says where a device is sent that asks GET /locate?u=URL of the region's servers or of the gateway, and why: to the box of its school, or to the site itself where the address is no school's, is several schools', or the school's box is away, has no certificate or does not have the site.` + operatorHelp
}

// Run asks.
func (c locateCmd) Run(ctx context.Context, to streams) error {
	if c.From != "" {
		if _, err := netip.ParseAddr(c.From); err != nil {
			return usageError{fmt.Errorf("--from %q is no address: write it like 192.0.2.7", c.From)}
		}
	}
	if c.Central != "" {
		a, err := c.ofGateway(ctx)
		if err != nil {
			return err
		}
		return c.print(to, a)
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		a, err := ask.Locate(ctx, c.URL, c.From)
		if err != nil {
			return err
		}
		return c.print(to, a)
	})
}

func (c locateCmd) ofGateway(ctx context.Context) (a locate.Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, usual)
	defer cancel()
	err = askGateway(ctx, c.Central, locate.OperatorsPath, url.Values{"u": {c.URL}, "from": {c.From}}, 1<<20, &a)
	if refused, ok := errors.AsType[*gatewayError](err); ok && refused.status == http.StatusNotFound {
		err = errors.New("the gateway sends no devices to boxes: locate.domain is not set in its settings")
	}
	return a, err
}

// print tells what is answered. It is no failure that a device goes to the site.
func (c locateCmd) print(to streams, a locate.Answer) error {
	if c.JSON {
		return to.json(a)
	}
	return to.print(locateText(a))
}

var locateWords = map[string]string{
	locate.WhyUnknown: "the address is no school's: no box is connected from there, and IT's list does not have it",
	locate.WhyShared:  "the address is several schools': a line for it in IT's list (locate.networks) settles whose it is",
	locate.WhyNever:   "IT's list says that nobody from there is sent to a box",
	locate.WhyNoBox:   "no box of the school is there that has the site and a certificate for its public name: preau status --box, on the box, says what is missing",
}

func locateText(a locate.Answer) string {
	switch a.Answer {
	case "refused":
		return "400: " + a.Why + "\n"
	case "box":
		how := "a box of it is connected from there"
		if a.Listed {
			how = "IT's list says so"
		}
		return fmt.Sprintf("302 %s\nSchool: %s, as %s\nBox: %s, for site %s\n", a.To, a.School, how, a.Box, a.Site)
	}
	why := a.Why
	if text := locateWords[why]; text != "" {
		why = text
	}
	text := fmt.Sprintf("302 %s\nThat is the site itself: %s\n", a.To, why)
	if a.School != "" {
		text += "School: " + a.School + "\n"
	}
	return text
}

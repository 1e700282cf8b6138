package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"preau/node/near"
)

type neighboursCmd struct {
	boxFlags
}

func (neighboursCmd) Help() string {
	return `    preau neighbours                 the other boxes of this box's school, as it sees them
    preau neighbours --box 127.0.0.1:9190 --json

Boxes of one school find one another on the LAN by themselves. FOUND is how: mdns (multicast), region (it said where the box was), static (the configuration says so), memory (where it was before), gossip (another box knew it). SHARE is the part of all objects that the box keeps for the school; GIVEN and TAKEN are bytes that it got from this box and gave to it since this box was started.

STATE is alive; draining (preau drain was said there); quarantined (it served wrong bytes, which nobody got; it is tried again later); unverified (it has not proven by its certificate that it is a box of this school: WHY says what is wrong).

Exit codes: 0 all is well, 1 a neighbour is quarantined or unverified, 2 the command line is wrong, 4 the box looks for no neighbours.`
}

func (c neighboursCmd) Run(ctx context.Context, to streams) error {
	var s near.Status
	if err := c.ask(ctx, http.MethodGet, "/neighbours", &s); err != nil {
		return err
	}
	now := time.Now()
	var err error
	if c.JSON {
		err = to.json(s)
	} else {
		err = to.print(neighboursText(s, now))
	}
	if err != nil {
		return err
	}
	if wrong := wrongBoxes(s); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// wrongBoxes is what somebody has to look at among a school's boxes.
func wrongBoxes(s near.Status) (wrong []string) {
	for _, n := range s.Neighbours {
		if n.State == near.StateQuarantined || n.State == near.StateUnverified {
			wrong = append(wrong, fmt.Sprintf("neighbour %s is %s: %s", n.Name, n.State, oneLine(n.Why)))
		}
	}
	return wrong
}

// besideText is a school's other boxes in a line.
func besideText(all []near.Neighbour) string {
	if len(all) == 0 {
		return "none is there"
	}
	var parts []string
	for _, n := range all {
		text := n.Name
		if n.State != near.StateAlive {
			text += " (" + n.State + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ") + "; preau neighbours says more"
}

// ask makes one request without a body to the box.
func (f boxFlags) ask(ctx context.Context, method, path string, into any) error {
	ask, err := f.open()
	if err != nil {
		return err
	}
	defer ask.CloseIdleConnections()
	req, err := ask.request(ctx, method, path, nil)
	if err != nil {
		return err
	}
	_, err = ask.do(req, into)
	return err
}

// neighboursText is a school's boxes on one screen.
func neighboursText(s near.Status, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of school %s keeps %s of all objects\n", s.Box, s.School, percent(s.Share))
	if s.Draining {
		b.WriteString("It is draining: preau drain --undo has it take part again\n")
	}
	if s.Listens == "" {
		b.WriteString("  ! its port for neighbours can't be opened: the box's log says why\n")
	} else if s.Gossip == "" {
		b.WriteString("  - it waits for the school's key, which the region gives\n")
	}
	if s.OwnName != "" {
		fmt.Fprintf(&b, "Devices on the LAN find it as http://%s", s.OwnName)
		if s.Name != "" {
			fmt.Fprintf(&b, ", and whichever box is there as http://%s", s.Name)
		}
		b.WriteString("\n")
	}
	if len(s.Neighbours) == 0 {
		b.WriteString("No other box of this school is there.\n")
		return b.String()
	}
	rows := [][]string{{"BOX", "STATE", "ADDRESS", "FOUND", "SINCE", "SHARE", "FREE", "GIVEN", "TAKEN", "VERSION"}}
	for _, n := range s.Neighbours {
		since := "-"
		if !n.Since.IsZero() {
			since = lasted(n.Since, now)
		}
		rows = append(rows, []string{n.Name, n.State, n.Address, n.Found, since, percent(n.Share), size(n.Free), size(n.Given), size(n.Taken), n.Version})
	}
	b.WriteString("\n" + table(rows))
	for _, n := range s.Neighbours {
		if n.Why != "" {
			fmt.Fprintf(&b, "  - %s: %s\n", n.Name, oneLine(n.Why))
		}
	}
	return b.String()
}

func percent(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }

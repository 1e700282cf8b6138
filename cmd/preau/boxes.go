package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"preau/node/control"
)

type boxesCmd struct {
	State      []string `placeholder:"STATE" enum:"connected,behind,away,asking,lapsed,revoked" help:"Only those that are connected, behind, away, asking, lapsed or revoked."`
	School     []string `placeholder:"CODE" help:"Only those of these schools."`
	Consistent bool     `help:"Include all that was committed when you ask."`

	operatorFlags
}

func (boxesCmd) Help() string {
	return `connected: it follows and has all; behind: it follows and has not all yet; away: it is not connected; asking: its disk does not open, and it asks for its place back (preau readmit --help); lapsed: it was away for longer than its certificate lasts; revoked: it was shut out.

    preau boxes
    preau boxes --state away,lapsed
    preau boxes --school 0690001A --json` + operatorHelp
}

func (c boxesCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		ask.Consistent = c.Consistent
		all, err := ask.Boxes(ctx)
		if err != nil {
			return err
		}
		found := c.filter(all)
		if c.JSON {
			return to.json(found)
		}
		return to.print(boxesText(found, len(all), ask.Index(), time.Now()))
	})
}

func (c boxesCmd) filter(all []control.Box) []control.Box {
	found := []control.Box{}
	for _, b := range all {
		school := len(c.School) == 0 || slices.ContainsFunc(c.School, func(s string) bool { return strings.EqualFold(s, b.School) })
		// One that has just been started again may still count as connected.
		state := len(c.State) == 0 || slices.Contains(c.State, b.State) || len(b.Returns) > 0 && slices.Contains(c.State, "asking")
		if school && state {
			found = append(found, b)
		}
	}
	return found
}

func boxesText(found []control.Box, known int, index uint64, now time.Time) string {
	if known == 0 {
		return "No box is enrolled yet: preau region token --school CODE invites one.\n"
	}
	if len(found) == 0 {
		return fmt.Sprintf("None of %s is so.\n", some(known, "box", "boxes"))
	}
	rows := [][]string{{"BOX", "SCHOOL", "STATE", "SERVER", "HAS INDEX", "SEEN", "ENROLLED", "VERSION"}}
	for _, b := range found {
		seen := when(b.Seen, now)
		server := b.Server
		if b.Connected {
			seen = "now"
		} else {
			server = ""
		}
		rows = append(rows, []string{b.Name, b.School, b.State, server, count(b.Index), seen, when(b.Enrolled, now), b.Version})
	}
	return table(rows) + reportsText(found, now) + returnsText(found, now) +
		fmt.Sprintf("\n%s of %s, as of index %s\n", count(len(found)), some(known, "box", "boxes"), count(index))
}

// reportsText tells which boxes sent wrong bytes to others of their school.
func reportsText(boxes []control.Box, now time.Time) string {
	var text strings.Builder
	for _, b := range boxes {
		for _, r := range b.Reports {
			fmt.Fprintf(&text, "\n  ! %s sent wrong bytes to %s (%s, %s, last %s), which nobody got: look at its disk and its memory, or preau revoke %s",
				b.Name, r.By, oneLine(r.Why), some(r.Times, "time", "times"), when(r.At, now), b.Name)
		}
	}
	if text.Len() > 0 {
		text.WriteByte('\n')
	}
	return text.String()
}

// returnsText tells who asks for a place back, and what there is to do.
func returnsText(boxes []control.Box, now time.Time) string {
	var text strings.Builder
	for _, b := range boxes {
		for _, r := range b.Returns {
			fmt.Fprintf(&text, "\n  ! %s asks for its place back (%s, for %s) with the code %s: call the school at the number on file (never act on a call that comes in), have it read out what the box shows, and if it is the same, preau readmit %s --code CODE",
				b.Name, returnWhy(r.Why), span(now.Sub(r.Since)), r.Code, b.Name)
		}
		switch {
		case len(b.Returns) > 0 && b.Connected:
			fmt.Fprintf(&text, "\n  ! %s is connected: unless it has just been started again, somebody else asks in its name", b.Name)
		case len(b.Returns) > 1:
			fmt.Fprintf(&text, "\n  ! %d ask in the name of %s, and one of them can be it", len(b.Returns), b.Name)
		}
	}
	if text.Len() > 0 {
		text.WriteByte('\n')
	}
	return text.String()
}

func returnWhy(why string) string {
	switch why {
	case "tpm":
		return "its disk is locked by another TPM"
	case "disk":
		return "its disk can't be read"
	case "empty":
		return "its disk is empty"
	case "":
		return "its disk does not open"
	}
	return oneLine(why)
}

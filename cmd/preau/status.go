package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"preau/node/control"
)

type statusCmd struct {
	Consistent bool   `help:"Include all that was committed when you ask, and not just what the server has that answers."`
	Box        string `placeholder:"HOST:PORT" help:"How the box stands whose operator looks there, and not the region (default: $$PREAU_BOX, or this machine's, 127.0.0.1:9190). On a box, where no operator's identity is, it is this machine's."`

	operatorFlags
}

func (statusCmd) Help() string {
	return `    preau status
    preau status --region 192.0.2.12:4433
                                    as that server sees it
    watch preau status
    preau status --box 127.0.0.1:9190
                                    a box: its region and the way there, its certificate, what is
                                    wanted there and here already, and the deposits that wait and why

The last lines are about the ministry's centre, if the region follows one: whether it answers and since when, how far the region is behind, which deposits wait for it, and how the servers reach it and one another. OVER is quic, tcp or proxy, and CHOSEN why; LOSS is of what the server itself sent; GOODPUT is that of files, while there was enough to fetch.

Exit codes: 0 the region is healthy, 1 it works but something is wrong, as it says, 2 the command line is wrong, 3 no server answers, 4 the region refuses this identity.`
}

func (c statusCmd) Run(ctx context.Context, to streams) error {
	if c.Box != "" {
		return c.ofBox(ctx, to, c.Box)
	}
	if _, err := c.folder(); err != nil && len(c.Region) == 0 {
		asked := c.ofBox(ctx, to, "")
		if _, none := errors.AsType[noBox](asked); none {
			return usageError{err}
		}
		return asked
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		ask.Consistent = c.Consistent
		s, err := ask.Status(ctx)
		if err != nil {
			return err
		}
		wrong := problems(s)
		if c.JSON {
			err = to.json(struct {
				control.Status
				Healthy  bool     `json:"healthy"`
				Problems []string `json:"problems"`
				You      you      `json:"you"`
			}{s, len(wrong) == 0, append([]string{}, wrong...), you{ask.Name(), ask.Until()}})
		} else {
			err = to.print(statusText(s) + you{ask.Name(), ask.Until()}.text(time.Now()))
		}
		if err != nil {
			return err
		}
		if len(wrong) > 0 {
			return errors.New(strings.Join(wrong, "; "))
		}
		return nil
	})
}

// you is whoever asks.
type you struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"` // of the certificate
}

func (y you) text(now time.Time) string {
	return fmt.Sprintf("You: %s, until %s (%s)\n", y.Name, y.Until.Local().Format(time.DateOnly), when(y.Until, now))
}

// statusText is the region on one screen.
func statusText(s control.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s), epoch %d, index %s\n", s.Name, s.Region, s.Epoch, count(s.Index))
	answering := 0
	rows := [][]string{{"SERVER", "STATE", "ADDRESS", "BEHIND", "BOXES", "PUBLISHED", "VERSION"}}
	for _, v := range s.Servers {
		row := []string{v.Name, v.State, v.Address, "-", "-", "-", v.Version}
		if !v.Voter {
			row[1] += ", no voter"
		}
		if v.State != "unreachable" {
			answering++
			row[3], row[4], row[5] = count(v.Lag), count(v.Boxes), size(v.HeldBytes)
		}
		rows = append(rows, row)
	}
	wrong := problems(s)
	health := "healthy"
	if len(wrong) > 0 {
		health = "degraded"
	}
	if s.Leader == "" {
		fmt.Fprintf(&b, "%s: no leader, %d of %s\n", health, answering, some(len(s.Servers), "server answers", "servers answer"))
	} else {
		fmt.Fprintf(&b, "%s: %s leads in term %d, %d of %s\n", health, s.Leader, s.Term, answering, some(len(s.Servers), "server answers", "servers answer"))
	}
	for _, text := range wrong {
		fmt.Fprintf(&b, "  ! %s\n", text)
	}
	for _, text := range remarks(s) {
		fmt.Fprintf(&b, "  - %s\n", text)
	}
	fmt.Fprintf(&b, "\n%s\n", table(rows))
	fmt.Fprintf(&b, "Boxes: %s\n", tallyText(s.Boxes))
	fmt.Fprintf(&b, "Decided: %s\n", countsText(s.Counts))
	b.WriteString(centreText(s))
	b.WriteString(pathsText(s))
	return b.String()
}

func tallyText(t control.Tally) string {
	text := fmt.Sprintf("%s known, %s connected", count(t.Known), count(t.Connected))
	if t.Behind > 0 {
		text += fmt.Sprintf(" (%s behind)", count(t.Behind))
	}
	text += fmt.Sprintf(", %s away", count(t.Away))
	if t.Asking > 0 {
		text += fmt.Sprintf(" (%s asking)", count(t.Asking))
	}
	if t.Lapsed > 0 {
		text += fmt.Sprintf(" (%s lapsed)", count(t.Lapsed))
	}
	if t.Revoked > 0 {
		text += fmt.Sprintf(", %s revoked", count(t.Revoked))
	}
	if t.Reported > 0 {
		text += fmt.Sprintf(", %s reported for wrong bytes (preau boxes says by whom)", count(t.Reported))
	}
	return text
}

// countsText leaves out what is shown above it.
func countsText(counts map[string]int64) string {
	var parts []string
	for _, kind := range listKinds {
		if n := counts[kind.many]; n > 0 && kind.many != "servers" && kind.many != "boxes" {
			parts = append(parts, some(n, kind.one, kind.many))
		}
	}
	if len(parts) == 0 {
		return "nothing yet"
	}
	return strings.Join(parts, ", ")
}

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"preau/node/config"
	"preau/node/control"
)

type regionPolicyCmd struct {
	School      string           `placeholder:"CODE" help:"For the boxes of this school only; without it for all."`
	Rate        *config.Bytes    `placeholder:"SIZE" help:"How much a box may fetch in a second by itself, ahead of people's wishes; 0: as it finds right."`
	Hours       []string         `placeholder:"HH:MM-HH:MM" help:"When it may do that, by its own clock, such as 22:00-06:00; may be given again; any: at any time."`
	Popular     *config.Bytes    `placeholder:"SIZE" help:"How much of what other schools ask for it may fetch ahead; 0: none."`
	Lease       *config.Duration `placeholder:"TIME" help:"How long it serves published files without hearing of the region; 0s: 30 days."`
	KAnonymity  *int             `name:"k-anonymity" placeholder:"N" help:"How often something must be asked for in a school before the school says so."`
	AllowLapsed *bool            `negatable:"" help:"Whether a box may come back by itself after its certificate ran out."`

	operatorFlags
}

func (regionPolicyCmd) Help() string {
	return `Without a setting it shows what is set. What is not named stays as it is.

    preau region policy
    preau region policy --hours 22:00-06:00 --hours 12:00-13:30 --rate 500kB
    preau region policy --school 0690001A --rate 50kB
    preau region policy --lease 14d --k-anonymity 10 --no-allow-lapsed` + operatorHelp
}

func (c regionPolicyCmd) changes() bool {
	return c.Rate != nil || c.Hours != nil || c.Popular != nil || c.Lease != nil || c.KAnonymity != nil || c.AllowLapsed != nil
}

func (c regionPolicyCmd) Run(ctx context.Context, to streams) error {
	c.School = strings.ToUpper(c.School)
	if _, err := parseHours(c.Hours); err != nil {
		return usageError{err}
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		ask.Consistent = true // what is not named must stay as it is now
		all, err := ask.Policies(ctx)
		if err != nil {
			return err
		}
		if !c.changes() {
			if c.JSON {
				return to.json(all)
			}
			return to.print(policyTable(all))
		}
		p := control.Policy{School: c.School}
		for _, old := range all {
			if old.School == c.School {
				p = old
			}
		}
		if p, err = c.change(p); err != nil {
			return err
		}
		done, err := ask.SetPolicy(ctx, p)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(p)
		}
		return to.printf("%s\nDecided, index %s; boxes hear of it within seconds.\n", policyTable([]control.Policy{p}), count(done.Index))
	})
}

func (c regionPolicyCmd) change(p control.Policy) (control.Policy, error) {
	if c.Rate != nil {
		p.PrefetchRate = int64(*c.Rate)
	}
	if c.Hours != nil {
		hours, err := parseHours(c.Hours)
		if err != nil {
			return p, err
		}
		p.PrefetchHours = hours
	}
	if c.Popular != nil {
		p.PrefetchPopular = int64(*c.Popular)
	}
	if c.Lease != nil {
		p.Lease = c.Lease.Std()
	}
	if c.KAnonymity != nil {
		p.KAnonymity = *c.KAnonymity
	}
	if c.AllowLapsed != nil {
		p.AllowLapsed = *c.AllowLapsed
	}
	return p, nil
}

// parseHours reads spans of a day; "any" is none.
func parseHours(texts []string) ([]control.Hours, error) {
	var out []control.Hours
	for _, text := range texts {
		if text == "any" {
			if len(texts) > 1 {
				return nil, fmt.Errorf("--hours any is all there is to say: leave out the others")
			}
			return nil, nil
		}
		from, to, ok := strings.Cut(text, "-")
		f, err1 := minutes(from)
		t, err2 := minutes(to)
		if !ok || err1 != nil || err2 != nil || f == t {
			return nil, fmt.Errorf("--hours: %q is not a span of the day: write it like 22:00-06:00", text)
		}
		out = append(out, control.Hours{From: f, To: t})
	}
	return out, nil
}

func minutes(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err
}

func policyTable(all []control.Policy) string {
	rows := [][]string{{"SCHOOL", "RATE", "HOURS", "POPULAR", "LEASE", "K", "LAPSED MAY RETURN"}}
	for _, p := range all {
		row := []string{"all", "as it finds right", "any", "none", "30 days", strconv.Itoa(p.KAnonymity), "no"}
		if p.School != "" {
			row[0] = p.School
		}
		if p.PrefetchRate > 0 {
			row[1] = config.Bytes(p.PrefetchRate).String() + "/s"
		}
		var hours []string
		for _, h := range p.PrefetchHours {
			hours = append(hours, fmt.Sprintf("%02d:%02d-%02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60))
		}
		if len(hours) > 0 {
			row[2] = strings.Join(hours, " ")
		}
		if p.PrefetchPopular > 0 {
			row[3] = config.Bytes(p.PrefetchPopular).String()
		}
		if p.Lease > 0 {
			row[4] = config.Duration(p.Lease).String()
		}
		if p.KAnonymity == 0 {
			row[5] = "-"
		}
		if p.AllowLapsed {
			row[6] = "yes"
		}
		rows = append(rows, row)
	}
	return table(rows)
}

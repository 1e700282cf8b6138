package main

import (
	"context"
	"errors"
	"time"
)

type centralHeldCmd struct {
	Admin string `default:"127.0.0.1:9192" placeholder:"ADDR" help:"Where the gateway's operator looks."`
	JSON  bool   `name:"json" help:"Write the list as JSON."`
}

func (centralHeldCmd) Help() string {
	return `    preau central held

Files in the watched buckets that no school gets, and why: too large, or for an audience that can't be understood. Put what is too large there in parts; mend the metadata of the others.

Exit codes: 0 nothing is held back, 1 something is, or no gateway answers.`
}

// heldObject is one, as the gateway tells of it.
type heldObject struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
	Reason   string    `json:"reason"`
}

// Run lists what is held back.
func (c centralHeldCmd) Run(ctx context.Context, to streams) error {
	held, err := c.ask(ctx)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		err = to.json(held)
	case len(held) == 0:
		err = to.print("Everything in the watched buckets is published.\n")
	default:
		rows := [][]string{{"BUCKET", "KEY", "SIZE", "SINCE", "WHY"}}
		for _, h := range held {
			rows = append(rows, []string{h.Bucket, h.Key, size(h.Bytes), when(h.Modified, time.Now()), h.Reason})
		}
		err = to.print(table(rows))
	}
	if err == nil && len(held) > 0 {
		err = errors.New(some(len(held), "file is held back", "files are held back"))
	}
	return err
}

func (c centralHeldCmd) ask(ctx context.Context) (held []heldObject, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err = askGateway(ctx, c.Admin, "/held", nil, 64<<20, &held)
	return held, err
}

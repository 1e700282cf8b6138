package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

func (c centralHeldCmd) ask(ctx context.Context) ([]heldObject, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Admin+"/held", http.NoBody)
	if err != nil {
		return nil, usageError{err}
	}
	client := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no gateway answers at %s: %w", c.Admin, err)
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it is wanted
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the gateway answers %s: %s", resp.Status, firstLine(resp.Body))
	}
	var held []heldObject
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&held); err != nil {
		return nil, fmt.Errorf("the gateway's answer can't be read: %w", err)
	}
	return held, nil
}

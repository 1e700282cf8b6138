package central

import (
	"context"
	"net/http"
	"time"

	"preau/node/listen"
	"preau/node/locate"
	"preau/replication/wire"
)

const (
	// locateFresh is how long what a region has said of its boxes is held for
	// true: it says so again every ten seconds.
	locateFresh = 45 * time.Second
	// networksEvery is how often IT's list, which a file has, goes into the table.
	networksEvery = 10 * time.Second
	// ownList is the table's source that is the gateway's own file. No region has
	// that id.
	ownList = "own list"
)

// openLocate opens the listeners for devices. Regions tell where boxes are, and
// the gateway knows of none before they have: it keeps nothing over a restart.
func (c *Central) openLocate(ctx context.Context, keep func(func() error)) error {
	cfg := c.cfg.Locate
	if !cfg.Enabled() {
		return nil
	}
	table := locate.NewTable(locateFresh)
	list, err := locate.OpenNetworks(cfg.Networks, c.log)
	if err != nil {
		return err
	}
	locator, err := locate.New(cfg, nil, table, c.reg)
	if err != nil {
		return err
	}
	c.inbox = &locate.Inbox{Table: table, Domain: cfg.Domain, Region: func(r *http.Request) string { return string(wire.PeerOf(r).Region) }}
	c.admin.Handle("GET "+locate.OperatorsPath, locator.Operators())
	c.group.Add("networks of the schools", time.Second, list.Run)
	c.group.Add("networks of the schools in use", time.Second, func(ctx context.Context) error {
		tick := time.NewTicker(networksEvery)
		defer tick.Stop()
		for {
			table.Set(ownList, locate.Report{Networks: list.List()}, time.Now())
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	for _, l := range cfg.Listen {
		door, err := listen.New(ctx, l, locator, c.log)
		if err != nil {
			return err
		}
		keep(door.Close)
		c.group.Add("devices on "+door.Addr().String(), 10*time.Second, door.Run)
	}
	return nil
}

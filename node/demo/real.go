package demo

import (
	"context"
	"log/slog"
	"net/url"

	"preau/node/box"
	"preau/node/config"
	"preau/node/front"
	doors "preau/node/listen"
	"preau/node/obs"
)

// boxBudget is the disk the demonstration's box may use: enough for the whole
// library, little enough for any laptop.
const boxBudget = 512 * config.MiB

// RealBox makes the box that schools get, with its usual settings.
func RealBox(ctx context.Context, address, upstream, data string, log *slog.Logger) (Box, error) {
	cfg := box.DefaultConfig()
	cfg.Data, cfg.Budget = data, boxBudget
	admin, _, err := free(obs.DefaultAdminAddress)
	if err != nil {
		return nil, err
	}
	cfg.Admin = box.Admin{Listen: admin, MayMove: true}
	cfg.Listen = []doors.Config{{Address: address}}
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "library", upstream, []string{"*"}
	cfg.Site = []front.Site{site}
	b, err := box.New(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	return realBox{b, admin}, nil
}

// realBox shows a box as the page wants it.
type realBox struct {
	box   *box.Box
	admin string
}

func (r realBox) Run(ctx context.Context) error { return r.box.Run(ctx) }

func (r realBox) Addr() string { return r.box.Addrs()[0].String() }

// Admin is where the box's operator adds files without a token.
func (r realBox) Admin() string { return r.admin }

func (r realBox) Snapshot() Snapshot {
	s := r.box.Snapshot(context.Background())
	out := Snapshot{
		Objects: s.Objects, Bytes: s.UsedBytes, BudgetBytes: s.BudgetBytes,
		Hits: s.Totals.Hits, Misses: s.Totals.Misses + s.Totals.Revalidated, Stale: s.Totals.Stale,
		Passed: s.Totals.Passed, Collapsed: s.Totals.Collapsed,
		LANBytes: s.SentBytes, WANBytes: s.ReceivedBytes,
	}
	for _, x := range s.Sites {
		out.Sites = append(out.Sites, Site{Name: x.Name, Up: x.Up, Cause: x.Cause, Since: x.Since})
	}
	for _, f := range s.Fills {
		out.Fills = append(out.Fills, Fill{Name: unescaped(f.Path), Have: f.Held, Length: f.Length, Readers: f.Readers})
	}
	for _, h := range s.Held {
		out.Held = append(out.Held, Held{Path: unescaped(h.Path), Type: h.Type, Bytes: h.Bytes, Complete: h.Complete, Fresh: h.Fresh})
	}
	return out
}

// unescaped is an escaped path as the library names its files.
func unescaped(escaped string) string {
	if p, err := url.PathUnescape(escaped); err == nil {
		return p
	}
	return escaped
}

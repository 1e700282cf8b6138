package uplink

import (
	"context"
	"errors"
	"slices"
	"strings"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/central"
)

// saysWhy reports whether the centre has named what is wrong with its store.
func saysWhy(err error) bool {
	_, ok := central.Why(err)
	return ok
}

// reason is what a school is told of an error. Particulars are in the log: what
// changes from try to try would be written down each time.
func reason(err error) string {
	why, ok := central.Why(err)
	switch {
	case ok:
		return why
	case answered(err):
		return err.Error()
	case errors.Is(err, block.ErrNotFound):
		return "the region's servers are looking for a part of the file"
	}
	return "the region's servers can't reach the centre"
}

// complain writes down why deposits are not kept yet, once.
func (u *Uplink) complain(ctx context.Context, why string, deposits ...catalogue.Deposit) {
	if len(why) > 500 {
		why = strings.ToValidUTF8(why[:500], "")
	}
	deposits = slices.DeleteFunc(slices.Clone(deposits), func(d catalogue.Deposit) bool { return d.Waiting == why })
	ops := make([]catalogue.Op, len(deposits))
	var err error
	for i, d := range deposits {
		d.Waiting = why
		if ops[i], err = catalogue.NewPut(d); err != nil {
			break
		}
	}
	if err == nil {
		err = u.submit(ctx, ops)
	}
	if err != nil && ctx.Err() == nil {
		u.log.WarnContext(ctx, "why deposits wait could not be written down", "deposits", len(ops), "err", err)
	}
}

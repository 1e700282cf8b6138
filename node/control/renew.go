package control

import (
	"context"
	"slices"
	"time"

	"preau/replication/enrol"
	"preau/replication/wire"
)

// renewWithin is how long a person waits, after the answer that was asked for,
// for a certificate that can be renewed the next time as well.
const renewWithin = 10 * time.Second

// Renew has the region renew the identity's certificate if half of its life is
// over. As long as it is not, nobody is asked.
func (c *Client) Renew(ctx context.Context) (renewed bool, err error) {
	if time.Now().Before(enrol.RenewAt(c.me.Certificate())) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	c.mu.Lock()
	addresses := slices.Clone(c.servers) // the one that has just answered first
	c.mu.Unlock()
	var servers []wire.Target
	for _, a := range addresses {
		servers = append(servers, wire.Target{Address: a})
	}
	return enrol.Renew(ctx, c.me, c.dialer, servers)
}

package control

import (
	"context"
	"net/url"

	"preau/node/locate"
)

// Locate is what a device would be answered that comes from an address, or from
// none, and asks for its school's box for a URL.
func (c *Client) Locate(ctx context.Context, u, from string) (locate.Answer, error) {
	query := url.Values{"u": {u}}
	if from != "" {
		query.Set("from", from)
	}
	var out locate.Answer
	return out, c.get(ctx, locate.OperatorsPath, query, &out)
}

package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// page is how many records a server lists at once.
const page = 1000

func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	if c.Consistent {
		if query == nil {
			query = url.Values{}
		}
		query.Set(Consistent, "1")
	}
	return c.do(ctx, call{method: http.MethodGet, path: path, query: query}, into)
}

// Status is how the region is, as the server sees it that answers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	return out, c.get(ctx, "/v1/status", nil, &out)
}

// Boxes lists every box, those that were revoked too.
func (c *Client) Boxes(ctx context.Context) ([]Box, error) {
	var out []Box
	return out, c.get(ctx, "/v1/boxes", nil, &out)
}

// Records lists the catalogue's records of a kind, such as "resources", in the
// order of their ids. It ends with the first error.
func (c *Client) Records(ctx context.Context, kind string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		query := url.Values{}
		for {
			var some []Record
			if err := c.get(ctx, "/v1/records/"+url.PathEscape(kind), query, &some); err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range some {
				if !yield(r, nil) {
					return
				}
			}
			if len(some) < page {
				return
			}
			query.Set("after", some[len(some)-1].ID)
		}
	}
}

// Progress is how many boxes have carried out all up to index.
func (c *Client) Progress(ctx context.Context, index uint64) (Progress, error) {
	var out Progress
	return out, c.do(ctx, call{method: http.MethodGet, path: "/v1/progress/" + strconv.FormatUint(index, 10)}, &out)
}

// Token makes an invitation. One that was made and whose answer was lost does
// no harm: nobody knows it.
func (c *Client) Token(ctx context.Context, q TokenRequest) (Token, error) {
	var out Token
	return out, c.do(ctx, call{method: http.MethodPost, path: "/v1/tokens", send: q}, &out)
}

func (c *Client) done(ctx context.Context, q call) (Done, error) {
	var out Done
	return out, c.do(ctx, q, &out)
}

// Unpublish takes a published file away from all boxes, by its resource's id.
func (c *Client) Unpublish(ctx context.Context, id string) (Done, error) {
	return c.done(ctx, call{method: http.MethodDelete, path: "/v1/publications/" + url.PathEscape(id)})
}

// Pin has boxes hold something. Its answer's id is for Unpin.
func (c *Client) Pin(ctx context.Context, q PinRequest) (Done, error) {
	// Each request makes a pin, so a second one would stay when the first is
	// taken off.
	return c.done(ctx, call{method: http.MethodPost, path: "/v1/pins", send: q, once: true})
}

// Unpin takes a pin off, by its id.
func (c *Client) Unpin(ctx context.Context, id string) (Done, error) {
	return c.done(ctx, call{method: http.MethodDelete, path: "/v1/pins/" + url.PathEscape(id)})
}

// Purge has boxes forget something.
func (c *Client) Purge(ctx context.Context, q PurgeRequest) (Done, error) {
	if q.ID == "" {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		q.ID = "purge-" + hex.EncodeToString(id[:])
	}
	return c.done(ctx, call{method: http.MethodPost, path: "/v1/purges", send: q})
}

// Revoke takes a box, server or operator out of the region.
func (c *Client) Revoke(ctx context.Context, q Revocation) (Done, error) {
	return c.done(ctx, call{method: http.MethodPost, path: "/v1/revocations", send: q})
}

// Readmit takes a revocation back.
func (c *Client) Readmit(ctx context.Context, role, name string) (Done, error) {
	return c.done(ctx, call{method: http.MethodDelete, path: "/v1/revocations/" + url.PathEscape(role) + "/" + url.PathEscape(name)})
}

// SetPolicy replaces the policy of a school, or everybody's.
func (c *Client) SetPolicy(ctx context.Context, p Policy) (Done, error) {
	return c.done(ctx, call{method: http.MethodPut, path: "/v1/policies", send: p})
}

// Subscribe has the boxes of a school, or all where school is empty, keep a
// collection.
func (c *Client) Subscribe(ctx context.Context, school, collection string) (Done, error) {
	return c.done(ctx, call{method: http.MethodPost, path: "/v1/subscriptions", send: struct {
		School     string `json:"school"`
		Collection string `json:"collection"`
	}{school, collection}})
}

// RemoveServer takes a server out of the region for good.
func (c *Client) RemoveServer(ctx context.Context, name string) (Done, error) {
	return c.done(ctx, call{method: http.MethodDelete, path: "/v1/servers/" + url.PathEscape(name)})
}

// Lead hands leadership to the server of that name.
func (c *Client) Lead(ctx context.Context, name string) (Done, error) {
	return c.done(ctx, call{method: http.MethodPost, path: "/v1/leader/" + url.PathEscape(name)})
}

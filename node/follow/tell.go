package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"preau/replication/feed"
)

// ErrUnknownThere is what Tell returns where the server is older than what it is
// told: it knows no such path.
var ErrUnknownThere = errors.New("the region's server does not know of that")

// Tell sends body, in JSON, to the server that is followed now, over the feed's
// connection, which is there anyway and comes from where the box is; it returns
// what the server says.
func (f *Follower) Tell(ctx context.Context, path string, body []byte) ([]byte, error) {
	name, _ := f.feed.Connected()
	for _, t := range (region{f}).Servers() {
		if name != "" && t.Name == name {
			return f.tell(ctx, t, path, body)
		}
	}
	return nil, errNoServers
}

func (f *Follower) tell(ctx context.Context, t feed.Target, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := region{f}.Client(t).RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostSaid))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return text, fmt.Errorf("%s: %w", t.Name, ErrUnknownThere)
	case resp.StatusCode/100 != 2:
		return text, fmt.Errorf("%s answers %d: %.300s", t.Name, resp.StatusCode, text)
	}
	return text, nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// gatewayError is an answer of a gateway that is not what was asked for.
type gatewayError struct {
	status int
	says   string
}

func (e *gatewayError) Error() string { return "the gateway answers " + e.says }

// askGateway asks the gateway whose operator looks at admin, and reads at most so
// many bytes of its answer into value.
func askGateway(ctx context.Context, admin, path string, query url.Values, most int64, value any) error {
	u := url.URL{Scheme: "http", Host: admin, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return usageError{err}
	}
	client := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s: %w", admin, err)
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it is wanted
	if resp.StatusCode != http.StatusOK {
		return &gatewayError{resp.StatusCode, resp.Status + ": " + firstLine(resp.Body)}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(value); err != nil {
		return fmt.Errorf("the gateway's answer can't be read: %w", err)
	}
	return nil
}

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"preau/replication/wire"
)

// maxAnswer bounds what a server can make a client read: 3,000 boxes are about
// a megabyte.
const maxAnswer = 64 << 20

// call is one request.
type call struct {
	method, path string
	query        url.Values
	send         any
	// once: a repetition would do something a second time, so it is not sent to
	// another server when one was lost in the middle of it.
	once bool
}

// do makes q with one server after the other, until one has the last word.
func (c *Client) do(ctx context.Context, q call, into any) error {
	var tried []Attempt
	var unsettled error
	perhaps := false // it was carried out already
	for address := range c.each() {
		reached, err := c.ask(ctx, address, q, into)
		said, isAnswer := errors.AsType[*Error](err)
		if err == nil || isAnswer {
			c.learn(ctx, address)
		}
		switch {
		case err == nil:
			return nil
		case isAnswer && perhaps && q.method == http.MethodDelete && said.Status == http.StatusNotFound:
			// It was there when it was asked for first, and is to be gone.
			if done, ok := into.(*Done); ok {
				done.Index = c.Index()
			}
			return nil
		case isAnswer && (said.Code != CodeUndecided && said.Code != CodeInternal || q.once):
			return err
		case isAnswer:
			// It may be cut off from the others, or ill, and they be well.
			unsettled, perhaps = err, true
			continue
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
			return context.Cause(ctx)
		}
		a := c.failed(address, err)
		if reached && q.once {
			return &LostError{a}
		}
		perhaps = perhaps || reached
		tried = append(tried, a)
		if ctx.Err() != nil {
			break
		}
	}
	if unsettled != nil {
		return unsettled
	}
	if err := c.certificateError(tried); err != nil {
		return err
	}
	return &UnreachableError{tried}
}

// ask makes q with one server. An answer that is no success is an *Error;
// with any other error, reached tells whether the request may have arrived.
func (c *Client) ask(ctx context.Context, address string, q call, into any) (reached bool, _ error) {
	var body []byte
	if q.send != nil {
		var err error
		if body, err = json.Marshal(q.send); err != nil {
			return false, fmt.Errorf("encode request: %w", err)
		}
	}
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	path := "https://region" + q.path
	if len(q.query) > 0 {
		path += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, path, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	if q.send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.transport(address).RoundTrip(req)
	if err != nil {
		// With TLS 1.3 a refusal comes after the request, which was not read.
		return connected.Load() && !errors.Is(err, wire.ErrRefused), err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return true, fmt.Errorf("read the answer: %w", err)
	case len(got) > maxAnswer:
		return true, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	c.answered(address, resp.Header)
	if resp.StatusCode/100 != 2 {
		return true, refusalOf(resp, got)
	}
	if into == nil {
		return true, nil
	}
	if err := json.Unmarshal(got, into); err != nil {
		return true, &Error{Status: http.StatusInternalServerError, Code: "unreadable", cause: err,
			Detail: fmt.Sprintf("the answer of %s can't be read: %v; is it of another version of preau?", address, err)}
	}
	return true, nil
}

// refusalOf reads an answer that is no success.
func refusalOf(resp *http.Response, body []byte) error {
	var f Failure
	if json.Unmarshal(body, &f) == nil && f.Detail != "" {
		return &Error{Status: resp.StatusCode, Code: f.Code, Detail: f.Detail}
	}
	switch code := resp.Header.Get("Preau-Refused"); code {
	case "":
	case "role":
		return &Error{Status: resp.StatusCode, Code: CodeCertificate, Detail: "only an operator may do this, and this identity is none: choose an operator's folder with --as DIR"}
	default:
		return &Error{Status: resp.StatusCode, Code: CodeCertificate, Detail: "the region refuses this identity (" + code + "): enrol again with a new token"}
	}
	return &Error{Status: resp.StatusCode, Code: CodeUnexpected, Detail: "the server answers " + resp.Status}
}

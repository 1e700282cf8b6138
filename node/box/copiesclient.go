package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/outbox"
)

const (
	// copyAnswer is how long another box may take for one request, of a block at
	// most: it has to write that to its disk.
	copyAnswer = 30 * time.Second
	// heldPage is how many deposits one answer lists, heldPages how many answers
	// are asked for.
	heldPage, heldPages = 1000, 30
)

// copyTaker asks one box to keep copies. It implements outbox.Neighbour.
type copyTaker struct{ Neighbour }

// Name implements outbox.Neighbour.
func (t copyTaker) Name() string { return t.Neighbour.Name }

// Offer implements outbox.Neighbour.
func (t copyTaker) Offer(ctx context.Context, d outbox.Deposit, list []byte) (missing []block.Digest, held bool, err error) {
	body, err := outbox.EncodeOffer(d, list)
	if err != nil {
		return nil, false, err
	}
	status, raw, err := t.ask(ctx, http.MethodPost, d.ID, body)
	if err != nil || status == http.StatusNoContent {
		return nil, err == nil, err
	}
	const size = len(block.Digest{})
	if len(raw)%size != 0 {
		return nil, false, fmt.Errorf("%s answers %d bytes, which is no list of digests", t.Name(), len(raw))
	}
	for ; len(raw) > 0; raw = raw[size:] {
		missing = append(missing, block.Digest(raw[:size]))
	}
	return missing, false, nil
}

// Put implements outbox.Neighbour.
func (t copyTaker) Put(ctx context.Context, id string, digest block.Digest, p []byte) error {
	_, _, err := t.ask(ctx, http.MethodPut, id+"/blocks/"+digest.String(), p)
	return err
}

// Keep implements outbox.Neighbour.
func (t copyTaker) Keep(ctx context.Context, id string) error {
	_, _, err := t.ask(ctx, http.MethodPut, id, nil)
	return err
}

// Drop implements outbox.Neighbour.
func (t copyTaker) Drop(ctx context.Context, id string) error {
	_, _, err := t.ask(ctx, http.MethodDelete, url.PathEscape(id), nil)
	return err
}

// Yours implements outbox.Neighbour.
func (t copyTaker) Yours(ctx context.Context, id string) error {
	_, _, err := t.ask(ctx, http.MethodPost, url.PathEscape(id)+"/yours", nil)
	return err
}

// Held implements outbox.Neighbour.
func (t copyTaker) Held(ctx context.Context) ([]outbox.HeldFor, error) {
	var all []outbox.HeldFor
	after := ""
	for range heldPages {
		_, raw, err := t.ask(ctx, http.MethodGet, "?after="+url.QueryEscape(after), nil)
		if err != nil {
			return nil, err
		}
		var part []outbox.HeldFor
		if err := cbor.Unmarshal(raw, &part); err != nil {
			return nil, fmt.Errorf("%s: what it has of this box can't be read: %w", t.Name(), err)
		}
		for _, h := range part {
			if h.ID <= after {
				return nil, fmt.Errorf("%s: what it has of this box is in no order", t.Name())
			}
			after = h.ID
		}
		all = append(all, part...)
		if len(part) < heldPage {
			return all, nil
		}
	}
	return all, nil
}

func (t copyTaker) ask(ctx context.Context, method, path string, body []byte) (status int, raw []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, copyAnswer, fmt.Errorf("no answer within %v", copyAnswer))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.Name()+copiesPrefix+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(resp.Body, block.Size+1))
		err = errors.Join(err, resp.Body.Close())
	}
	switch {
	case err != nil:
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		return 0, nil, fmt.Errorf("%s: %w", t.Name(), err)
	case len(raw) > block.Size:
		return 0, nil, fmt.Errorf("%s: its answer is too long", t.Name())
	case resp.StatusCode/100 == 2:
		return resp.StatusCode, raw, nil
	}
	return 0, nil, t.failed(resp, raw)
}

// failed is an answer that is no success, as an outbox takes it.
func (t copyTaker) failed(resp *http.Response, raw []byte) error {
	var f control.Failure
	if json.Unmarshal(raw, &f) != nil || f.Detail == "" || len(f.Detail) > 500 {
		f.Detail = resp.Status
	}
	err := fmt.Errorf("%s answers %d: %q", t.Name(), resp.StatusCode, f.Detail)
	switch {
	case resp.StatusCode == http.StatusInsufficientStorage:
		return errors.Join(outbox.ErrFull, err)
	case resp.StatusCode == http.StatusConflict && f.Code == codeIncomplete:
		return errors.Join(outbox.ErrIncomplete, err)
	case resp.StatusCode == http.StatusNotFound && f.Code == codeNotOffered:
		return errors.Join(outbox.ErrNotFound, err)
	case resp.StatusCode == http.StatusUnprocessableEntity:
		return errors.Join(&outbox.Refusal{Reason: f.Detail}, err)
	}
	return err
}

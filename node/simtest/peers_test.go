package simtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"preau/replication/catalogue"
	"preau/replication/consensus"
)

// ask sends the leader something.
func (r *running) ask(ctx context.Context, method, path string, data []byte) (_ []byte, err error) {
	leader, ok := r.node.Leader()
	if !ok || leader.ID == r.s.cfg.ID {
		return nil, consensus.ErrNoLeader
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+httpAt(string(leader.ID))+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	res, err := r.peers.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("hear the leader: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the leader answers %d: %s", res.StatusCode, body)
	}
	return body, nil
}

func (r *running) serveApply(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, req.Body, catalogue.MaxCommandBytes+1024))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	value, _, err := r.node.Apply(req.Context(), data)
	answer(w, value, err)
}

func (r *running) serveIndex(w http.ResponseWriter, req *http.Request) {
	index, err := r.node.ReadIndex(req.Context())
	answer(w, index, err)
}

func answer(w http.ResponseWriter, value any, err error) {
	var out []byte
	if err == nil {
		out, err = json.Marshal(value)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(out)
}

// submit has the region decide on a command, through this server.
func (r *running) submit(ctx context.Context, data []byte) (catalogue.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)() //nolint:contextcheck // the server's life ends it too
	for {
		result, err := r.decide(ctx, data)
		if err == nil {
			return result, r.node.WaitApplied(ctx, result.Index)
		}
		if !again(ctx) {
			return catalogue.Result{}, err
		}
	}
}

// again waits before another try, unless there is no time for one.
func again(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

func (r *running) decide(ctx context.Context, data []byte) (catalogue.Result, error) {
	var result catalogue.Result
	if r.node.IsLeader() {
		value, _, err := r.node.Apply(ctx, data)
		if err != nil {
			return result, err
		}
		result, ok := value.(catalogue.Result)
		if !ok {
			return result, fmt.Errorf("an entry came to %T", value)
		}
		return result, nil
	}
	body, err := r.ask(ctx, http.MethodPost, "/apply", data)
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal(body, &result)
}

// readIndex is how far this server must have come to show all that was decided
// before the call.
func (r *running) readIndex(ctx context.Context) (uint64, error) {
	if r.node.IsLeader() {
		return r.node.ReadIndex(ctx)
	}
	body, err := r.ask(ctx, http.MethodGet, "/index", nil)
	if err != nil {
		return 0, err
	}
	var index uint64
	return index, json.Unmarshal(body, &index)
}

// consistent waits until this server shows all that was decided before the call.
func (r *running) consistent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)() //nolint:contextcheck // the server's life ends it too
	for {
		index, err := r.readIndex(ctx)
		if err == nil {
			return r.node.WaitApplied(ctx, index)
		}
		if !again(ctx) {
			return err
		}
	}
}

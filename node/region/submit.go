package region

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/consensus"
)

// ErrUndecided reports that the region did not decide in time: there was no
// leader, or no majority. The command may still be carried out; sent again as
// it is, it is carried out once.
var ErrUndecided = errors.New("the region could not decide in time")

// Paths between servers.
const (
	pathApply     = "/v1/internal/apply"
	pathIndex     = "/v1/internal/index"
	pathPresence  = "/v1/internal/presence"
	pathJoin      = "/v1/internal/join"
	retryDecision = 100 * time.Millisecond
)

// refusal is a command that the catalogue did not carry out.
type refusal struct{ catalogue.Result }

func (r refusal) Error() string {
	if r.Detail != "" {
		return r.Detail
	}
	return string(r.Code)
}

// submit has the region decide on ops, and returns once this server has
// carried them out too. A refusal by the catalogue is an error of type
// refusal; the result is set all the same.
func (g *Region) submit(ctx context.Context, by string, ops ...catalogue.Op) (catalogue.Result, error) {
	data, err := catalogue.EncodeAs(g.state.Level(), catalogue.Command{
		ID: catalogue.NewCommandID(), At: time.Now().UTC().Truncate(time.Millisecond), By: by, Ops: ops,
	})
	if err != nil {
		return catalogue.Result{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, decideWithin, ErrUndecided)
	defer cancel()
	result, err := g.decide(ctx, data)
	if err != nil {
		return result, err
	}
	if err := g.node.WaitApplied(ctx, result.Index); err != nil {
		return result, fmt.Errorf("wait for the decision to arrive here: %w", err)
	}
	if result.Code != "" {
		return result, refusal{result}
	}
	return result, nil
}

// decide brings a command to the leader, whoever that is by now. The command's
// id makes it safe to repeat.
func (g *Region) decide(ctx context.Context, data []byte) (catalogue.Result, error) {
	var last error
	for {
		result, err := g.decideOnce(ctx, data)
		if err == nil {
			return result, nil
		}
		if errors.Is(err, errRefusedCommand) {
			return result, err
		}
		last = err
		select {
		case <-ctx.Done():
			return catalogue.Result{}, fmt.Errorf("%w: %w", ErrUndecided, last)
		case <-time.After(retryDecision):
		}
	}
}

// errRefusedCommand is a command that no leader would take: to repeat it is
// no use.
var errRefusedCommand = errors.New("the command can't be read")

func (g *Region) decideOnce(ctx context.Context, data []byte) (catalogue.Result, error) {
	if g.node.IsLeader() {
		return g.applyHere(ctx, data)
	}
	leader, ok := g.node.Leader()
	if !ok {
		return catalogue.Result{}, consensus.ErrNoLeader
	}
	if string(leader.ID) == g.name {
		return catalogue.Result{}, consensus.ErrNotLeader
	}
	resp, err := g.peers.do(ctx, string(leader.ID), leader.Address, http.MethodPost, pathApply, bytes.NewReader(data))
	if err != nil {
		return catalogue.Result{}, fmt.Errorf("ask the leader: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	body, err := io.ReadAll(io.LimitReader(resp.Body, catalogue.MaxRecordBytes))
	if err != nil {
		return catalogue.Result{}, fmt.Errorf("hear the leader: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		var result catalogue.Result
		if err := json.Unmarshal(body, &result); err != nil {
			return result, fmt.Errorf("hear the leader: %w", err)
		}
		return result, nil
	case http.StatusBadRequest:
		return catalogue.Result{}, fmt.Errorf("%w: %s", errRefusedCommand, body)
	}
	return catalogue.Result{}, fmt.Errorf("the leader answers %d: %s", resp.StatusCode, body)
}

// applyHere is the leader's part.
func (g *Region) applyHere(ctx context.Context, data []byte) (catalogue.Result, error) {
	value, _, err := g.node.Apply(ctx, data)
	if err != nil {
		return catalogue.Result{}, err
	}
	switch value := value.(type) {
	case catalogue.Result:
		return value, nil
	case error:
		return catalogue.Result{}, value
	}
	return catalogue.Result{}, fmt.Errorf("an entry came to nothing: %T", value)
}

// serveApply takes a command that another server was sent.
func (g *Region) serveApply(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, catalogue.MaxCommandBytes+1024))
	if err != nil {
		http.Error(w, "read command: "+err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := catalogue.Decode(data); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if level := g.state.Level(); data[0] > level {
		// Whoever sent it has applied what raised the level, and so will we.
		http.Error(w, fmt.Sprintf("the command is in version %d, and the region at %d", data[0], level), http.StatusServiceUnavailable)
		return
	}
	result, err := g.applyHere(r.Context(), data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	out, err := json.Marshal(result)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(out) // whoever asked is gone otherwise
}

// consistent waits until this server has all that was committed when the
// request came, if it asks for that, and marks the answer with its index.
func (g *Region) consistent(r *http.Request) error {
	if r.URL.Query().Get(control.Consistent) == "" {
		return nil
	}
	return g.catchUp(r.Context())
}

// catchUp waits until this server has all that was committed when it was
// called.
func (g *Region) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, decideWithin, ErrUndecided)
	defer cancel()
	for {
		index, err := g.readIndex(ctx)
		if err == nil {
			return g.node.WaitApplied(ctx, index)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUndecided, err)
		case <-time.After(retryDecision):
		}
	}
}

func (g *Region) readIndex(ctx context.Context) (uint64, error) {
	if g.node.IsLeader() {
		return g.node.ReadIndex(ctx)
	}
	leader, ok := g.node.Leader()
	if !ok || string(leader.ID) == g.name {
		return 0, consensus.ErrNoLeader
	}
	resp, err := g.peers.do(ctx, string(leader.ID), leader.Address, http.MethodGet, pathIndex, nil)
	if err != nil {
		return 0, fmt.Errorf("ask the leader: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return 0, fmt.Errorf("hear the leader: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the leader answers %d: %s", resp.StatusCode, body)
	}
	return strconv.ParseUint(string(body), 10, 64)
}

func (g *Region) serveIndex(w http.ResponseWriter, r *http.Request) {
	index, err := g.node.ReadIndex(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprint(w, index) // whoever asked is gone otherwise
}

package box

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"

	"preau/replication/outbox"
)

// statusOf is what a box says of itself.
func statusOf(t *testing.T, box *process) Status {
	t.Helper()
	resp, err := http.Get("http://" + box.Admin + "/status") //nolint:forbidigo // the test has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s struct {
		Status
		Deposits json.RawMessage `json:"deposits_waiting"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	var w struct {
		Count int
		Bytes int64
		First []struct{ ID, Filename, State, Waiting string }
	}
	if err := json.Unmarshal(s.Deposits, &w); err != nil {
		t.Fatal(err)
	}
	s.Status.Deposits.Count, s.Status.Deposits.Bytes = w.Count, w.Bytes
	for _, d := range w.First {
		s.Status.Deposits.First = append(s.Status.Deposits.First, listedDeposit{Deposit: outbox.Deposit{
			ID: d.ID, State: outbox.State(d.State), Waiting: d.Waiting, Filename: d.Filename,
		}})
	}
	return s.Status
}

// A box that belongs to no region tells what waits on it, and why.
func TestStatusTellsWhatWaits(t *testing.T) {
	box := begin(t, oneSite(filepath.Join(t.TempDir(), "data"), "http://127.0.0.1:1"))
	defer box.stop(t)
	if s := statusOf(t, box); s.Region != nil || s.Problem != "" || s.Deposits.Count != 0 || s.Version == "" {
		t.Errorf("%+v", s)
	}
	for _, name := range []string{"a.txt", "b.txt"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+box.Admin+"/d/"+name, bytes.NewReader([]byte("bonjour")))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // the test has a limit
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status)
		}
	}
	s := statusOf(t, box)
	if s.Deposits.Count != 2 || s.Deposits.Bytes != 14 || len(s.Deposits.First) != 2 {
		t.Fatalf("%+v", s.Deposits)
	}
	if d := s.Deposits.First[0]; d.Filename != "a.txt" || d.State != outbox.OnBox || d.Waiting != "this box belongs to no region yet" {
		t.Errorf("%+v", d)
	}
}

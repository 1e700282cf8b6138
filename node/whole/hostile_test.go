package whole_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/cache/block"
	"preau/node/config"
	"preau/node/control"
	"preau/node/follow"
	enrolment "preau/replication/enrol"
	"preau/replication/hold"
	"preau/replication/wire"
)

// intruder is a box with a valid certificate that says what it likes.
type intruder struct {
	rt *wire.Transport
}

func newIntruder(t *testing.T, s *school, to *server) *intruder {
	t.Helper()
	me, err := enrolment.OpenStore(follow.IdentityDir(s.cfg.Data))
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := wire.NewDialer(me.Credentials(), wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	rt := dialer.Transport(wire.Target{Address: to.cfg.Listen})
	t.Cleanup(func() { _ = rt.Close() })
	return &intruder{rt: rt}
}

// try makes a request and returns its status and what the answer calls itself.
func (i *intruder) try(t *testing.T, method, path string, body []byte) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://server"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := i.rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var f control.Failure
	_ = json.Unmarshal(raw, &f) // other answers have no code
	return resp.StatusCode, f.Code
}

// announce says that blocks that the region has are a deposit.
func (i *intruder) announce(t *testing.T, d control.Deposit) (int, string) {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return i.try(t, http.MethodPost, "/v1/deposits", raw)
}

// bring puts a file's block and list, and returns its description.
func (i *intruder) bring(t *testing.T, id, name string, body []byte) control.Deposit {
	t.Helper()
	digest := block.Sum(body)
	list, err := hold.EncodeList([]hold.Entry{{Digest: digest, Length: len(body)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][]byte{body, list} {
		if status, code := i.try(t, http.MethodPut, "/v1/deposits/blocks/"+block.Sum(p).String(), p); status != http.StatusNoContent {
			t.Fatal(status, code)
		}
	}
	return control.Deposit{
		ID: id, Filename: name, ContentType: "text/plain", At: time.Now().UTC(), Length: int64(len(body)), SHA256: digest.String(), List: block.Sum(list).String(),
	}
}

// TestABoxThatLies has a box with a valid certificate send what it should not.
func TestABoxThatLies(t *testing.T) {
	t.Parallel()
	quick(t)
	s, operator, _, honest := withCentre(t)
	evil := newIntruder(t, enrol(t, operator, "evil", "0690002B"), s)
	eventually(t, func() error {
		_, err := os.Stat(filepath.Join(honest.cfg.Data, "deposits", "token"))
		return err
	})
	lesson := []byte("what a teacher wrote")
	id := deposit(t, honest, "lecon.txt", lesson)
	state := func() (at struct{ State, Key string }) {
		raw, err := fetch(t, honest.url+"/d/"+id)
		if err != nil || json.Unmarshal(raw, &at) != nil {
			t.Fatal(err)
		}
		return at
	}
	eventually(t, func() error {
		if at := state(); at.State == "box" {
			return errors.New("still on the box only")
		}
		return nil
	})

	body := make([]byte, 5000)
	_, _ = rand.Read(body) // never fails
	good := evil.bring(t, "0123456789abcdef", "a.txt", body)
	change := func(fn func(d *control.Deposit)) control.Deposit {
		d := good
		fn(&d)
		return d
	}
	for name, c := range map[string]struct {
		d      control.Deposit
		status int
		code   string
	}{
		"another school's id":  {change(func(d *control.Deposit) { d.ID = id }), http.StatusConflict, "taken"},
		"another file's name":  {change(func(d *control.Deposit) { d.SHA256 = block.Sum(lesson).String() }), http.StatusUnprocessableEntity, "wrong_bytes"},
		"a path for a name":    {change(func(d *control.Deposit) { d.Filename = "../0690001A/lecon.txt" }), http.StatusBadRequest, ""},
		"a path for an id":     {change(func(d *control.Deposit) { d.ID = "../0690001A/x" }), http.StatusBadRequest, ""},
		"no id":                {change(func(d *control.Deposit) { d.ID = "" }), http.StatusBadRequest, ""},
		"a longer file":        {change(func(d *control.Deposit) { d.Length++ }), http.StatusUnprocessableEntity, "wrong_bytes"},
		"less than nothing":    {change(func(d *control.Deposit) { d.Length = -1 }), http.StatusBadRequest, ""},
		"more than there is":   {change(func(d *control.Deposit) { d.Length = 1<<63 - 1 }), http.StatusInsufficientStorage, "full"},
		"a list that is none":  {change(func(d *control.Deposit) { d.List = d.SHA256 }), http.StatusBadRequest, ""},
		"a list that is away":  {change(func(d *control.Deposit) { d.List = block.Sum([]byte("x")).String() }), http.StatusConflict, "missing"},
		"nothing, wrong named": {change(func(d *control.Deposit) { d.Length = 0 }), http.StatusUnprocessableEntity, "wrong_bytes"},
	} {
		if status, code := evil.announce(t, c.d); status != c.status || c.code != "" && code != c.code {
			t.Errorf("%s: %d %q, want %d %q", name, status, code, c.status, c.code)
		}
	}
	// What only operators, servers and gateways may do.
	for _, try := range []string{
		"POST /v1/purge", "POST /v1/pin", "POST /v1/token", "POST /v1/revoke", "POST /v1/publish", "PUT /blocks/" + good.SHA256, "GET /v1/records/deposits", "POST /v1/apply",
	} {
		method, path, _ := strings.Cut(try, " ")
		if status, _ := evil.try(t, method, path, []byte("{}")); status != http.StatusForbidden && status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", try, status)
		}
	}
	// Its own file is taken, and lies under its own school.
	if status, code := evil.announce(t, good); status != http.StatusOK {
		t.Errorf("an honest deposit: %d %s", status, code)
	}
	eventually(t, func() error {
		if at := state(); at.State != "central" {
			return fmt.Errorf("the lesson is at %q", at.State)
		}
		keys := map[string]any{}
		for rec, err := range operator.Records(t.Context(), "deposits") {
			if err != nil {
				return err
			}
			if d, ok := rec.Value.(map[string]any); ok {
				keys[rec.ID] = d["key"]
			}
		}
		mine, _ := keys[id].(string)
		its, _ := keys[good.ID].(string)
		if len(keys) != 2 || mine == "" || its == "" {
			return fmt.Errorf("the region knows of %v", keys)
		}
		if !strings.HasPrefix(mine, "0690001A/") || !strings.HasSuffix(mine, "/lecon.txt") || !strings.HasPrefix(its, "0690002B/") || !strings.HasSuffix(its, "/a.txt") {
			t.Fatalf("the bucket has %q and %q", mine, its)
		}
		return nil
	})
	if got, err := fetch(t, honest.url+"/d/"+id+"/lecon.txt"); err != nil || !bytes.Equal(got, lesson) {
		t.Errorf("the lesson: %q, %v", got, err)
	}
}

// TestABoxCanNotFillTheRegion has a box send blocks that belong to nothing, and
// files that nobody fetches.
func TestABoxCanNotFillTheRegion(t *testing.T) {
	t.Parallel()
	quick(t)
	cfg := configOf(t)
	cfg.Deposits = 3 * config.MiB
	s, operator := founded(t, cfg)
	evil := newIntruder(t, enrol(t, operator, "evil", "0690002B"), s)
	p := make([]byte, block.Size)
	put := func() int {
		_, _ = rand.Read(p) // never fails
		status, _ := evil.try(t, http.MethodPut, "/v1/deposits/blocks/"+block.Sum(p).String(), p)
		return status
	}
	for i := range 3 {
		if status := put(); status != http.StatusNoContent {
			t.Fatalf("block %d: %d", i, status)
		}
	}
	if status := put(); status != http.StatusInsufficientStorage {
		t.Errorf("a block beyond what a box may send: %d", status)
	}
	// Another box is not held up.
	other := newIntruder(t, enrol(t, operator, "other", "0690001A"), s)
	if status, code := other.announce(t, other.bring(t, "0123456789abcdef", "a.txt", []byte("a"))); status != http.StatusOK {
		t.Errorf("another box: %d %s", status, code)
	}
	if status, code := other.announce(t, other.bring(t, "fedcba9876543210", "b.txt", p)); status != http.StatusOK {
		t.Errorf("a second file: %d %s", status, code)
	}
	big := bytes.Repeat(p, 1)
	big[0]++
	third := other.bring(t, "00000000000000aa", "c.txt", big)
	if status, code := other.announce(t, third); status != http.StatusOK {
		t.Errorf("a third file: %d %s", status, code)
	}
	big[0]++
	if status, code := other.announce(t, other.bring(t, "00000000000000bb", "d.txt", big)); status != http.StatusInsufficientStorage || code != "full" {
		t.Errorf("more than a school may have waiting: %d %s", status, code)
	}
}

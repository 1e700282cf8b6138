package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/control"
	"preau/node/control/controltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, servers ...string) *control.Client {
	t.Helper()
	c, err := control.Open(dir, servers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func status(string, *http.Request) (any, error) { return control.Status{Name: "Nord"}, nil }

func TestNextServerIsAskedWhenOneIsLost(t *testing.T) {
	r := controltest.Start(t, 3)
	r.On("GET /v1/status", status)
	dir := r.Operator(t, "ann")
	c := open(t, dir)
	if s, err := c.Status(t.Context()); err != nil || s.Name != "Nord" {
		t.Fatalf("status = %+v, %v", s, err)
	}
	if got := c.Index(); got != 7 {
		t.Errorf("index = %d, want 7", got)
	}
	r.Servers[0].Stop()
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatalf("with one server lost: %v", err)
	}
	if lost := c.Lost(); len(lost) != 1 || lost[0].Server != r.Servers[0].Address {
		t.Errorf("lost = %v, want the first server", lost)
	}
	want := []string{"s1 GET /v1/status", "s2 GET /v1/status"}
	if got := r.Seen(); !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	// The folder was told of s1 alone, and remembers the others now.
	again := open(t, dir)
	if _, err := again.Status(t.Context()); err != nil {
		t.Errorf("a new client does not know the other servers: %v", err)
	}
}

func TestOnlyTheServersThatWereGivenAreAsked(t *testing.T) {
	r := controltest.Start(t, 2)
	r.On("GET /v1/status", status)
	c := open(t, r.Operator(t, "ann"), r.Servers[1].Address)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Servers[1].Stop()
	_, err := c.Status(t.Context())
	lost, ok := errors.AsType[*control.UnreachableError](err)
	if !ok || len(lost.Tried) != 1 {
		t.Fatalf("error = %v, want that one server was tried", err)
	}
	if text := err.Error(); !strings.Contains(text, r.Servers[1].Address+" (connection refused)") || strings.Contains(text, "\n") {
		t.Errorf("error %q, want one line with the address and the reason", text)
	}
	if !control.Undecided(err) || control.Refused(err) {
		t.Errorf("undecided %v, refused %v", control.Undecided(err), control.Refused(err))
	}
}

func TestAnswersThatAreNoSuccess(t *testing.T) {
	r := controltest.Start(t, 2)
	c := open(t, r.Operator(t, "ann"))
	r.On("DELETE /v1/pins/p1", func(string, *http.Request) (any, error) {
		return nil, &control.Error{Status: 404, Code: "not_found", Detail: "there is no pin p1"}
	})
	_, err := c.Unpin(t.Context(), "p1")
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != "not_found" || e.Error() != "there is no pin p1" {
		t.Errorf("error = %#v", err)
	}
	if !control.Refused(err) || control.Undecided(err) {
		t.Error("a pin that is not there is neither refused nor undecided, or both")
	}
	if got := r.Seen(); len(got) != 1 {
		t.Errorf("requests %v: a no is a no, and not asked for again elsewhere", got)
	}

	r.On("POST /v1/purges", func(server string, _ *http.Request) (any, error) {
		if server == "s1" {
			return nil, &control.Error{Status: 503, Code: control.CodeUndecided, Detail: "could not decide"}
		}
		return control.Done{Index: 9}, nil
	})
	if d, err := c.Purge(t.Context(), control.PurgeRequest{All: true}); err != nil || d.Index != 9 {
		t.Errorf("purge where one server is cut off: %+v, %v", d, err)
	}
	r.On("POST /v1/purges", func(string, *http.Request) (any, error) {
		return nil, &control.Error{Status: 503, Code: control.CodeUndecided, Detail: "could not decide"}
	})
	if _, err := c.Purge(t.Context(), control.PurgeRequest{All: true}); !control.Undecided(err) {
		t.Errorf("purge without a majority: %v", err)
	}
}

// What one server may have taken away before it was lost is not missed when
// another says that it is gone.
func TestWhatIsGoneAfterALostAnswerWasTakenAway(t *testing.T) {
	r := controltest.Start(t, 2)
	c := open(t, r.Operator(t, "ann"))
	r.On("DELETE /v1/pins/p1", func(server string, _ *http.Request) (any, error) {
		if server == "s1" {
			return nil, &control.Error{Status: 503, Code: control.CodeUndecided, Detail: "could not decide"}
		}
		return nil, &control.Error{Status: 404, Code: "not_found", Detail: "there is no pin p1"}
	})
	if done, err := c.Unpin(t.Context(), "p1"); err != nil || done.Index != c.Index() {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestPinIsNotMadeTwice(t *testing.T) {
	r := controltest.Start(t, 2)
	r.On("GET /v1/status", status)
	var asked atomic.Int32
	r.On("POST /v1/pins", func(string, *http.Request) (any, error) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	c := open(t, r.Operator(t, "ann"))
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Pin(t.Context(), control.PinRequest{Resource: "r"})
	if _, ok := errors.AsType[*control.LostError](err); !ok || asked.Load() != 1 {
		t.Errorf("%v after %d requests, want a LostError after 1", err, asked.Load())
	}
	// A server that was not reached has done nothing.
	r.On("POST /v1/pins", func(string, *http.Request) (any, error) { return control.Done{ID: "p"}, nil })
	r.Servers[0].Stop()
	if d, err := c.Pin(t.Context(), control.PinRequest{Resource: "r"}); err != nil || d.ID != "p" {
		t.Errorf("pin with another server = %+v, %v", d, err)
	}
}

func TestRevokedOperatorIsToldSo(t *testing.T) {
	r := controltest.Start(t, 1)
	r.On("GET /v1/status", status)
	c := open(t, r.Operator(t, "ann"))
	r.Revoke("operator", "ann")
	_, err := c.Status(t.Context())
	if !control.Refused(err) || !strings.Contains(err.Error(), "refuses the certificate of operator ann") {
		t.Errorf("error = %v", err)
	}
	_, err = c.Pin(t.Context(), control.PinRequest{Resource: "r"})
	if !control.Refused(err) {
		t.Errorf("error of a request that may not be repeated = %v", err)
	}
}

func TestServerOfAnotherRegionIsNotBelieved(t *testing.T) {
	ours, theirs := controltest.Start(t, 1), controltest.Start(t, 1)
	c := open(t, ours.Operator(t, "ann"), theirs.Servers[0].Address)
	_, err := c.Status(t.Context())
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.CodeForeign {
		t.Errorf("error = %v, want that it is another region's", err)
	}
	if seen := theirs.Seen(); len(seen) != 0 {
		t.Errorf("the stranger was asked %v", seen)
	}
}

func TestBoxMayNotAskWhatOperatorsAsk(t *testing.T) {
	r := controltest.Start(t, 1)
	r.On("GET /v1/status", status)
	dir := t.TempDir()
	e, err := control.Enrol(t.Context(), control.Enrolment{Token: r.Token(t, "box", "0690001A"), Dir: dir, Role: "box", Name: "b"})
	if err != nil || e.School != "0690001A" {
		t.Fatalf("enrol = %+v, %v", e, err)
	}
	_, err = open(t, dir).Status(t.Context())
	if !control.Refused(err) || !strings.Contains(err.Error(), "only an operator may do this") {
		t.Errorf("error = %v", err)
	}
}

func TestFolderWithoutIdentity(t *testing.T) {
	if _, err := control.Open(t.TempDir(), nil); !errors.Is(err, control.ErrNoIdentity) {
		t.Errorf("error = %v", err)
	}
	r := controltest.Start(t, 1)
	if _, err := control.Open(r.Operator(t, "ann"), []string{"nowhere"}); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestAllRecordsAreListed(t *testing.T) {
	r := controltest.Start(t, 1)
	r.On("GET /v1/records/pins", func(_ string, q *http.Request) (any, error) {
		var out []control.Record
		from := 0
		if after := q.URL.Query().Get("after"); after != "" {
			if _, err := fmt.Sscanf(after, "p%d", &from); err != nil {
				return nil, err
			}
			from++
		}
		for i := from; i < 2345 && len(out) < 1000; i++ {
			out = append(out, control.Record{ID: fmt.Sprintf("p%04d", i)})
		}
		return out, nil
	})
	c := open(t, r.Operator(t, "ann"))
	c.Consistent = true
	n := 0
	for rec, err := range c.Records(t.Context(), "pins") {
		if err != nil || rec.ID != fmt.Sprintf("p%04d", n) {
			t.Fatalf("record %d = %+v, %v", n, rec, err)
		}
		n++
	}
	if n != 2345 {
		t.Errorf("%d records, want 2345", n)
	}
	for _, q := range r.Seen() {
		if !strings.Contains(q, "consistent=1") {
			t.Errorf("%s does not ask for all that was committed", q)
		}
	}
	for _, err := range c.Records(t.Context(), "pins") {
		if err != nil {
			t.Error(err)
		}
		break // and asks no further
	}
	for _, err := range c.Records(t.Context(), "cups") {
		if !control.Refused(err) {
			t.Errorf("error = %v", err)
		}
	}
}

func TestWatchEndsWhenAllConnectedHaveConfirmed(t *testing.T) {
	r := controltest.Start(t, 1)
	var asked atomic.Int32
	r.On("GET /v1/progress/9", func(string, *http.Request) (any, error) {
		n := int(asked.Add(1))
		return control.Progress{Index: 9, Confirmed: min(n, 3), Connected: 3, Known: 5}, nil
	})
	c := open(t, r.Operator(t, "ann"))
	var heard []int
	p, err := c.WatchProgress(t.Context(), 9, func(p control.Progress) { heard = append(heard, p.Confirmed) })
	if err != nil || p.Confirmed != 3 || p.Known != 5 || !slices.Equal(heard, []int{1, 2, 3}) {
		t.Errorf("progress = %+v, %v; heard %v", p, err, heard)
	}

	r.On("GET /v1/progress/9", func(string, *http.Request) (any, error) {
		return control.Progress{Index: 9, Confirmed: 1, Connected: 3, Waiting: []string{"b2", "b3"}}, nil
	})
	why := errors.New("long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if p, err := c.WatchProgress(ctx, 9, func(control.Progress) { cancel(why) }); !errors.Is(err, why) || len(p.Waiting) != 2 {
		t.Errorf("progress = %+v, %v, want the latest and why it ended", p, err)
	}
}

func TestAnswerThatNeverComes(t *testing.T) {
	r := controltest.Start(t, 1)
	dir := r.Operator(t, "ann")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := open(t, dir, ln.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.Status(ctx)
	if _, ok := errors.AsType[*control.UnreachableError](err); !ok || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("error = %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestEnrolmentsThatFail(t *testing.T) {
	r := controltest.Start(t, 1)
	used := r.Token(t, "operator", "")
	if _, err := control.Enrol(t.Context(), control.Enrolment{Token: used, Dir: t.TempDir(), Role: "operator", Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	enrolled := r.Operator(t, "eve")
	gone := controltest.Start(t, 1)
	nobody := gone.Token(t, "box", "0690001A")
	gone.Servers[0].Stop()
	fresh := r.Token(t, "box", "0690001A")
	for name, tt := range map[string]struct {
		token, dir, role string
		code, says       string
		undecided        bool
	}{
		"cut off":          {token: fresh[:40], code: "token", says: "cut off"},
		"mistyped":         {token: strings.Replace(fresh, fresh[30:32], "ZQ", 1), code: "token", says: "mistyped"},
		"not a token":      {token: "hello", code: "token", says: "from PREAU1-"},
		"used":             {token: used, role: "operator", code: "token_used", says: "Ask for another"},
		"of another role":  {token: fresh, role: "operator", code: "not_for_this", says: "another role"},
		"folder taken":     {token: r.Token(t, "operator", ""), dir: enrolled, role: "operator", code: "enrolled", says: "--replace"},
		"nobody there":     {token: nobody, code: "unavailable", says: "no server of the region answers", undecided: true},
		"no such role":     {token: fresh, role: "king"},
		"not in that name": {token: fresh, role: "box", dir: "", code: "", says: ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := control.Enrolment{Token: tt.token, Dir: tt.dir, Role: tt.role, Name: "x"}
			if q.Dir == "" {
				q.Dir = t.TempDir()
			}
			if q.Role == "" {
				q.Role = "box"
			}
			if name == "not in that name" {
				q.Name = "Not A Name"
			}
			_, err := control.Enrol(t.Context(), q)
			if err == nil {
				t.Fatal("it was enrolled")
			}
			e, ok := errors.AsType[*control.Error](err)
			if ok != (tt.code != "") || ok && e.Code != tt.code || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %#v: %v", err, err)
			}
			if got := control.Undecided(err); got != tt.undecided {
				t.Errorf("undecided = %v", got)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"preau/node/control"
	"preau/node/control/controltest"
)

// said is what a command did.
type said struct {
	code     int
	out, err string
}

func do(t *testing.T, args ...string) said {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, &out, &errs)
	return said{code, out.String(), errs.String()}
}

// as is a region of n servers and its operator, whom commands find by
// themselves.
func as(t *testing.T, n int) *controltest.Region {
	t.Helper()
	r := controltest.Start(t, n)
	t.Setenv(operatorVariable, r.Operator(t, "ann"))
	return r
}

func answer(v any) controltest.Answer {
	return func(string, *http.Request) (any, error) { return v, nil }
}

func refuse(status int, code, detail string) controltest.Answer {
	return func(string, *http.Request) (any, error) {
		return nil, &control.Error{Status: status, Code: code, Detail: detail}
	}
}

// heard keeps the body of what was sent.
func heard[T any](into *T, v any) controltest.Answer {
	return func(_ string, r *http.Request) (any, error) {
		*into = *new(T)
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		return v, d.Decode(into)
	}
}

func (s said) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit code %d, want %d", s.code, code)
	}
	for _, part := range parts {
		if !strings.Contains(s.out+s.err, part) {
			t.Errorf("nothing of %q", part)
		}
	}
	if t.Failed() {
		t.Logf("stdout: %s\nstderr: %s", s.out, s.err)
	}
}

func TestStatusTellsByItsExitCode(t *testing.T) {
	r := as(t, 1)
	r.On("GET /v1/status", answer(healthyRegion()))
	s := do(t, "status")
	s.want(t, exitOK, "healthy: s1 leads in term 4, 3 of 3 servers answer")
	if s.err != "" {
		t.Errorf("stderr %q", s.err)
	}
	r.On("GET /v1/status", answer(degradedRegion()))
	do(t, "status").want(t, exitFailed, "preau status: there is no leader", "server s1 does not answer (connection refused)", "the clock of server s3 is 3 h ahead")
	s = do(t, "status", "--json", "--consistent")
	var got struct {
		Healthy  bool
		Problems []string
		Name     string
	}
	if err := json.Unmarshal([]byte(s.out), &got); err != nil || got.Healthy || len(got.Problems) == 0 || got.Name != "Académie de Lyon" {
		t.Errorf("JSON %+v, %v", got, err)
	}
	if seen := r.Seen(); !strings.HasSuffix(seen[len(seen)-1], "?consistent=1") {
		t.Errorf("asked %v", seen)
	}
	r.Servers[0].Stop()
	do(t, "status").want(t, exitUndecided, "no server of the region answers: "+r.Servers[0].Address+" (connection refused)")
}

func TestStatusAsJSONHasStableNames(t *testing.T) {
	r := as(t, 1)
	r.On("GET /v1/status", answer(cutRegion()))
	s := do(t, "status", "--json")
	s.want(t, exitFailed, "the centre central.example:4433 can't be reached")
	golden(t, "status-json", undated(s.out))
	r.On("GET /v1/status", answer(healthyRegion()))
	do(t, "status", "--json").want(t, exitOK, `"follows": false`, `"deposits_waiting": {`)
}

func TestExitCodesOfOperators(t *testing.T) {
	r := as(t, 1)
	r.On("DELETE /v1/pins/p", refuse(404, "not_found", "there is no pin p"))
	do(t, "unpin", "p").want(t, exitRefused, "preau unpin: there is no pin p")
	r.On("DELETE /v1/pins/p", refuse(503, "undecided", "the region could not decide in time"))
	do(t, "unpin", "p").want(t, exitUndecided, "preau unpin: the region could not decide in time")
	r.On("DELETE /v1/pins/p", refuse(500, "internal", "broken"))
	do(t, "unpin", "p").want(t, exitFailed, "broken")
	r.On("DELETE /v1/servers/s2", refuse(409, "conflict", "this server is the leader"))
	do(t, "region", "remove", "s2").want(t, exitRefused, "preau region remove: this server is the leader")
	do(t, "region", "lead").want(t, exitUsage, "Try: preau region lead --help")
	r.Revoke("operator", "ann")
	do(t, "unpin", "p").want(t, exitRefused, "the region refuses the certificate of operator ann")
}

func TestCommandsSendWhatWasSaid(t *testing.T) {
	r := as(t, 1)
	done := control.Done{ID: "pin-1", Index: 1234}

	var token control.TokenRequest
	r.On("POST /v1/tokens", heard(&token, control.Token{Token: "PREAU1-ABC", Role: "box", School: "0690001A"}))
	s := do(t, "region", "token", "--school", "0690001A", "--valid", "1d")
	s.want(t, exitOK, "PREAU1-ABC", "preau enrol --token PREAU1-ABC --data")
	if token.Role != "box" || token.School != "0690001A" || token.Valid.Hours() != 24 || strings.Contains(s.out, "█") {
		t.Errorf("asked for %+v, told %s", token, s.out)
	}
	do(t, "region", "token", "--server", "--qr").want(t, exitOK, "█")
	if token.Role != "server" {
		t.Errorf("asked for %+v", token)
	}
	do(t, "region", "token").want(t, exitUsage, "--school CODE for a box")

	var pin control.PinRequest
	r.On("POST /v1/pins", heard(&pin, done))
	do(t, "pin", "--resource", "r", "--school", "0690001A,0690002B", "--until", "2030-01-02").want(t, exitOK, "pinned, as pin-1 (index 1,234)")
	if pin.Resource != "r" || len(pin.Schools) != 2 || pin.Until.IsZero() || !pin.From.IsZero() {
		t.Errorf("pinned %+v", pin)
	}

	var out control.Revocation
	r.On("POST /v1/revocations", heard(&out, done))
	do(t, "revoke", "lib-1", "--reason", "stolen").want(t, exitOK, "box lib-1 is shut out", "preau readmit lib-1 --role box")
	if out != (control.Revocation{Role: "box", Name: "lib-1", Reason: "stolen"}) {
		t.Errorf("revoked %+v", out)
	}
	r.On("DELETE /v1/revocations/operator/eve", answer(done))
	do(t, "readmit", "eve", "--role", "operator").want(t, exitOK, "operator eve may connect again")
	var back control.ReturnRequest
	r.On("POST /v1/returns", heard(&back, control.Returned{Box: "lib-1", Name: "lib-1-k7qd", School: "0690001A", Index: 1234}))
	do(t, "readmit", "lib-1", "--code", "ABCD-EFGH-JKLM").want(t, exitOK, "box lib-1 of school 0690001A may come back as lib-1-k7qd", "(index 1,234)", "lib-1 stays the name of what is on its disk")
	if back != (control.ReturnRequest{Box: "lib-1", Code: "ABCD-EFGH-JKLM"}) {
		t.Errorf("took back %+v", back)
	}
	do(t, "readmit", "s1", "--role", "server", "--code", "ABCD-EFGH-JKLM").want(t, exitUsage, "--code is that of a box")
	do(t, "readmit", "lib-1", "--code", "").want(t, exitUsage, "--code is empty")
	r.On("POST /v1/returns", refuse(409, "code", "it has another code"))
	do(t, "readmit", "lib-1", "--code", "ABCD-EFGH-JKLM").want(t, exitRefused, "it has another code")
	r.On("POST /v1/returns", refuse(404, control.CodeUnexpected, "the server answers 404 Not Found"))
	do(t, "readmit", "lib-1", "--code", "ABCD-EFGH-JKLM").want(t, exitRefused, "of an older version", "--region HOST:PORT")
	r.On("POST /v1/leader/s2", answer(done))
	do(t, "region", "lead", "s2").want(t, exitOK, "s2 leads")

	r.On("GET /v1/boxes", answer([]control.Box{{Name: "a", State: "away"}, {Name: "b", State: "lapsed"}}))
	s = do(t, "boxes", "--state", "lapsed")
	s.want(t, exitOK, "1 of 2 boxes, as of index 7")
	r.On("GET /v1/records/pins", answer([]control.Record{{ID: "pin-1", Value: map[string]any{"resource": "r"}}}))
	do(t, "list", "pins").want(t, exitOK, "pin-1", "1 pin, as of index 7")
	do(t, "list", "pins", "--json").want(t, exitOK, `"resource": "r"`)
}

func TestPolicyChangesWhatIsNamedOnly(t *testing.T) {
	r := as(t, 1)
	r.On("GET /v1/records/policies", answer([]control.Record{
		{ID: "all", Value: map[string]any{"k_anonymity": 5, "allow_lapsed": true, "prefetch_rate": 1000, "prefetch_hours": []any{map[string]any{"from": 60, "to": 120}}}},
		{ID: "0690001A", Value: map[string]any{"school": "0690001A", "lease_seconds": 86400}},
	}))
	var got control.Policy
	r.On("PUT /v1/policies", heard(&got, control.Done{Index: 3}))
	do(t, "region", "policy", "--no-allow-lapsed", "--popular", "1GiB").want(t, exitOK, "Decided, index 3")
	if got.School != "" || got.AllowLapsed || got.KAnonymity != 5 || got.PrefetchRate != 1000 || got.PrefetchPopular != 1<<30 || len(got.PrefetchHours) != 1 || got.PrefetchHours[0].To != 120 {
		t.Errorf("set %+v", got)
	}
	got = control.Policy{}
	do(t, "region", "policy", "--school", "0690001a", "--hours", "22:00-06:00", "--hours", "12:00-13:00").want(t, exitOK, "22:00-06:00 12:00-13:00")
	if got.School != "0690001A" || got.Lease.Hours() != 24 || len(got.PrefetchHours) != 2 {
		t.Errorf("set %+v", got)
	}
	got = control.Policy{}
	do(t, "region", "policy", "--hours", "any", "--allow-lapsed").want(t, exitOK)
	if len(got.PrefetchHours) != 0 || !got.AllowLapsed {
		t.Errorf("set %+v", got)
	}
	got = control.Policy{}
	do(t, "region", "policy").want(t, exitOK, "0690001A", "01:00-02:00")
	if got.KAnonymity != 0 {
		t.Error("to look was to set")
	}
}

func TestPurgeWaitsForTheBoxes(t *testing.T) {
	r := as(t, 1)
	var sent control.PurgeRequest
	r.On("POST /v1/purges", heard(&sent, control.Done{ID: "purge-1", Index: 9}))
	var asked atomic.Int32
	r.On("GET /v1/progress/9", func(string, *http.Request) (any, error) {
		return control.Progress{Index: 9, Confirmed: min(int(asked.Add(1)), 3), Connected: 3, Known: 63}, nil
	})
	s := do(t, "purge", "/film.mp4", "--site", "library", "--reason", "wrong")
	s.want(t, exitOK, "Purge of /film.mp4: decided, index 9. Done by 3 of 3 connected boxes, 60 away will do it when they are back.")
	if s.err != "" {
		t.Errorf("progress away from a terminal: %q", s.err)
	}
	if sent.ID == "" {
		t.Error("a purge without an id can't be repeated")
	}
	sent.ID = ""
	if sent != (control.PurgeRequest{Site: "library", URL: "/film.mp4", Reason: "wrong"}) || asked.Load() != 3 {
		t.Errorf("purged %+v, asked %d times", sent, asked.Load())
	}

	asked.Store(0)
	do(t, "purge", "--all", "--site", "library", "--no-wait").want(t, exitOK, "decided, index 9")
	if asked.Load() != 0 {
		t.Error("it waited")
	}
	s = do(t, "purge", "--tag", "t", "--site", "library", "--json")
	var got struct {
		Index    uint64
		Progress control.Progress
	}
	if err := json.Unmarshal([]byte(s.out), &got); err != nil || got.Index != 9 || got.Progress.Confirmed != 3 {
		t.Errorf("JSON %+v, %v", got, err)
	}

	r.On("GET /v1/progress/9", answer(control.Progress{Index: 9, Confirmed: 1, Connected: 2, Known: 2, Waiting: []string{"lib-2"}}))
	r.On("DELETE /v1/publications/r-1", answer(control.Done{ID: "r-1", Index: 9}))
	do(t, "unpublish", "r-1", "--timeout", "5s").want(t, exitFailed,
		"it is decided (index 9) and goes on without you, but not all have confirmed it yet: 1 of 2 connected boxes, waiting for lib-2: not done within 5s (--timeout)")
}

func TestPublish(t *testing.T) {
	r := as(t, 1)
	var sent control.Publication
	r.On("POST /v1/publications", heard(&sent, control.Done{ID: "r-1", Index: 5, Copies: 1, URL: "/r/r-1/f.pdf"}))
	dir := t.TempDir()
	file, other := filepath.Join(dir, "Les fractions.pdf"), filepath.Join(dir, "data.xyzzy")
	for name, content := range map[string]string{file: "%PDF-1.4", other: "plain text"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do(t, "publish", file, "--collection", "maths", "--language", "fr", "--expires", "2030-01-01", "--school", "0690001A").
		want(t, exitOK, "is published as r-1 in maths: 8 B on 1 server, index 5. On every box: /r/r-1/f.pdf")
	if sent.Title != "Les fractions" || sent.Filename != "Les fractions.pdf" || sent.ContentType != "application/pdf" || !sent.Subscribe ||
		sent.Language != "fr" || sent.Expires.IsZero() || len(sent.Schools) != 1 || sent.Modified.IsZero() || sent.Length != 8 {
		t.Errorf("published %+v", sent)
	}
	s := do(t, "publish", other, file, "--collection", "maths", "--no-subscribe", "--json")
	s.want(t, exitOK)
	var all []publishedFile
	if err := json.Unmarshal([]byte(s.out), &all); err != nil || len(all) != 2 || all[0].File != other || all[1].Index != 5 {
		t.Errorf("JSON %+v, %v", all, err)
	}
	if sent.Subscribe {
		t.Error("--no-subscribe subscribes")
	}
	r.On("POST /v1/publications", refuse(400, "invalid", "the collection may have letters only"))
	do(t, "publish", file, "--collection", "é").want(t, exitRefused, "Les fractions.pdf: the collection may have letters only")
}

func TestContentTypeByHowAFileBegins(t *testing.T) {
	got, err := contentType("data.xyzzy", strings.NewReader("plain text"))
	if err != nil || got != "text/plain; charset=utf-8" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestEnrolCommand(t *testing.T) {
	r := controltest.Start(t, 1)
	dir := t.TempDir()
	token := r.Token(t, "box", "0690001A")
	do(t, "enrol", "--token", token, "--data", dir, "--name", "lib-1").want(t, exitOK, "This is box lib-1 of school 0690001A, in region "+r.ID())
	if !control.HasIdentity(filepath.Join(dir, "identity")) {
		t.Error("the identity is not in the folder identity")
	}
	do(t, "enrol", "--token", token, "--data", dir, "--name", "lib-1").want(t, exitOK) // goes on
	do(t, "enrol", "--token", token, "--data", t.TempDir(), "--name", "lib-2").want(t, exitRefused, "the token was used already")
	do(t, "enrol", "--token", r.Token(t, "box", "0690001A"), "--data", dir, "--name", "lib-3").want(t, exitRefused, "already enrolled", "--replace")
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	s := do(t, "enrol", "--operator", "--token", r.Token(t, "operator", ""), "--name", "eve", "--json")
	s.want(t, exitOK, `"role": "operator"`)
	// Found without being named.
	r.On("GET /v1/status", answer(healthyRegion()))
	t.Setenv(operatorVariable, "")
	t.Chdir(t.TempDir())
	do(t, "status").want(t, exitOK, "healthy")
	gone := r.Token(t, "box", "0690001A")
	r.Servers[0].Stop()
	do(t, "enrol", "--token", gone, "--data", t.TempDir(), "--name", "x").want(t, exitUndecided, "no server of the region answers")
}

func TestLostServerIsNoted(t *testing.T) {
	r := as(t, 2)
	r.On("GET /v1/status", answer(healthyRegion()))
	do(t, "status").want(t, exitOK) // the folder learns of both
	r.Servers[0].Stop()
	do(t, "status").want(t, exitOK, "preau: "+r.Servers[0].Address+" (connection refused) did not answer; another server did")
}

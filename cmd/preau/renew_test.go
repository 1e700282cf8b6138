package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/control"
	"preau/node/control/controltest"
)

// undated is an answer without the one time in it that is another on each day.
func undated(out string) string {
	return regexp.MustCompile(`"until": "[^"]*"`).ReplaceAllString(out, `"until": "DATE"`)
}

// certified is until when an identity is good, as its file says.
func certified(t *testing.T, dir string) time.Time {
	t.Helper()
	file := filepath.Join(dir, "cert.pem")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("its mode is %v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := pem.Decode(text)
	if first == nil {
		t.Fatalf("%s holds no certificate", file)
	}
	mine, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return mine.NotAfter
}

// aged is a region whose operator has enrolled so long ago.
func aged(t *testing.T, age time.Duration) (*controltest.Region, string) {
	t.Helper()
	r := controltest.Start(t, 1)
	r.On("GET /v1/status", answer(healthyRegion()))
	dir := r.Operator(t, "ann")
	t.Setenv(operatorVariable, dir)
	if age > 0 {
		r.Age(t, dir, age)
	}
	return r, dir
}

func TestACertificateIsLeftAloneForHalfItsLife(t *testing.T) {
	r, dir := aged(t, 180*config.Day)
	was := certified(t, dir)
	s := do(t, "status")
	s.want(t, exitOK, "You: operator/ann, until ", "(in 185 days)")
	if now := certified(t, dir); s.err != "" || !now.Equal(was) || r.Renewals() != 0 {
		t.Errorf("said %q, until %v, was %v, asked %d times", s.err, now, was, r.Renewals())
	}
}

func TestAnyCommandRenewsTheCertificate(t *testing.T) {
	for name, args := range map[string][]string{
		"well": {"status"}, "with a complaint": {"status"}, "with a refusal": {"unpin", "p-1"},
	} {
		t.Run(name, func(t *testing.T) {
			r, dir := aged(t, 200*config.Day)
			if name == "with a complaint" {
				r.On("GET /v1/status", answer(degradedRegion()))
			}
			said := do(t, args...).err
			if !strings.Contains(said, "was renewed, and runs out in 365 days") {
				t.Errorf("it says %q", said)
			}
			if left := time.Until(certified(t, dir)); left < 364*config.Day || r.Renewals() != 1 {
				t.Errorf("%v are left after %d renewals", left, r.Renewals())
			}
			if said := do(t, args...).err; strings.Contains(said, "renewed") || r.Renewals() != 1 {
				t.Errorf("the next one says %q, after %d renewals", said, r.Renewals())
			}
		})
	}
}

func TestCommandsAtOnceRenewWithoutHarm(t *testing.T) {
	r, dir := aged(t, 200*config.Day)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if s := do(t, "status", "--json"); s.code != exitOK {
				t.Errorf("%d: %s", s.code, s.err)
			}
		})
	}
	all.Wait()
	if left := time.Until(certified(t, dir)); left < 364*config.Day || r.Renewals() == 0 {
		t.Errorf("%v are left after %d renewals", left, r.Renewals())
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestACertificateThatCanNotBeRenewedIsSpokenOfInTime(t *testing.T) {
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{
		{200 * config.Day, ""}, // there is time
		{340 * config.Day, "runs out in 25 days and could not be renewed"},
	} {
		r, dir := aged(t, tt.age)
		r.RefuseRenewals(errors.New("not today"))
		was := certified(t, dir)
		s := do(t, "status")
		s.want(t, exitOK, tt.want)
		if tt.want != "" && !strings.Contains(s.err, "preau region token --operator") || tt.want == "" && s.err != "" {
			t.Errorf("after %v: %q", tt.age, s.err)
		}
		if now := certified(t, dir); !now.Equal(was) || r.Renewals() == 0 {
			t.Errorf("until %v, was %v, asked %d times", now, was, r.Renewals())
		}
	}
}

func TestStatusTellsScriptsWhoAsksAndUntilWhen(t *testing.T) {
	_, dir := aged(t, 0)
	var out struct {
		control.Status
		You you
	}
	if err := json.Unmarshal([]byte(do(t, "status", "--json").out), &out); err != nil {
		t.Fatal(err)
	}
	if want := certified(t, dir); out.You.Name != "operator/ann" || !out.You.Until.Equal(want) {
		t.Errorf("%+v, want until %v", out.You, want)
	}
}

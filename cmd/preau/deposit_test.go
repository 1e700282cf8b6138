package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestDepositTellsHowFarAFileIs(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("L'été.txt", []byte("soleil"), 0o600); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	full, copies := false, 1
	tell := func(w http.ResponseWriter, status int, state string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"id": "d-1", "filename": "L'été.txt", "length": 6, "state": state, "copies": copies, "path": "/d/d-1/L%27%C3%A9t%C3%A9.txt", "bucket": "b", "key": "k/x", "waiting": map[string]string{"box": "no line"}[state],
		})
	}
	box := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("Authorization") != "Bearer secret-of-the-box":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":"not_allowed","detail":"show the box's token"}`)
		case full:
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, `{"code":"full","detail":"the box has no room left"}`)
		case r.Method == http.MethodPut:
			if r.URL.Path != "/d/L'été.txt" || string(body) != "soleil" || r.Header.Get("Preau-Title") != "UTF-8''%C3%89t%C3%A9" {
				t.Errorf("%s %q %v", r.URL.Path, body, r.Header)
			}
			tell(w, http.StatusCreated, "box")
		case r.URL.Path == "/d/d-1":
			tell(w, http.StatusOK, []string{"box", "region", "central"}[min(asked.Add(1), 2)])
		default:
			_, _ = io.WriteString(w, `{"deposits":[{"id":"d-1","filename":"a","length":2048,"state":"region","waiting":"the centre is full"}]}`)
		}
	}))
	defer box.Close()
	if err := os.WriteFile("token", []byte("secret-of-the-box\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := []string{"--box", box.URL, "--token", "@token"}
	with := func(args ...string) said { return do(t, append(args, at...)...) }
	with("deposit", "L'été.txt", "--title", "Été").want(t, exitOK, "is safe on the box as d-1: 6 B. In the school: "+box.URL+"/d/d-1/L%27", "waits: no line")
	copies = 2
	with("deposit", "L'été.txt", "--title", "Été").want(t, exitOK, "is safe on 2 boxes of the school as d-1")
	with("deposit", "L'été.txt", "--title", "Été", "--wait").want(t, exitOK, "is in the centre: b/k/x")
	with("deposit", "L'été.txt", "--title", "Été", "--json").want(t, exitOK, `"state": "box"`)
	with("deposits").want(t, exitOK, "d-1  a     2.0 KiB", "region", "the centre is full")
	with("deposits", "--json").want(t, exitOK, `"waiting": "the centre is full"`)
	do(t, "deposit", "token", "--box", box.URL).want(t, exitRefused, "show the box's token")
	full = true
	with("deposit", "token").want(t, exitFailed, "no room left")
	do(t, "deposit", "token", "--box", "http://127.0.0.1:1").want(t, exitFailed, "does not answer")
	do(t, "deposit", "token", "--box", "ftp://x").want(t, exitUsage, "is no box's address")
	do(t, "deposit", "none").want(t, exitUsage, "no such file")
	if s := do(t, "deposit", "--help"); !strings.Contains(s.out, "    preau deposit") {
		t.Errorf("no example: %s", s.out)
	}
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

const school = `{"box":"library","school":"0690001A","name":"preau.local","own_name":"library.local","listens":"10.1.2.3:4435","gossip":"10.1.2.3:7946","draining":false,"share":0.25,
	"neighbours":[{"name":"hall","state":"alive","address":"10.1.2.4:4435","device":"hall.local","found":"mdns","since":"2026-01-02T03:04:05Z","version":"1","share":0.75,"free":2048,"given":4096,"taken":1048576}]}`

// answersAs is a box that answers each path with a text.
func answersAs(t *testing.T, answers map[string]func(r *http.Request) (int, string)) string {
	t.Helper()
	box := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.URL.Path]
		if answer == nil {
			t.Errorf("asked for %s", r.URL)
			return
		}
		status, text := answer(r)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(box.Close)
	return box.URL
}

func TestNeighboursAreListed(t *testing.T) {
	says := func(status int, text string) string {
		return answersAs(t, map[string]func(*http.Request) (int, string){"/neighbours": func(*http.Request) (int, string) { return status, text }})
	}
	at := says(http.StatusOK, school)
	do(t, "neighbours", "--box", at).want(t, exitOK, "library of school 0690001A keeps 25 % of all objects", "http://library.local", "http://preau.local",
		"hall  alive  10.1.2.4:4435  mdns", "75 %", "2.0 KiB", "4.0 KiB", "1.0 MiB")
	do(t, "neighbours", "--box", at, "--json").want(t, exitOK, `"found": "mdns"`, `"taken": 1048576`)

	at = says(http.StatusOK, `{"box":"library","school":"0690001A","draining":true,"share":0,"neighbours":[{"name":"hall","state":"quarantined","why":"altered\nblock","share":0}]}`)
	do(t, "neighbours", "--box", at).want(t, exitFailed, "It is draining", "its port for neighbours can't be opened", "hall is quarantined: altered block")
	at = says(http.StatusOK, `{"box":"library","school":"0690001A","listens":"10.1.2.3:4435","share":1,"neighbours":[]}`)
	do(t, "neighbours", "--box", at).want(t, exitOK, "keeps 100 % of all objects", "it waits for the school's key", "No other box of this school is there")
	at = says(http.StatusNotFound, `{"code":"no_neighbours","detail":"this box looks for no neighbours"}`)
	do(t, "neighbours", "--box", at).want(t, exitRefused, "this box looks for no neighbours")
	do(t, "neighbours", "--box", "http://127.0.0.1:1").want(t, exitFailed, "does not answer")
}

func TestABoxIsDrained(t *testing.T) {
	var left atomic.Int64
	left.Store(2)
	var methods []string
	at := answersAs(t, map[string]func(*http.Request) (int, string){"/drain": func(r *http.Request) (int, string) {
		methods = append(methods, r.Method)
		n := max(0, left.Load())
		left.Add(-1)
		return http.StatusOK, fmt.Sprintf(`{"draining":%t,"alone":%d}`, r.Method != http.MethodDelete, n)
	}})
	do(t, "drain", "--box", at).want(t, exitOK, "it may be switched off")
	if got := fmt.Sprint(methods); got != "[PUT GET GET]" {
		t.Errorf("asked %s", got)
	}
	left.Store(7)
	do(t, "drain", "--no-wait", "--box", at).want(t, exitOK, "The box drains; 7 added files are on this box alone")
	do(t, "drain", "--no-wait", "--json", "--box", at).want(t, exitOK, `"alone": 6`)
	do(t, "drain", "--undo", "--box", at).want(t, exitOK, "takes part in the school's pool again")
}

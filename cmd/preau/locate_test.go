package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLocateSaysWhereADeviceIsSent(t *testing.T) {
	answers := map[string]string{
		"192.0.2.7": `{"answer":"box","to":"https://a.boxes.example.net/o/cloud/x","site":"cloud","school":"0690001A","box":"a","listed":true}`,
		"192.0.2.8": `{"answer":"box","to":"https://a.boxes.example.net/o/cloud/x","site":"cloud","school":"0690001A","box":"a"}`,
		"192.0.2.9": `{"answer":"origin","to":"https://cloud.example.org/x","why":"no_box","school":"0690001A"}`,
		"192.0.2.1": `{"answer":"origin","to":"https://cloud.example.org/x","why":"something new"}`,
		"":          `{"answer":"refused","why":"it is no web address"}`,
	}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/locate" || r.URL.Query().Get("u") != "https://cloud.example.org/x?a=1&b=2" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, answers[r.URL.Query().Get("from")])
	}))
	t.Cleanup(gateway.Close)
	at := strings.TrimPrefix(gateway.URL, "http://")
	const u = "https://cloud.example.org/x?a=1&b=2"
	do(t, "locate", u, "--central", at, "--from", "192.0.2.7").want(t, exitOK, "302 https://a.boxes.example.net/o/cloud/x", "0690001A, as IT's list says so", "Box: a, for site cloud")
	do(t, "locate", u, "--central", at, "--from", "192.0.2.8").want(t, exitOK, "as a box of it is connected from there")
	do(t, "locate", u, "--central", at, "--from", "192.0.2.9").want(t, exitOK, "302 https://cloud.example.org/x", "the site itself", "no box of the school is there", "School: 0690001A")
	do(t, "locate", u, "--central", at, "--from", "192.0.2.1").want(t, exitOK, "something new")
	do(t, "locate", u, "--central", at).want(t, exitOK, "400: it is no web address")
	do(t, "locate", u, "--central", at, "--from", "192.0.2.7", "--json").want(t, exitOK, `"box": "a"`)
	do(t, "locate", u, "--from", "nowhere").want(t, exitUsage, "is no address")
	do(t, "locate", "x", "--central", at).want(t, exitFailed, "sends no devices to boxes")
	do(t, "locate", u, "--central", "127.0.0.1:1").want(t, exitFailed, "no gateway answers")
}

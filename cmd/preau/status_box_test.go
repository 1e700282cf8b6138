package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// answersStatus is a box that says what it is told to.
func answersStatus(t *testing.T, text string) string {
	t.Helper()
	box := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(box.Close)
	return box.URL
}

func TestStatusOfABox(t *testing.T) {
	const healthy = `{"version":"1","region":{"region":"0123456789abcdef","box":"library","school":"0690001A","server":"s1",
		"since":"2026-01-02T03:04:05Z","certificate_until":"2999-01-01T00:00:00Z","wanted":3,"present":2,"present_bytes":2048,"pins_full":false,
		"paths":[{"to":"s1","address":"192.0.2.1:4433","transport":"quic","chosen":"race","rtt_seconds":0.021,"loss_ratio":0.004,"goodput_bytes_per_second":1048576,"lanes":"quic 2"}]},
		"deposits_waiting":{"count":60,"bytes":4096,"closed":false,"first":[{"id":"d-1","filename":"été.pdf","length":2048,"state":"region","waiting":"the centre's storage is full"}]}}`
	at := answersStatus(t, healthy)
	do(t, "status", "--box", at).want(t, exitOK, "library of school 0690001A, in region 0123456789abcdef", "s1 is followed", "Certificate: runs out",
		"Wanted here: 3 files, 2 of them here (2.0 KiB)", "60 wait for the centre, 4.0 KiB", "s1  192.0.2.1:4433  quic  21 ms  0.4 %  1.0 MiB/s (quic 2)  answered first",
		"d-1  été.pdf", "the centre's storage is full", "and 59 more")
	do(t, "status", "--box", at, "--json").want(t, exitOK, `"healthy": true`, `"rtt_seconds": 0.021`, `"waiting": "the centre's storage is full"`, `"certificate_until"`)

	troubled := strings.NewReplacer(`"server":"s1"`, `"server":""`, "2999-01-01", "2001-01-01", `"pins_full":false`, `"pins_full":true`).Replace(healthy)
	at = answersStatus(t, troubled)
	do(t, "status", "--box", at).want(t, exitFailed, "! no server of the region is followed", "! the certificate has run out", "preau readmit library", "! there is no room to keep all that is pinned")
	do(t, "status", "--box", at, "--json").want(t, exitFailed, `"healthy": false`, `"problems"`)

	beside := strings.NewReplacer(`"deposits_waiting"`, `"neighbours":`+school+`,"deposits_waiting"`).Replace(healthy)
	do(t, "status", "--box", answersStatus(t, beside)).want(t, exitOK, "Neighbours: hall; preau neighbours says more")
	beside = strings.Replace(beside, `"state":"alive"`, `"state":"quarantined","why":"altered"`, 1)
	do(t, "status", "--box", answersStatus(t, beside)).want(t, exitFailed, "! neighbour hall is quarantined: altered", "Neighbours: hall (quarantined)")

	named := func(fields string) string {
		return answersStatus(t, strings.Replace(healthy, `"deposits_waiting"`, `"public":{"name":"a.boxes.example.net",`+fields+`},"deposits_waiting"`, 1))
	}
	do(t, "status", "--box", named(`"announced":true,"certificate_until":"2999-01-01T00:00:00Z"`)).want(t, exitOK, "Public name: a.boxes.example.net, certificate for ", "days more (", "devices are sent here")
	do(t, "status", "--box", named(`"announced":false,"why":"draining","certificate_until":"2999-01-01T00:00:00Z"`)).want(t, exitOK, "devices are not sent here (draining)")
	do(t, "status", "--box", named(`"announced":false,"problem":"no line"`)).want(t, exitFailed, "! there is no certificate for a.boxes.example.net", "(no line)")
	do(t, "status", "--box", named(`"announced":false,"certificate_until":"2001-01-01T00:00:00Z"`)).want(t, exitFailed, "! the certificate for a.boxes.example.net has run out")

	tired := strings.Replace(healthy, `"deposits_waiting"`, `"machine":{"without_disk":"tpm","given_up":["1.2.0"]},"deposits_waiting"`, 1)
	do(t, "status", "--box", answersStatus(t, tired)).want(t, exitFailed, "! the disk is locked by another main board's TPM", "! version 1.2.0 did not come back well")

	alone := `{"version":"1","region":null,"deposits_waiting":{"count":0,"bytes":0,"first":[],"closed":false}}`
	do(t, "status", "--box", answersStatus(t, alone)).want(t, exitOK, "A box of no region", "Deposits: none waits")
	full := `{"version":"1","region":null,"problem":"the disk has no room","deposits_waiting":{"count":0,"bytes":0,"first":[],"closed":true}}`
	do(t, "status", "--box", answersStatus(t, full)).want(t, exitFailed, "! the disk has no room", "turned off, or their folder")

	do(t, "status", "--box", "http://127.0.0.1:1").want(t, exitFailed, "does not answer")
	do(t, "status", "--box", "ftp://x").want(t, exitUsage, "is no box's address")
}

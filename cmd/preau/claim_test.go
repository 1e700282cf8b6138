package main

import (
	"net/http"
	"testing"
)

func TestTheClaimCodeIsShown(t *testing.T) {
	says := func(open, closed string) string {
		return answersAs(t, map[string]func(*http.Request) (int, string){"/claim": func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost {
				return http.StatusOK, open
			}
			return http.StatusOK, closed
		}})
	}
	const code, none = `{"open":true,"code":"ABCD-EFGH","address":"https://box.example.org/claim"}`, `{"open":false,"address":"/claim"}`
	do(t, "claim", "--box", says(code, code)).want(t, exitOK, "ABCD-EFGH", "https://box.example.org/claim", "works once")
	do(t, "claim", "--box", says(code, none)).want(t, exitRefused, "preau claim --anew")
	do(t, "claim", "--anew", "--box", says(code, none)).want(t, exitOK, "ABCD-EFGH")
	do(t, "claim", "--json", "--box", says(code, none)).want(t, exitOK, `"open": false`)
	do(t, "claim", "--box", says(`{"open":true,"code":"ABCD-EFGH","address":"/claim"}`, `{"open":true,"code":"ABCD-EFGH","address":"/claim"}`)).
		want(t, exitOK, "on the box itself", "no secure address yet")
	do(t, "claim", "--box", "http://127.0.0.1:1").want(t, exitFailed, "does not answer")
}

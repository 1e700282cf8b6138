package control_test

import (
	"net/http"
	"testing"

	"preau/node/control"
	"preau/node/control/controltest"
)

// A server that fails by itself, such as one that is stopping, does not have the
// last word where others are.
func TestAnotherServerIsAskedWhenOneIsIll(t *testing.T) {
	r := controltest.Start(t, 2)
	dir := r.Operator(t, "ann")
	ill := map[string]bool{"s1": true}
	r.On("GET /v1/status", func(server string, _ *http.Request) (any, error) {
		if ill[server] {
			return nil, &control.Error{Status: http.StatusInternalServerError, Code: control.CodeInternal, Detail: server + " is ill"}
		}
		return control.Status{Name: server}, nil
	})
	first, second := r.Servers[0].Address, r.Servers[1].Address
	if s, err := open(t, dir, first, second).Status(t.Context()); err != nil || s.Name != "s2" {
		t.Errorf("%+v, %v, want the answer of s2", s, err)
	}
	ill["s2"] = true
	if _, err := open(t, dir, first, second).Status(t.Context()); err == nil || err.Error() != "s2 is ill" || control.Undecided(err) {
		t.Errorf("%v, want what the last one said", err)
	}
}

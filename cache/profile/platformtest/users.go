package platformtest

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// credential is what user alone knows.
func credential(kind, user string) string { return kind + "-" + user + "-" + short(kind, user) }

// known are the users.
var known = []string{Ann, Bob}

// whose finds the user of a credential of a kind.
func whose(kind, value string) string {
	for _, u := range known {
		if value == credential(kind, u) {
			return u
		}
	}
	return ""
}

// bearer, basic and cookie find who asks.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return whose("token", token)
}

func basic(r *http.Request) string {
	user, password, ok := r.BasicAuth()
	if !ok || !slices.Contains(known, user) || password != credential("password", user) {
		return ""
	}
	return user
}

func cookie(r *http.Request, name, kind string) string {
	for _, c := range r.CookiesNamed(name) {
		if u := whose(kind, c.Value); u != "" {
			return u
		}
	}
	return ""
}

// address is where the asker is.
func address(r *http.Request) string {
	if name, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return name
	}
	return r.RemoteAddr
}

// way makes a Way of field names and values.
func way(name string, fields ...string) Way {
	w := Way{Name: name, Header: http.Header{}}
	for i := 0; i+1 < len(fields); i += 2 {
		w.Header.Add(fields[i], fields[i+1])
	}
	return w
}

// byPassword is the way by HTTP Basic.
func byPassword(user string) Way {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, credential("password", user))
	return Way{Name: "basic", Header: r.Header}
}

package rfc9111_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/rfc9111"
)

func TestRFC9110_7_6_1_ConnectionFields(t *testing.T) {
	tests := map[string]struct{ in, want http.Header }{
		"none":   {headers("A", "1"), headers("A", "1")},
		"named":  {headers("Connection", "a, B", "Connection", ",close", "A", "1", "B", "2", "C", "3"), headers("C", "3")},
		"always": {headers("Keep-Alive", "1", "Proxy-Connection", "1", "TE", "1", "Trailer", "1", "Transfer-Encoding", "1", "Upgrade", "1", "A", "1"), headers("A", "1")},
		"those of everyone stay": {headers("Connection", "cache-control, cdn-cache-control, authorization, vary, date", "Cache-Control", "private", "CDN-Cache-Control", "private", "Authorization", "x", "Vary", "Cookie"),
			headers("Cache-Control", "private", "CDN-Cache-Control", "private", "Authorization", "x", "Vary", "Cookie")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rfc9111.StripHopByHop(tt.in)
			if diff := cmp.Diff(tt.want, tt.in); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRFC9111_3_1_StoringFields(t *testing.T) {
	d := "Date"
	tests := map[string]struct{ in, want http.Header }{
		"everything": {headers(d, at(-1), "Test-Header", "a", "X", "b", "Set-Cookie", "a=b", "Set-Cookie2", "a=b", "Content-Range", "x", "Content-MD5", "x", "Cache-Status", "up; hit", "Cdn-Cache-Control", "max-age=1"),
			headers(d, at(-1), "Test-Header", "a", "X", "b", "Set-Cookie", "a=b", "Set-Cookie2", "a=b", "Content-Range", "x", "Content-MD5", "x", "Cache-Status", "up; hit", "Cdn-Cache-Control", "max-age=1")},
		"not the connection's": {headers(d, at(0), "Connection", "a", "A", "1", "Keep-Alive", "1", "Upgrade", "h2c"), headers(d, at(0))},
		"not the proxy's":      {headers(d, at(0), "Proxy-Authenticate", "1", "Proxy-Authentication-Info", "1", "Proxy-Authorization", "1", "Proxy-Connection", "1"), headers(d, at(0))},
		"not what no-cache names": {headers(d, at(0), "Cache-Control", `no-cache="a, b"`, "Cache-Control", "max-age=9", "A", "1", "B", "2", "C", "3"),
			headers(d, at(0), "Cache-Control", `no-cache="a, b"`, "Cache-Control", "max-age=9", "C", "3")},
		"not what private names": {headers(d, at(0), "Cache-Control", `private="set-cookie, cache-control"`, "Set-Cookie", "a=b"),
			headers(d, at(0), "Cache-Control", `private="set-cookie, cache-control"`)},
		"not what the targeted field names": {headers(d, at(0), "Cdn-Cache-Control", `private="x"`, "Cache-Control", `private="y"`, "X", "1", "Y", "2"),
			headers(d, at(0), "Cdn-Cache-Control", `private="x"`, "Cache-Control", `private="y"`, "Y", "2")},
		"a date if there is none": {headers(), headers(d, at(0))},
		"a date for a bad one":    {headers(d, "foo"), headers(d, at(0))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.in.Clone()
			got := rfc9111.StoredHeader(rfc9111.Response{Status: 200, Header: tt.in, ResponseTime: epoch}, rfc9111.DefaultRules())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.in); diff != "" {
				t.Errorf("the response's own header was changed:\n%s", diff)
			}
		})
	}
}

func TestRFC9110_7_6_3_Via(t *testing.T) {
	for _, tt := range []struct {
		major, minor int
		want         string
	}{{1, 0, "1.0 preau"}, {1, 1, "1.1 preau"}, {2, 0, "2 preau"}, {3, 0, "3 preau"}} {
		h := headers("Via", "1.1 up")
		rfc9111.Via(h, tt.major, tt.minor, "preau")
		if diff := cmp.Diff(headers("Via", "1.1 up", "Via", tt.want), h); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestRFC9111_5_1_Age(t *testing.T) {
	for age, want := range map[time.Duration]string{
		0: "0", -time.Hour: "0", 1999 * time.Millisecond: "1", time.Hour: "3600", math.MaxInt64: "2147483648",
	} {
		h := headers("Age", "7", "Age", "8")
		rfc9111.SetAge(h, age)
		if diff := cmp.Diff(headers("Age", want), h); diff != "" {
			t.Errorf("%v (-want +got):\n%s", age, diff)
		}
	}
}

func TestRFC9211_CacheStatus(t *testing.T) {
	ttl := func(d time.Duration) *time.Duration { return &d }
	tests := map[string]struct {
		s    rfc9111.CacheStatus
		want string
	}{
		"hit":                  {rfc9111.CacheStatus{Hit: true, TTL: ttl(376 * time.Second), Detail: "local"}, "preau; hit; ttl=376; detail=local"},
		"stale hit":            {rfc9111.CacheStatus{Hit: true, TTL: ttl(-412 * time.Second)}, "preau; hit; ttl=-412"},
		"just gone stale":      {rfc9111.CacheStatus{Hit: true, TTL: ttl(-time.Millisecond)}, "preau; hit; ttl=-1"},
		"a hit has no forward": {rfc9111.CacheStatus{Hit: true, Fwd: rfc9111.FwdMiss, FwdStatus: 200, Stored: true, Collapsed: true}, "preau; hit"},
		"miss":                 {rfc9111.CacheStatus{Fwd: rfc9111.FwdURIMiss, FwdStatus: 200, Stored: true, Collapsed: true}, "preau; fwd=uri-miss; fwd-status=200; stored; collapsed"},
		"key":                  {rfc9111.CacheStatus{Fwd: rfc9111.FwdStale, Key: `/a "b"\é`}, `preau; fwd=stale; key="/a \"b\"\\?"`},
		"detail of words":      {rfc9111.CacheStatus{Fwd: rfc9111.FwdBypass, Detail: "a b"}, `preau; fwd=bypass; detail="a b"`},
		"nothing":              {rfc9111.CacheStatus{}, "preau"},
		"no injection":         {rfc9111.CacheStatus{Fwd: "a, b; hit"}, "preau"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := headers("Cache-Status", "up; hit")
			rfc9111.AppendCacheStatus(h, "preau", tt.s)
			if diff := cmp.Diff(headers("Cache-Status", "up; hit", "Cache-Status", tt.want), h); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCacheNamesThatAreNoTokenAreQuoted(t *testing.T) {
	if got := (rfc9111.CacheStatus{Hit: true}).Member("box 7"); got != `"box 7"; hit` {
		t.Errorf("Member = %s", got)
	}
	if got := (rfc9111.CacheStatus{Hit: true}).String(); got != "hit" {
		t.Errorf("String = %s", got)
	}
}

func TestAppendingLeavesACloneAlone(t *testing.T) {
	h := headers("Via", "1.1 a", "Via", "1.1 b", "Via", "1.1 c")
	shared := http.Header{"Via": h["Via"][:1]}
	rfc9111.Via(shared, 1, 1, "preau")
	if h["Via"][1] != "1.1 b" {
		t.Errorf("a slice shared with another header was overwritten: %q", h["Via"])
	}
}

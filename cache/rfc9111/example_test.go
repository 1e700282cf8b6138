package rfc9111_test

import (
	"fmt"
	"net/http"
	"time"

	"preau/cache/rfc9111"
)

// A course page is fetched, expires while the line is cut, and is still worth
// showing.
func Example() {
	rules := rfc9111.DefaultRules()
	received := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	resp := rfc9111.Response{
		Status:       200,
		Header:       http.Header{"Cache-Control": {"max-age=600"}, "Etag": {`"v1"`}},
		RequestTime:  received,
		ResponseTime: received,
	}
	fmt.Println(rfc9111.Storable(rfc9111.Request{Method: "GET"}, resp, rules))

	now := received.Add(time.Hour)
	d := rfc9111.Decide(http.Header{}, resp, now, rules)
	fmt.Println(d.Use, d.Age, d.TTL, d.Fwd())
	fmt.Println(rfc9111.ConditionalHeader(resp.Header))
	fmt.Println(d.MayServe(rfc9111.Disconnected, now), d.DownUntil.Format(time.DateOnly))
	// Output:
	// {true stored}
	// validate 1h0m0s -50m0s stale
	// map[If-None-Match:["v1"]]
	// true 2026-12-22
}

func ExampleParseRange() {
	spans, err := rfc9111.ParseRange("bytes=0-99,50-149,-1", 1000)
	fmt.Println(spans, err)
	// Output: [{0 150} {999 1}] <nil>
}

func ExampleCacheStatus() {
	ttl := 90 * time.Second
	fmt.Println(rfc9111.CacheStatus{Hit: true, TTL: &ttl, Detail: "local"}.Member("preau"))
	// Output: preau; hit; ttl=90; detail=local
}

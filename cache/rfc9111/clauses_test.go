package rfc9111_test

import (
	"testing"
	"time"

	"preau/cache/rfc9111"
)

func TestEveryWordIsItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []rfc9111.Source{rfc9111.SourceNone, rfc9111.SourceSMaxage, rfc9111.SourceMaxAge, rfc9111.SourceExpires, rfc9111.SourceHeuristic} {
		seen[s.String()] = true
	}
	for _, u := range []rfc9111.Use{rfc9111.Validate, rfc9111.Fresh, rfc9111.StaleAllowed, rfc9111.StaleWhileRevalidate} {
		seen[u.String()] = true
	}
	if len(seen) != 9 {
		t.Errorf("words in logs: %v, want nine", seen)
	}
}

func TestRFC9111_5_2_2_3_UnderstoodStatuses(t *testing.T) {
	for status, want := range map[int]bool{
		200: true, 201: true, 203: true, 204: true, 299: false, 300: true, 301: true, 302: true, 303: true, 305: false, 306: false,
		307: true, 308: true, 400: true, 402: false, 404: true, 410: true, 414: true, 418: false, 421: true, 451: true, 499: false,
		429: true, 500: true, 501: true, 503: true, 511: true, 599: false,
	} {
		resp := ok200("Cache-Control", "max-age=60, must-understand")
		resp.Status = status
		if got := rfc9111.Storable(rfc9111.Request{Method: "GET"}, resp, rfc9111.Rules{}); got.Store != want {
			t.Errorf("%d with must-understand: %+v, want %v", status, got, want)
		}
	}
}

func TestAgeIsSubtractedFromWhateverGrantsTheLifetime(t *testing.T) {
	for name, stored := range map[string]rfc9111.Response{
		"expires, slow date": ok200("Date", at(-10), "Expires", at(10), "Age", "25"),
		"expires, fast date": ok200("Date", at(10), "Expires", at(20), "Age", "15"),
		"max-age":            ok200("Cache-Control", "max-age=3600", "Age", "7200"),
		"targeted max-age":   ok200("CDN-Cache-Control", "max-age=3600", "Age", "7200"),
	} {
		if d := rfc9111.Decide(nil, stored, epoch, rfc9111.DefaultRules()); d.Use != rfc9111.Validate || d.TTL > 0 {
			t.Errorf("%s: %v with %v to live", name, d.Use, d.TTL)
		}
	}
	if d := rfc9111.Decide(nil, ok200("Date", at(-10), "Expires", at(10), "Age", "5"), epoch.Add(time.Second), rfc9111.Rules{}); d.Use != rfc9111.Fresh || d.TTL != 9*time.Second {
		t.Errorf("%v with %v to live, want 9s", d.Use, d.TTL)
	}
}

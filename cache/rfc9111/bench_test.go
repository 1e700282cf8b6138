package rfc9111_test

import (
	"net/http"
	"testing"
	"time"

	"preau/cache/rfc9111"
)

var epoch = time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)

func BenchmarkDecide(b *testing.B) {
	req := http.Header{"Accept": {"text/html"}, "Cache-Control": {"max-age=0"}}
	stored := rfc9111.Response{Status: 200, RequestTime: epoch, ResponseTime: epoch, Header: http.Header{
		"Date":          {epoch.Format(http.TimeFormat)},
		"Cache-Control": {"public, max-age=31536000, immutable"},
		"Age":           {"3600"},
		"Etag":          {`"abc"`},
	}}
	rules := rfc9111.DefaultRules()
	b.ReportAllocs()
	for b.Loop() {
		if d := rfc9111.Decide(req, stored, epoch.Add(time.Hour), rules); d.Use != rfc9111.Fresh {
			b.Fatal(d.Reason)
		}
	}
}

func BenchmarkDecideTargeted(b *testing.B) {
	stored := rfc9111.Response{Status: 200, RequestTime: epoch, ResponseTime: epoch, Header: http.Header{
		"Date":              {epoch.Format(http.TimeFormat)},
		"Cache-Control":     {"no-store"},
		"Cdn-Cache-Control": {"max-age=3600, stale-while-revalidate=60"},
	}}
	rules := rfc9111.DefaultRules()
	b.ReportAllocs()
	for b.Loop() {
		if d := rfc9111.Decide(nil, stored, epoch.Add(time.Minute), rules); d.Use != rfc9111.Fresh {
			b.Fatal(d.Reason)
		}
	}
}

func BenchmarkParseRange(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rfc9111.ParseRange("bytes=1048576-2097151", 50<<20); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPreconditions(b *testing.B) {
	req := http.Header{"If-None-Match": {`"one", "two", W/"abc"`}}
	stored := rfc9111.Response{Status: 200, ResponseTime: epoch, Header: http.Header{"Etag": {`"abc"`}}}
	b.ReportAllocs()
	for b.Loop() {
		if rfc9111.Preconditions("GET", req, stored) != 304 {
			b.Fatal("no match")
		}
	}
}

func BenchmarkVaryKey(b *testing.B) {
	names := []string{"Accept-Encoding", "Origin"}
	req := http.Header{"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Origin": {"https://moodle.example"}}
	b.ReportAllocs()
	for b.Loop() {
		if rfc9111.VaryKey(names, req) == "" {
			b.Fatal("empty")
		}
	}
}

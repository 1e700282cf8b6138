package rfc9111_test

import (
	"net/http"
	"slices"
	"testing"

	"preau/cache/rfc9111"
)

func TestRFC9111_4_4_Invalidation(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "MOVE", "UNKNOWN", "get"} {
		for status, want := range map[int]bool{103: false, 200: true, 201: true, 204: true, 303: true, 399: true, 400: false, 404: false, 500: false, 999: false} {
			if got := rfc9111.Invalidates(method, status); got != want {
				t.Errorf("Invalidates(%s, %d) = %v", method, status, got)
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"} {
		if rfc9111.Invalidates(method, 200) {
			t.Errorf("%s is safe and must not invalidate", method)
		}
	}
}

func TestRFC9111_4_4_InvalidationTargets(t *testing.T) {
	const target = "https://school.example/course/1?a=b"
	tests := map[string]struct {
		h    http.Header
		want []string
	}{
		"only the target":   {headers(), nil},
		"location":          {headers("Location", "/course/2"), []string{"https://school.example/course/2"}},
		"relative":          {headers("Location", "2#top"), []string{"https://school.example/course/2"}},
		"content-location":  {headers("Content-Location", "https://SCHOOL.example:443/x"), []string{"https://SCHOOL.example:443/x"}},
		"both":              {headers("Location", "/x", "Content-Location", "/y"), []string{"https://school.example/x", "https://school.example/y"}},
		"the same twice":    {headers("Location", "/x", "Content-Location", "/x"), []string{"https://school.example/x"}},
		"the target itself": {headers("Location", "?a=b"), nil},
		"another host":      {headers("Location", "https://other.example/x"), nil},
		"another port":      {headers("Location", "https://school.example:8443/x"), nil},
		"another scheme":    {headers("Location", "http://school.example/x"), nil},
		"no URI":            {headers("Location", "http://[::1"), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, u := range rfc9111.InvalidationTargets(mustURL(t, target+"#part"), tt.h) {
				got = append(got, u.String())
			}
			if want := append([]string{target}, tt.want...); !slices.Equal(got, want) {
				t.Errorf("targets = %q, want %q", got, want)
			}
		})
	}
}

package edge

import (
	"net/http"
	"testing"
)

func TestBrowsersOfOneClassAskForOneVariant(t *testing.T) {
	tests := map[string]string{
		"gzip, deflate, br":               "gzip, br",
		"gzip, deflate, br, zstd":         "gzip, br",
		"br;q=1.0, gzip;q=0.8, deflate":   "gzip, br",
		"gzip":                            "gzip",
		"x-gzip, deflate":                 "gzip",
		"gzip, br;q=0":                    "gzip",
		"GZIP , BR":                       "gzip, br",
		"br":                              "br",
		"identity":                        "identity",
		"gzip;q=0, identity":              "gzip;q=0, identity",
		"*":                               "*",
		"gzip, *;q=0":                     "gzip, *;q=0",
		"":                                "",
		"deflate":                         "deflate",
		"gzip;q=nonsense, deflate, zstd ": "gzip;q=nonsense, deflate, zstd ",
	}
	for in, want := range tests {
		h := http.Header{"Accept-Encoding": {in}}
		evenCodings(h)
		if got := h.Get("Accept-Encoding"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	h := http.Header{}
	if evenCodings(h); len(h) != 0 {
		t.Errorf("a request without the field got one: %v", h)
	}
}

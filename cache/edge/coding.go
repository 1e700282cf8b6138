package edge

import (
	"net/http"
	"strings"
)

// evenCodings rewrites Accept-Encoding to the least that says which of the
// codings in use the client takes. A class has half a dozen browsers that say
// it in as many ways; each way would be a variant of its own and cross the line
// once more (RFC 9111 §4.1 lets a cache even out what means the same, and a
// coding that we leave out is one that the client could have done without).
func evenCodings(h http.Header) {
	values := h["Accept-Encoding"]
	if len(values) == 0 {
		return
	}
	var gzip, br bool
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(item, ";")
			takes := weight(params) > 0
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				gzip = takes
			case "br":
				br = takes
			case "identity", "*":
				return // somebody who means something by it
			}
		}
	}
	switch {
	case gzip && br:
		h["Accept-Encoding"] = []string{"gzip, br"}
	case gzip:
		h["Accept-Encoding"] = []string{"gzip"}
	}
}

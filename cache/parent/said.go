package parent

import (
	"net/http"
	"strings"
)

// cacheName is what a parent calls itself in Cache-Status.
const cacheName = "preau"

// mostStatus bounds the Cache-Status that is looked at.
const mostStatus = 8 << 10

// status is what a parent says of its answer (RFC 9211).
type status struct {
	hit       bool
	forwarded bool   // the site answered: fwd-status is told
	detail    string // why not, if it did not
}

// lastStatus reads the member that the parent added, which is the last (RFC
// 9211 §2). false means that no parent did. Members of our own kind hold
// tokens and numbers only, so no quoted string needs to be read; what has some
// is another cache's and is passed over.
func lastStatus(h http.Header) (status, bool) {
	lines := h["Cache-Status"]
	if len(lines) == 0 {
		return status{}, false
	}
	line := lines[len(lines)-1]
	if len(line) > mostStatus {
		return status{}, false
	}
	if i := strings.LastIndexByte(line, ','); i >= 0 {
		line = line[i+1:]
	}
	name, params, _ := strings.Cut(strings.TrimSpace(line), ";")
	if strings.TrimSpace(name) != cacheName {
		return status{}, false
	}
	var s status
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch key {
		case "hit":
			s.hit = true
		case "fwd-status":
			s.forwarded = true
		case "detail":
			s.detail = strings.Trim(value, `"`)
		}
	}
	return s, true
}

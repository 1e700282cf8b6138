// Package platformtest has emulators of the web platforms that package profile
// has rules for, as handlers for tests: their status codes, fields, cookies,
// redirects and refusals, as they were seen on real servers or read in their
// sources.
//
// Whatever one of them answers to somebody because of who asks has that
// person's marker, in the body and in the field Private. So it is enough to
// look for markers to find what reached another person, or the disk. What is
// opened by an address alone (a share's token, a pad's name, a signature) is
// among Secrets.
//
// They are no servers for anything but tests: they know two users, keep
// everything in memory and check no more than what the rules depend on.
package platformtest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Private is the field that has the marker of whom an answer is for.
const Private = "X-Private"

// Ann and Bob are the users that every platform knows.
const (
	Ann = "ann"
	Bob = "bob"
)

const markerPrefix = "only-for-"

// Platform is an emulated platform. Its methods may be called concurrently.
type Platform interface {
	http.Handler
	// Places are request targets (path and query) that mean something here, for
	// user those that are theirs too.
	Places(user string) []string
	// Ways are the ways in which user can say who asks; the first is none.
	Ways(user string) []Way
	// Happenings are what may happen to what is there.
	Happenings() []Happening
	// Secrets open something to whoever has them.
	Secrets() []string
	// Requests returns what was asked for since the last call.
	Requests() []Entry
	// SetClock has the platform read the time from now.
	SetClock(now func() time.Time)
}

// Way is a way of saying who asks: fields, and what is added to the query.
type Way struct {
	Name   string
	Header http.Header
	Query  string
	Also   []string // whom it may be taken for, beside the user
}

// Happening is something that may happen on a platform.
type Happening struct {
	Name string
	Do   func()
}

// Entry is a request that a platform was sent, and its answer.
type Entry struct {
	Method, Path, Query string
	As                  string // whom the platform took the asker for; empty for nobody
	By                  string // how that was said: cookie, basic, bearer, header, query
	Range               string
	Header              http.Header
	Status              int
	Bytes               int64 // of the body
}

// host is what all platforms are made of.
type host struct {
	serve func(a *answer, r *http.Request)

	mu       sync.Mutex // also of the platform's own state
	clock    func() time.Time
	begun    time.Time
	entries  []Entry
	secrets  []string
	sessions int
}

func newHost() *host { return &host{clock: time.Now, begun: time.Now()} }

// ServeHTTP implements http.Handler.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.entries = append(h.entries, Entry{
			Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, As: a.as, By: a.by,
			Range: r.Header.Get("Range"), Header: r.Header.Clone(), Status: a.status, Bytes: a.bytes,
		})
	}()
	h.serve(a, r)
}

// Requests returns what was asked for since the last call.
func (h *host) Requests() []Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.entries
	h.entries = nil
	return out
}

// Secrets are what opens something to whoever has it.
func (h *host) Secrets() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.secrets)
}

// SetClock has the platform read the time from now.
func (h *host) SetClock(now func() time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = now
}

func (h *host) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock()
}

// do changes or reads the platform's state.
func (h *host) do(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

// secretly notes what nobody may find who does not have it already.
func (h *host) secretly(list ...string) {
	h.do(func() { h.secrets = append(h.secrets, list...) })
}

// Marker is in all that is for user only.
func Marker(user string) string { return markerPrefix + user + "-" + short("marker", user) }

var markers = regexp.MustCompile(markerPrefix + `[a-z0-9]+-[0-9a-f]{16}`)

// Markers finds all markers in b.
func Markers(b []byte) []string {
	var out []string
	for _, m := range markers.FindAll(b, -1) {
		out = append(out, string(m))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// short makes sixteen digits of what it is given, the same each time.
func short(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// session makes a name for a session that nobody had before. It is a marker
// too: two who have the same one share a session.
func (h *host) session() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions++
	return markerPrefix + "session-" + short("session", h.begun.String(), hex.EncodeToString([]byte{byte(h.sessions >> 16), byte(h.sessions >> 8), byte(h.sessions)}))
}

package platformtest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// answer is a response on its way.
type answer struct {
	http.ResponseWriter
	as, by string
	status int
	bytes  int64
	begun  bool
	trim   bool // Accept-Ranges is not sent with whole bodies
	mute   bool // nor with parts
}

// Unwrap lets http.ResponseController find what the server can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if !a.begun && status >= 200 {
		a.begun, a.status = true, status
		if a.mute || a.trim && status != http.StatusPartialContent {
			a.Header().Del("Accept-Ranges")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// set sets fields, in pairs of name and value.
func (a *answer) set(fields ...string) *answer {
	for i := 0; i+1 < len(fields); i += 2 {
		a.Header().Set(fields[i], fields[i+1])
	}
	return a
}

// own notes that the answer is for user only, who said so in this way.
func (a *answer) own(user, by string) {
	a.as, a.by = user, by
	a.Header().Set(Private, Marker(user))
}

// text sends a short body; what is somebody's own says so.
func (a *answer) text(status int, kind, body string) {
	if a.as != "" {
		body += "\n" + Marker(a.as) + "\n"
	}
	a.set("Content-Type", kind)
	a.WriteHeader(status)
	fmt.Fprint(a, body)
}

func (a *answer) html(status int, title string, inputs ...string) {
	a.text(status, "text/html; charset=UTF-8", "<!DOCTYPE html>\n<html><head><title>"+title+"</title></head><body>\n"+strings.Join(inputs, "\n")+"\n</body></html>\n")
}

func (a *answer) json(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(a, err.Error(), http.StatusInternalServerError)
		return
	}
	a.text(status, "application/json; charset=utf-8", string(b))
}

func (a *answer) redirect(status int, to string) {
	a.set("Location", to)
	a.WriteHeader(status)
}

// ranges says how a server deals with Range.
type ranges struct {
	none   bool // it does not, whatever it says
	silent bool // it does not say so
	only   bool // it says so with parts only
	single bool // several ranges get the whole
	past   bool // a range behind the end gets the whole, not 416
}

// content sends data with the fields that are set, and its ranges.
func (a *answer) content(r *http.Request, data []byte, modified time.Time, how ranges) {
	if a.as != "" {
		data = append([]byte(Marker(a.as)+"\n"), data...)
	}
	rng := r.Header.Get("Range")
	if how.none || how.single && strings.Contains(rng, ",") || how.past && beyond(rng, len(data)) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	a.trim, a.mute = how.only, how.silent
	if a.Header().Get("Content-Type") == "" {
		a.set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(a, r, "", modified, bytes.NewReader(data))
}

// gzip sends data compressed, with its tag made weak, as nginx does.
func (a *answer) gzip(r *http.Request, data []byte) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	if err = errors.Join(err, z.Close()); err != nil {
		http.Error(a, err.Error(), http.StatusInternalServerError)
		return
	}
	tag := a.Header().Get("ETag")
	a.set("Content-Encoding", "gzip", "Vary", "Accept-Encoding", "ETag", "W/"+tag)
	if m := r.Header.Get("If-None-Match"); tag != "" && strings.Contains(m, tag) {
		a.Header().Del("Content-Encoding")
		a.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodHead {
		a.WriteHeader(http.StatusOK)
		return
	}
	a.stream(b.Bytes())
}

// stream sends data in pieces without its length.
func (a *answer) stream(data []byte) {
	if a.as != "" {
		data = append([]byte(Marker(a.as)+"\n"), data...)
	}
	half := len(data) / 2
	fmt.Fprintf(a, "%s", data[:half])
	if err := http.NewResponseController(a).Flush(); err != nil {
		return // who left reads no more
	}
	fmt.Fprintf(a, "%s", data[half:])
}

// beyond reports whether a single range begins behind the end.
func beyond(rng string, size int) bool {
	from, _, ok := strings.Cut(strings.TrimPrefix(rng, "bytes="), "-")
	if !ok || from == "" || strings.Contains(rng, ",") {
		return false
	}
	n := 0
	for _, c := range from {
		if c < '0' || c > '9' {
			return false
		}
		n = min(n*10+int(c-'0'), 1<<40)
	}
	return n >= size
}

// strong and weak are entity tags for what is given.
func strong(parts ...string) string { return `"` + short(parts...) + `"` }
func weak(parts ...string) string   { return "W/" + strong(parts...) }

// state is how pages of Nextcloud carry what their scripts read.
func state(app, key string, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return `<input type="hidden" id="initial-state-` + app + "-" + key + `" value="` + base64.StdEncoding.EncodeToString(b) + `">`
}

// Noise is n bytes that are always the same for one seed.
func Noise(n int, seed uint64) []byte {
	src := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], src.Uint64())
	}
	return b[:n]
}

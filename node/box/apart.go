package box

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"preau/node/auth"
)

// apart serves sites' pages and files on the box's own host so that they and the
// pages of those who are signed in have nothing of each other: the cookies of the
// latter go to no site and are set by none, and what a site could use to reach
// beyond its own path is left out of its answers. See also auth, which knows
// nobody in what a script asks for.
func apart(next http.Handler) http.Handler {
	own := auth.Cookies()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool { return slices.Contains(own, c.Name) }) {
			r = r.Clone(r.Context())
			r.Header["Cookie"] = without(r.Header["Cookie"], own)
			if len(r.Header["Cookie"]) == 0 {
				delete(r.Header, "Cookie")
			}
		}
		next.ServeHTTP(&apartWriter{ResponseWriter: w, own: own}, r)
	})
}

// without leaves cookies out of the lines of a Cookie field, and all others as
// they are.
func without(lines, names []string) (out []string) {
	for _, line := range lines {
		var kept []string
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if !slices.Contains(names, strings.TrimSpace(name)) {
				kept = append(kept, strings.TrimSpace(pair))
			}
		}
		if len(kept) > 0 {
			out = append(out, strings.Join(kept, "; "))
		}
	}
	return out
}

// apartWriter leaves out of an answer what is not for a guest of the host.
type apartWriter struct {
	http.ResponseWriter
	own   []string
	wrote bool
}

// Unwrap is for http.ResponseController.
func (w *apartWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *apartWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = status >= http.StatusOK || status == http.StatusSwitchingProtocols
		h := w.Header()
		for _, name := range []string{
			"Service-Worker-Allowed",     // a site's worker sees its own path
			"Cross-Origin-Opener-Policy", // with the same as ours it would keep hold of our windows
			"Clear-Site-Data",            // it would sign people out
		} {
			h.Del(name)
		}
		if set := h["Set-Cookie"]; len(set) > 0 {
			set = slices.DeleteFunc(slices.Clone(set), func(line string) bool {
				name, _, _ := strings.Cut(line, "=")
				return slices.Contains(w.own, strings.TrimSpace(name))
			})
			if h["Set-Cookie"] = set; len(set) == 0 {
				delete(h, "Set-Cookie")
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *apartWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (w *apartWriter) Flush() {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() //nolint:errcheck // the next write tells
}

// ReadFrom implements io.ReaderFrom: the connection may take bytes without a copy.
func (w *apartWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(w.ResponseWriter, r)
}

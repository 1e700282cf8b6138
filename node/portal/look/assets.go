package look

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// StylePrefix is where static files are.
const StylePrefix = "/style/"

//go:embed static
var static embed.FS

var own = MustBundle(static, "static")

// kinds of static files. The system's tables differ from box to box.
var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	".png": "image/png", ".webp": "image/webp", ".txt": "text/plain; charset=utf-8", ".vtt": "text/vtt; charset=utf-8",
}

// asset is a static file, ready to be sent.
type asset struct {
	kind, tag string
	plain     []byte
	// gzip compresses it, once, when the first asks: every command of the program
	// has these files, and few ever send one. It returns nil where that gains nothing.
	gzip func() []byte
}

// Bundle is some static files, in memory. It may be used concurrently.
type Bundle struct {
	named map[string]string // its address, by a file's name
	at    map[string]asset  // by address
}

// MustBundle reads all files of a folder, without those below it. It panics if
// it can't: they are constants of the program.
func MustBundle(fsys fs.FS, dir string) *Bundle {
	b, err := newBundle(fsys, dir)
	if err != nil {
		panic(err) //nolint:forbidigo // as template.Must does
	}
	return b
}

func newBundle(fsys fs.FS, dir string) (*Bundle, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read static files: %w", err)
	}
	b := &Bundle{named: map[string]string{}, at: map[string]asset{}}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		raw, err := fs.ReadFile(fsys, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read static file: %w", err)
		}
		ext := path.Ext(e.Name())
		kind, ok := kinds[ext]
		if !ok {
			return nil, fmt.Errorf("static file %s: no media type is known for %q", e.Name(), ext)
		}
		sum := sha256.Sum256(raw)
		tag := hex.EncodeToString(sum[:5])
		at := StylePrefix + strings.TrimSuffix(e.Name(), ext) + "." + tag + ext
		b.named[e.Name()] = at
		b.at[at] = asset{kind: kind, tag: `"` + tag + `"`, plain: raw, gzip: sync.OnceValue(func() []byte { return compress(raw) })}
	}
	return b, nil
}

// compress returns nil where it gains nothing.
func compress(raw []byte) []byte {
	var small bytes.Buffer
	z, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		return nil
	}
	_, err = z.Write(raw)
	if err = errors.Join(err, z.Close()); err != nil || small.Len() >= len(raw)*9/10 {
		return nil
	}
	return small.Bytes()
}

// Asset is where a file of the bundle is: a path that changes when the file
// does. It is empty for a name that is not known.
func (b *Bundle) Asset(name string) string { return b.named[name] }

// Asset is where one of look's own static files is.
func Asset(name string) string { return own.Asset(name) }

// Assets serves look's own static files, and those of other bundles.
func Assets(more ...*Bundle) http.Handler {
	all := maps.Clone(own.at)
	for _, b := range more {
		maps.Copy(all, b.at)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := all[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "read only", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Type", a.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Etag", a.tag)
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		body := a.plain
		if gzips(r) {
			if small := a.gzip(); small != nil {
				body = small
				h.Set("Content-Encoding", "gzip")
			}
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body) // nobody to tell
		}
	})
}

package portal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// textWithin bounds how long a page waits for the beginning of a text, which is
// on this box.
const textWithin = 3 * time.Second

// beginningOf reads the beginning of a text that is here whole.
func (p *Portal) beginningOf(r *http.Request, e *Entry) (string, bool) {
	if e.Bytes == 0 {
		return "", false
	}
	ctx, cancel := context.WithTimeout(r.Context(), textWithin)
	defer cancel()
	in, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Path(), nil)
	if err != nil {
		return "", false
	}
	in.Host = r.Host
	in.Header.Set("Range", fmt.Sprintf("bytes=0-%d", min(e.Bytes, beginning)-1))
	got := &taken{header: http.Header{}}
	if err := serve(p.parts.Files, got, in); err != nil || got.status != http.StatusPartialContent && got.status != http.StatusOK {
		return "", false
	}
	raw := bytes.TrimPrefix(got.body.Bytes(), []byte("\xef\xbb\xbf"))
	if len(raw) > 0 && !utf8.Valid(raw) {
		// The end may cut a letter. What is no UTF-8 at all is Latin-1, as old
		// files in France are.
		if cut := raw[:len(raw)-cutRune(raw)]; utf8.Valid(cut) {
			raw = cut
		} else {
			var b strings.Builder
			for _, c := range raw {
				b.WriteRune(rune(c))
			}
			return b.String(), true
		}
	}
	return strings.ReplaceAll(string(raw), "\x00", ""), true
}

// cutRune is how many bytes at the end are the beginning of a letter.
func cutRune(b []byte) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(b)); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if utf8.FullRune(b[len(b)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

var errCut = errors.New("the answer was cut")

// serve has a handler answer; one that breaks its answer off is an error.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		e := recover()
		if e == nil {
			return
		}
		if e != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			panic(e) //nolint:forbidigo // it is not this one's to hide
		}
		err = errCut
	}()
	h.ServeHTTP(w, r)
	return nil
}

// taken is an answer in memory, up to what is shown.
type taken struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (t *taken) Header() http.Header { return t.header }

// WriteHeader implements http.ResponseWriter.
func (t *taken) WriteHeader(status int) {
	if t.status == 0 {
		t.status = status
	}
}

// Write implements http.ResponseWriter; there is an end to it.
func (t *taken) Write(b []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	if t.body.Len()+len(b) > beginning {
		return 0, errCut
	}
	return t.body.Write(b)
}

package box

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"preau/cache/page"
	"preau/replication/outbox"
)

const (
	// turnWithin is how long an upload waits for its turn.
	turnWithin = 30 * time.Second
	// roomStep is how much is given up at a time to make room.
	roomStep = 64 << 20
	// maxField is how long a field of a form may be, and all that stands before
	// the file together.
	maxField, maxFields = 16 << 10, 20
)

// errBadForm is a form that has no file, or too much before it.
var errBadForm = errors.New("the form will not do")

// add takes a file in: PUT /d/NAME, or a form sent to /d/.
func (d *deposits) add(w http.ResponseWriter, r *http.Request, box *openedBox) {
	switch {
	case r.Header.Get("Content-Range") != "": // RFC 9110 §14.5
		refuseDeposit(w, r, badRequest)
		return
	case r.Header.Get("Content-Encoding") != "" && r.Header.Get("Content-Encoding") != "identity":
		// What is kept would not be the file.
		refuseDeposit(w, r, badEncoding)
		return
	}
	turn := time.NewTimer(turnWithin)
	defer turn.Stop()
	leave := sync.OnceFunc(func() { <-d.slots })
	select {
	case d.slots <- struct{}{}:
		defer leave()
	case <-r.Context().Done():
		return
	case <-turn.C:
		refuseDeposit(w, r, tooBusy)
		return
	}
	body := &moving{r: r.Body, c: http.NewResponseController(w), stall: d.stall}
	defer body.rest()
	var done outbox.Deposit
	var err error
	if r.Method == http.MethodPut {
		done, err = d.put(r, box, body)
	} else {
		done, err = d.form(r, box, body)
	}
	if err != nil {
		d.cut(w, r, err)
		return
	}
	leave()
	done = d.copied(r.Context(), box, done)
	d.log.InfoContext(r.Context(), "a deposit is kept", "deposit", done.ID, "bytes", done.Length, "copies", done.Copies)
	v := d.view(done)
	w.Header().Set("Vary", page.Vary)
	if r.Method == http.MethodPost && wantsPage(r) {
		// A page of its own, so that to load it again adds nothing (RFC 9110 §15.4.4).
		http.Redirect(w, r, statePath(done.ID), http.StatusSeeOther)
		return
	}
	w.Header().Set("Location", v.Path)
	writeJSON(w, r, http.StatusCreated, v)
}

func (d *deposits) put(r *http.Request, box *openedBox, body io.Reader) (outbox.Deposit, error) {
	// The escaped form tells a slash of the name from one of the path; a name
	// can't have either.
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), depositPrefix))
	if err != nil {
		return outbox.Deposit{}, outbox.ErrName
	}
	words, err := wordsOf(r)
	if err != nil {
		return outbox.Deposit{}, err
	}
	words.Filename, words.ContentType = name, r.Header.Get("Content-Type")
	return d.keep(r.Context(), box, body, r.ContentLength, words)
}

// form reads a form with the words first and then the file, as browsers and
// curl -F send them.
func (d *deposits) form(r *http.Request, box *openedBox, body io.Reader) (outbox.Deposit, error) {
	words, err := wordsOf(r)
	if err != nil {
		return outbox.Deposit{}, err
	}
	r.Body = io.NopCloser(body)
	parts, err := r.MultipartReader()
	if err != nil {
		return outbox.Deposit{}, errBadForm
	}
	for range maxFields {
		part, err := parts.NextPart()
		if err != nil {
			if errors.Is(err, io.EOF) || r.Context().Err() == nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				return outbox.Deposit{}, errBadForm
			}
			return outbox.Deposit{}, err
		}
		if part.FormName() == "file" {
			words.ContentType = part.Header.Get("Content-Type")
			// FileName leaves out folders, and so what some send before the name.
			words.Filename = part.FileName()
			return d.keep(r.Context(), box, part, -1, words)
		}
		raw, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil {
			return outbox.Deposit{}, err
		}
		if len(raw) > maxField || !utf8.Valid(raw) {
			return outbox.Deposit{}, errBadForm
		}
		switch part.FormName() {
		case "title":
			words.Title = string(raw)
		case "description":
			words.Description = string(raw)
		case "collection":
			words.Collection = string(raw)
		}
	}
	return outbox.Deposit{}, errBadForm
}

// keep adds a file. If there is no room for it, what the centre keeps is given
// up for it, as long as nothing of it has been read.
func (d *deposits) keep(ctx context.Context, box *openedBox, body io.Reader, size int64, words outbox.Words) (outbox.Deposit, error) {
	seen := &counting{r: body}
	for {
		d.freeing.RLock()
		done, err := box.Add(ctx, seen, size, words)
		d.freeing.RUnlock()
		if err != nil && seen.err != nil {
			// The server ends a request whose body ends badly; that says less.
			err = errors.Join(seen.err, err)
		}
		if !errors.Is(err, outbox.ErrFull) || ctx.Err() != nil {
			return done, err
		}
		freed, busy := d.makeRoom(ctx, box, max(roomStep, seen.n+seen.n/2))
		switch {
		case busy:
			return done, errTryAgain
		case !freed:
			return done, err
		case seen.n > 0:
			return done, errTryAgain
		}
	}
}

// errTryAgain is an upload for which there is room, or may be soon, but which
// has begun already.
var errTryAgain = errors.New("room is being made")

// makeRoom gives up bytes that the centre keeps. It does not wait for uploads
// that are under way, which may take hours.
func (d *deposits) makeRoom(ctx context.Context, box *openedBox, n int64) (freed, busy bool) {
	if !d.freeing.TryLock() {
		return false, true
	}
	defer d.freeing.Unlock()
	got, err := box.Free(n)
	if err != nil {
		d.log.WarnContext(ctx, "no room could be made for deposits", "err", err)
	}
	if got > 0 {
		d.log.InfoContext(ctx, "deposits that the centre keeps made room on the box", "bytes", got)
	}
	return got > 0, false
}

// cut answers for a file that was not kept.
func (d *deposits) cut(w http.ResponseWriter, r *http.Request, err error) {
	log := d.log.DebugContext
	t := depositFailed
	switch {
	case errors.Is(err, outbox.ErrFull):
		log, t = d.log.WarnContext, noRoom
	case errors.Is(err, errTryAgain):
		t = makingRoom
	case errors.Is(err, outbox.ErrTooLarge):
		t = tooLarge
	case errors.Is(err, outbox.ErrName):
		t = badName
	case errors.Is(err, errBadForm):
		t = badForm
	case errors.Is(err, errBadWords):
		t = badRequest
	case errors.Is(err, errStalled), errors.Is(err, outbox.ErrShort), errors.Is(err, io.ErrUnexpectedEOF):
		t = cameShort
	case errors.Is(err, errStopping):
		t = notOpen
	case r.Context().Err() == nil:
		log = d.log.ErrorContext
	}
	log(r.Context(), "a deposit was not kept", "err", err)
	// What is left of the body is not waited for.
	w.Header().Set("Connection", "close")
	refuseDeposit(w, r, t)
}

var errBadWords = errors.New("a word about the file can't be read")

// wordsOf reads what a request says of its file in fields or, where there is
// none, in its query.
func wordsOf(r *http.Request) (outbox.Words, error) {
	query := r.URL.Query()
	var bad error
	word := func(name string) string {
		text := cmp.Or(decodeField(r.Header.Get("Preau-"+name)), query.Get(name))
		if len(text) > maxField || !utf8.ValidString(text) {
			bad = errBadWords
		}
		return text
	}
	w := outbox.Words{Title: word("title"), Description: word("description"), Collection: word("collection")}
	return w, bad
}

// decodeField reads a field that is percent-encoded, be it with a charset and a
// language before it (RFC 8187 §3.2) or not. What is not encoded stays as it is.
func decodeField(v string) string {
	plain := v
	if charset, rest, ok := strings.Cut(v, "'"); ok && strings.EqualFold(charset, "UTF-8") {
		if _, text, ok := strings.Cut(rest, "'"); ok {
			plain = text
		}
	}
	text, err := url.PathUnescape(plain)
	if err != nil {
		return v
	}
	return text
}

// isForm reports a request of a form with a file.
func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data"
}

var errStalled = errors.New("the upload stands still")

// moving reads a body as long as something comes: a large file over poor Wi-Fi
// may take hours, and one that stands still must not hold its place.
type moving struct {
	r     io.Reader
	c     *http.ResponseController
	stall time.Duration
}

func (m *moving) Read(p []byte) (int, error) {
	if err := m.c.SetReadDeadline(time.Now().Add(m.stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := m.r.Read(p)
	if err != nil {
		m.rest() // the server goes on reading, for the next request
	}
	if e, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && e.Timeout() {
		err = errors.Join(errStalled, err)
	}
	return n, err
}

// rest takes the deadline away.
func (m *moving) rest() {
	_ = m.c.SetReadDeadline(time.Time{}) //nolint:errcheck // then there was none
}

// counting tells how much was read. The end of a body that was cut off is not
// told by io.ErrUnexpectedEOF: who cuts it into blocks with io.ReadFull takes
// that for the end of a short one, and reads on for ever.
type counting struct {
	r   io.Reader
	n   int64
	err error // of the reader, but for its end
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = outbox.ErrShort
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"preau/cache/page"
	"preau/replication/outbox"
)

const (
	// depositPrefix is where deposits are, on the box's own names.
	depositPrefix = "/d/"
	// depositPage is how many deposits one page of the list has.
	depositPage = 500
	// maxWait bounds how long a request waits for news of a deposit.
	maxWait = time.Minute
)

// listedDeposit is a deposit as people and scripts see it.
type listedDeposit struct {
	outbox.Deposit
	Path string `json:"path"`
}

func (d *deposits) view(o outbox.Deposit) listedDeposit {
	if o.State == outbox.OnBox && o.Waiting == "" {
		o.Waiting = d.why()
	}
	return listedDeposit{Deposit: o, Path: depositPrefix + o.ID + "/" + url.PathEscape(o.Filename)}
}

// handler serves what is under /d/. On a face that is trusted anybody may add.
func (d *deposits) handler(trusted bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		r, box, leave, ok := d.enter(r)
		if !ok {
			refuseDeposit(w, r, notOpen)
			return
		}
		defer leave()
		rest := strings.TrimPrefix(r.URL.Path, depositPrefix)
		adds := r.Method == http.MethodPut && rest != "" || r.Method == http.MethodPost && rest == "" && isForm(r)
		switch {
		case adds && !d.cfg.Enabled:
			refuseDeposit(w, r, turnedOff)
		case adds && !trusted && !box.mayAdd(r):
			h.Set("WWW-Authenticate", `Bearer realm="deposits"`)
			refuseDeposit(w, r, notAllowed)
		case adds:
			d.add(w, r, box)
		case r.Method == http.MethodPost && rest == "":
			refuseDeposit(w, r, badForm)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD, PUT, POST")
			refuseDeposit(w, r, badMethod)
		case rest == "":
			d.list(w, r, box)
		default:
			id, name, whole := strings.Cut(rest, "/")
			if whole {
				d.bytes(w, r, box, id, name)
			} else {
				d.state(w, r, box, id)
			}
		}
	})
}

// depositList is a part of the list as scripts see it.
type depositList struct {
	Deposits []listedDeposit `json:"deposits"`
	Next     string          `json:"next,omitempty"` // where the rest is
}

// list lists deposits, latest first.
func (d *deposits) list(w http.ResponseWriter, r *http.Request, box *openedBox) {
	all := box.all()
	if after := r.URL.Query().Get("after"); after != "" {
		for i, o := range all {
			if o.ID == after {
				all = all[i+1:]
				break
			}
		}
	}
	shown := depositList{Deposits: []listedDeposit{}}
	for i, o := range all {
		if i == depositPage {
			shown.Next = depositPrefix + "?" + url.Values{"after": {all[i-1].ID}}.Encode()
			break
		}
		shown.Deposits = append(shown.Deposits, d.view(o))
	}
	w.Header().Set("Vary", page.Vary)
	if r.URL.Query().Get("format") == "json" || !wantsPage(r) {
		writeJSON(w, r, http.StatusOK, shown)
		return
	}
	writeDepositPage(w, r, shown)
}

// state tells how far a deposit is, with ?wait=30s once it has changed from
// ?state= and ?sent= or, without those, from what it is now.
func (d *deposits) state(w http.ResponseWriter, r *http.Request, box *openedBox, id string) {
	o, err := box.Look(id)
	if err != nil {
		refuseDeposit(w, r, noDeposit)
		return
	}
	query := r.URL.Query()
	if text := query.Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 {
			refuseDeposit(w, r, badRequest)
			return
		}
		known := o
		if s := query.Get("state"); s != "" {
			known.State = outbox.State(s)
		}
		byBytes := false
		if n, err := strconv.ParseInt(query.Get("sent"), 10, 64); err == nil {
			known.Sent, byBytes = n, true
		}
		o = d.wait(r.Context(), box, known, byBytes, min(wait, maxWait))
	}
	w.Header().Set("Vary", page.Vary)
	if wantsPage(r) {
		writeOnePage(w, r, d.view(o))
		return
	}
	writeJSON(w, r, http.StatusOK, d.view(o))
}

// statePath is where it is told how far a deposit is.
func statePath(id string) string { return depositPrefix + id }

// wait returns a deposit once it is not what is known of it any more, or when
// time is up.
func (d *deposits) wait(ctx context.Context, box *openedBox, known outbox.Deposit, byBytes bool, within time.Duration) outbox.Deposit {
	changed, stop := box.Watch()
	defer stop()
	timer := time.NewTimer(within)
	defer timer.Stop()
	over := timer.C
	select {
	case d.polls <- struct{}{}:
		defer func() { <-d.polls }()
	default:
		within = 0
	}
	for {
		now, err := box.Look(known.ID)
		if err != nil {
			return known
		}
		if within == 0 || now.State != known.State || byBytes && now.Sent != known.Sent {
			return now
		}
		select {
		case <-changed:
		case <-over:
			within = 0
		case <-ctx.Done():
			return now
		}
	}
}

// bytes serves what was added.
func (d *deposits) bytes(w http.ResponseWriter, r *http.Request, box *openedBox, id, name string) {
	o, err := box.Look(id)
	if err != nil {
		refuseDeposit(w, r, noDeposit)
		return
	}
	if name != o.Filename {
		http.Redirect(w, r, d.view(o).Path, http.StatusFound)
		return
	}
	f, o, err := box.Open(id)
	if err != nil {
		refuseDeposit(w, r, givenUp)
		return
	}
	h := w.Header()
	h.Set("Etag", `"`+o.SHA256.String()+`"`)
	h.Set("Content-Type", o.ContentType)
	h.Set("Content-Disposition", dispositionOf(o.Filename, r.URL.Query().Has("download")))
	if runs(o.ContentType) {
		// What somebody has added must not act in the name of the box's own pages.
		h.Set("Content-Security-Policy", "sandbox")
	}
	in := &noting{ReadSeeker: f}
	http.ServeContent(w, r, "", o.At, in)
	if in.err != nil {
		d.log.ErrorContext(r.Context(), "a deposit can't be read", "deposit", id, "err", in.err)
		panic(http.ErrAbortHandler) // nobody is to take it for the whole
	}
}

// noting keeps the error of a read, which http.ServeContent does not tell.
type noting struct {
	io.ReadSeeker
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	got, err := n.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return got, err
}

// dispositionOf names a file for those who save it (RFC 6266): in letters that
// every client understands, and as it is.
func dispositionOf(name string, save bool) string {
	how := "inline"
	if save {
		how = "attachment"
	}
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`"\%;`, c) {
			return '_'
		}
		return c
	}, name)
	if plain == name {
		return how + `; filename="` + plain + `"`
	}
	return how + `; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}

// runs reports media types that run code in who opens them, or may.
func runs(kind string) bool {
	t, _, err := mime.ParseMediaType(kind)
	return err != nil || strings.HasSuffix(t, "html") || strings.HasSuffix(t, "xml") || strings.HasPrefix(t, "multipart/") ||
		t == "text/xsl" || strings.Contains(t, "javascript") || strings.Contains(t, "ecmascript")
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil { // of values that always can be
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, r, status, "application/json", b.Bytes())
}

func send(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // nobody to tell
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"preau/node/control"
	"preau/node/obs"
)

type depositCmd struct {
	Files []string `arg:"" name:"file" help:"Files to add."`

	Title       string `placeholder:"TEXT" help:"What people call the file, if there is one only."`
	Description string `placeholder:"TEXT" help:"A sentence or two about it."`
	Collection  string `placeholder:"TEXT" help:"What it belongs to, in your words."`
	Wait        bool   `help:"Wait until the ministry's centre keeps it."`

	boxFlags
}

// boxFlags are common to commands that ask a box.
type boxFlags struct {
	Box   string `placeholder:"URL" help:"The box: its admin address, or one where devices connect, with --token (default: $$PREAU_BOX, or the box on this machine)."`
	Token string `placeholder:"TEXT" help:"The box's token, or @FILE to read it from a file. It is in the file deposits/token of the box's data folder. The admin address needs none."`
	JSON  bool   `name:"json" help:"Write the answer as JSON, for scripts."`
}

func (depositCmd) Help() string {
	return `A file is safe on the box's disk when this command says so, and devices of the school can open it. It goes on to the region and to the centre by itself, as soon as there is a line.

    preau deposit carte.pdf --title "La carte" --collection geographie
    preau deposit *.pdf --wait
    preau deposit film.mp4 --box http://box.school.example --token @token

Then: preau deposits

Exit codes: 0 kept (with --wait: in the centre), 1 failed, 2 the command line is wrong, 3 the box can't take it now (the same command can be given again), 4 the box refused.`
}

// deposited is a deposit as a box tells of it.
type deposited struct {
	ID       string    `json:"id"`
	Filename string    `json:"filename"`
	At       time.Time `json:"at"`
	Length   int64     `json:"length"`
	State    string    `json:"state"` // box, region, central
	Sent     int64     `json:"sent"`
	Waiting  string    `json:"waiting"`
	Copies   int       `json:"copies"` // boxes of the school that have it
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	Path     string    `json:"path"`

	raw json.RawMessage
}

// UnmarshalJSON keeps all that the box says, for scripts.
func (d *deposited) UnmarshalJSON(p []byte) error {
	type plain deposited
	d.raw = append(json.RawMessage(nil), p...)
	return json.Unmarshal(p, (*plain)(d))
}

// MarshalJSON writes what the box said.
func (d deposited) MarshalJSON() ([]byte, error) { return d.raw, nil }

const inCentral = "central"

func (d deposited) where() string {
	switch d.State {
	case "box":
		if d.Sent > 0 && d.Sent < d.Length {
			return fmt.Sprintf("box, %d %% sent", d.Sent*100/d.Length)
		}
	case inCentral:
		return "central: " + d.Bucket + "/" + d.Key
	}
	return d.State
}

func (c depositCmd) Run(ctx context.Context, to streams) error {
	if len(c.Files) > 1 && c.Title != "" {
		return usage("--title is for one file: add %s apart", some(len(c.Files), "file", "files"))
	}
	for _, file := range c.Files {
		info, err := os.Stat(file)
		if err != nil {
			return usageError{err}
		}
		if !info.Mode().IsRegular() {
			return usage("%s is no file", file)
		}
	}
	ask, err := c.open()
	if err != nil {
		return err
	}
	defer ask.CloseIdleConnections()
	all := []deposited{}
	err = func() error {
		for _, file := range c.Files {
			d, err := c.one(ctx, to, ask, file)
			if err == nil && !c.JSON {
				err = to.printf("%s is safe on %s as %s: %s. In the school: %s\n", file, d.boxes(), d.ID, size(d.Length), ask.at(d.Path))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, d)
		}
		for i := range all {
			if !c.Wait {
				break
			}
			if all[i], err = ask.follow(ctx, to, all[i]); err != nil {
				return fmt.Errorf("%s: %w", all[i].Filename, err)
			}
			if !c.JSON {
				if err := to.printf("%s is in the centre: %s/%s\n", all[i].Filename, all[i].Bucket, all[i].Key); err != nil {
					return err
				}
			}
		}
		return nil
	}()
	switch {
	case c.JSON:
		return errors.Join(err, to.json(all))
	case err == nil && !c.Wait:
		for _, d := range all {
			if d.Waiting != "" {
				to.note("%s waits: %s", d.Filename, d.Waiting)
			}
		}
	}
	return err
}

// boxes is where a deposit is that was just added.
func (d deposited) boxes() string {
	if d.Copies > 1 {
		return some(d.Copies, "box", "boxes") + " of the school"
	}
	return "the box"
}

// one adds a file, again if the box asks for that.
func (c depositCmd) one(ctx context.Context, to streams, ask *boxClient, file string) (deposited, error) {
	for try := 0; ; try++ {
		d, after, err := c.put(ctx, to, ask, file)
		if err == nil || after <= 0 || try == 4 || ctx.Err() != nil {
			return d, err
		}
		select {
		case <-ctx.Done():
			return d, err
		case <-time.After(min(after, 30*time.Second)):
		}
	}
}

func (c depositCmd) put(ctx context.Context, to streams, ask *boxClient, file string) (d deposited, after time.Duration, err error) {
	f, err := os.Open(file)
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return d, 0, err
	}
	name := filepath.Base(file)
	kind, err := contentType(name, f)
	if err != nil {
		return d, 0, err
	}
	line := newMeter(to.err)
	defer line.clear()
	var body io.Reader = http.NoBody // of which the length 0 is told
	if info.Size() > 0 {
		body = io.NopCloser(&shownReader{r: f, shown: func(n int64) {
			line.show("%s: %d %% of %s are on the box", name, n*100/info.Size(), size(info.Size()))
		}})
	}
	req, err := ask.request(ctx, http.MethodPut, "/d/"+url.PathEscape(name), body)
	if err != nil {
		return d, 0, err
	}
	req.ContentLength = info.Size()
	req.Header.Set("Content-Type", kind)
	if info.Size() > 0 {
		req.Header.Set("Expect", "100-continue") // a refusal costs no upload
	}
	for field, text := range map[string]string{"Title": c.Title, "Description": c.Description, "Collection": c.Collection} {
		if text != "" {
			req.Header.Set("Preau-"+field, "UTF-8''"+url.PathEscape(text))
		}
	}
	after, err = ask.do(req, &d)
	return d, after, err
}

type shownReader struct {
	r     io.Reader
	n     int64
	shown func(n int64)
}

func (s *shownReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.shown(s.n)
	return n, err
}

// boxClient asks a box.
type boxClient struct {
	*http.Client
	base  *url.URL
	token string
}

// boxVariable names the box to ask where no flag does.
const boxVariable = "PREAU_BOX"

func (f boxFlags) open() (*boxClient, error) {
	said := "--box"
	address := f.Box
	if address == "" {
		said, address = boxVariable, os.Getenv(boxVariable)
	}
	if address == "" {
		address = "http://" + obs.DefaultAdminAddress
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return nil, usage("%s: %q is no box's address: write it like http://127.0.0.1:9190", said, address)
	}
	base.Path = "/"
	token := f.Token
	if file, ok := strings.CutPrefix(token, "@"); ok {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--token: %w", err)}
		}
		token = strings.TrimSpace(string(raw))
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, usage("--token: that is no token")
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 40 * time.Second, // others may be first
		ResponseHeaderTimeout: 10 * time.Minute, // of a slow disk
		ForceAttemptHTTP2:     true,
	}
	return &boxClient{&http.Client{Transport: transport}, base, token}, nil
}

func (b *boxClient) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.at(path), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Language", "en")
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	return req, nil
}

// at is the address of a path on the box.
func (b *boxClient) at(path string) string {
	return strings.TrimSuffix(b.base.String(), "/") + path
}

// do makes a request. After an error, after is how long to wait before another
// try may do.
func (b *boxClient) do(req *http.Request, into any) (after time.Duration, err error) {
	resp, err := b.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return 0, fmt.Errorf("the box at %s does not answer (is it running? --box says where): %w", b.base.Host, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return 0, fmt.Errorf("read the box's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		f := control.Failure{Code: "unexpected", Detail: "the box answers " + resp.Status}
		var said control.Failure
		if json.Unmarshal(raw, &said) == nil && said.Detail != "" {
			f = said
		} else if resp.StatusCode == http.StatusNotFound {
			f.Detail += ": deposits are turned off there, or it is no box"
		}
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err == nil && resp.StatusCode == http.StatusServiceUnavailable {
			after = time.Duration(seconds) * time.Second
		}
		return after, &control.Error{Status: resp.StatusCode, Code: f.Code, Detail: f.Detail}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return 0, fmt.Errorf("the box's answer can't be read: %w", err)
	}
	return 0, nil
}

// follow waits until the centre keeps a deposit.
func (b *boxClient) follow(ctx context.Context, to streams, d deposited) (deposited, error) {
	line := newMeter(to.err)
	defer line.clear()
	told := ""
	for d.State != inCentral {
		if line.live {
			line.show("%s: %s %s", d.Filename, d.where(), d.Waiting)
		} else if d.Waiting != told {
			if told = d.Waiting; told != "" {
				to.note("%s waits: %s", d.Filename, told)
			}
		}
		query := url.Values{"wait": {"30s"}, "state": {d.State}}
		if line.live {
			query.Set("sent", strconv.FormatInt(d.Sent, 10))
			query.Set("wait", "2s")
		}
		req, err := b.request(ctx, http.MethodGet, "/d/"+d.ID+"?"+query.Encode(), nil)
		if err != nil {
			return d, err
		}
		var now deposited
		if _, err = b.do(req, &now); err == nil {
			d = now
			continue
		}
		if said, ok := errors.AsType[*control.Error](err); ctx.Err() != nil || ok && said.Status != http.StatusServiceUnavailable {
			return d, err
		}
		// The box may be starting anew; the deposit is safe there.
		select {
		case <-ctx.Done():
			return d, context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
	return d, nil
}

type depositsCmd struct{ boxFlags }

func (depositsCmd) Help() string {
	return `How far each has come: on the box, in the region (on most of its servers), or in the centre.

    preau deposits
    preau deposits --json`
}

func (c depositsCmd) Run(ctx context.Context, to streams) error {
	ask, err := c.open()
	if err != nil {
		return err
	}
	defer ask.CloseIdleConnections()
	all := []deposited{}
	for next := "/d/?format=json"; next != ""; {
		req, err := ask.request(ctx, http.MethodGet, next, nil)
		if err != nil {
			return err
		}
		var page struct {
			Deposits []deposited `json:"deposits"`
			Next     string      `json:"next"`
		}
		if _, err := ask.do(req, &page); err != nil {
			return err
		}
		if len(page.Deposits) == 0 && page.Next != "" {
			return errors.New("the box's list of deposits does not end")
		}
		all, next = append(all, page.Deposits...), page.Next
	}
	if c.JSON {
		return to.json(all)
	}
	if len(all) == 0 {
		return to.print("Nothing has been added on this box.\n")
	}
	return to.print(depositTable(all, time.Now()))
}

func depositTable(all []deposited, now time.Time) string {
	rows := [][]string{{"ID", "FILE", "SIZE", "ADDED", "STATE", "WAITING"}}
	for _, d := range all {
		rows = append(rows, []string{d.ID, d.Filename, size(d.Length), when(d.At, now), d.where(), d.Waiting})
	}
	return table(rows)
}

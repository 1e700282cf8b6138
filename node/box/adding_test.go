package box

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"preau/cache/page"
	"preau/cache/page/pagetest"
	"preau/node/config"
	"preau/replication/outbox"
)

func TestOnlyThoseWithTheTokenAdd(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	for name, fields := range map[string][]string{
		"nothing":     nil,
		"wrong token": {"Authorization", "Bearer " + s.token + "x"},
		"empty":       {"Authorization", "Bearer "},
		"other kind":  {"Authorization", "Basic " + s.token},
		"of a page":   {"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
	} {
		a := s.ask(http.MethodPut, "/d/a.txt", strings.NewReader("a"), append(fields, "Accept-Language", "en")...)
		if a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" || !strings.Contains(string(a.body), "deposits/token") {
			t.Errorf("%s: PUT %d %s", name, a.status, a.body)
		}
		a = s.ask(http.MethodPost, "/d/", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\na\r\n--x--\r\n"),
			append(fields, "Content-Type", "multipart/form-data; boundary=x")...)
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: POST %d %s", name, a.status, a.body)
		}
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d were kept", n)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.admin.URL+"/d/a.txt", strings.NewReader("a"))
	if a := s.do(req, err); a.status != http.StatusCreated {
		t.Errorf("admin: %d %s", a.status, a.body)
	}
	off := openSchool(t, t.TempDir(), Deposits{Budget: 256 * config.MiB})
	if a := off.ask(http.MethodPut, "/d/a", strings.NewReader("a"), "Authorization", "Bearer "+off.token); a.status != http.StatusForbidden {
		t.Errorf("turned off: %d %s", a.status, a.body)
	}
}

func TestAForm(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	content := noiseOf(1<<20+5, 2)
	send := func(fill func(w *multipart.Writer)) got {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		fill(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return s.ask(http.MethodPost, "/d/", &b, "Content-Type", w.FormDataContentType(), "Authorization", "Bearer "+s.token)
	}
	a := send(func(w *multipart.Writer) {
		_ = w.WriteField("title", "Été")
		_ = w.WriteField("collection", "cours")
		f, _ := w.CreateFormFile("file", "élève.bin")
		_, _ = f.Write(content)
	})
	d := s.read(a)
	if a.status != http.StatusCreated || d.Filename != "élève.bin" || d.Title != "Été" || d.Collection != "cours" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := s.get(d.Path); !bytes.Equal(a.body, content) {
		t.Error("other bytes")
	}
	if a := send(func(w *multipart.Writer) { _ = w.WriteField("title", "no file") }); a.status != http.StatusBadRequest {
		t.Errorf("no file: %d", a.status)
	}
	if a := send(func(w *multipart.Writer) { _ = w.WriteField("title", strings.Repeat("x", maxField+1)) }); a.status != http.StatusBadRequest {
		t.Errorf("long field: %d", a.status)
	}
	whole := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut\"\r\n\r\nabc"
	a = s.ask(http.MethodPost, "/d/", strings.NewReader(whole), "Content-Type", "multipart/form-data; boundary=x", "Authorization", "Bearer "+s.token)
	if a.status == http.StatusCreated || s.listed() != 1 {
		t.Errorf("a form that was cut is kept: %d %s", a.status, a.body)
	}
}

// A browser that sends a form is led to a page about what it has added, in its
// language; a script is told in JSON.
func TestAFormOfABrowserLeadsToAPage(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	s.why = func() string { return "this box belongs to no region yet" }
	const form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a <b>.txt\"\r\n\r\nbonjour\r\n--x--\r\n"
	send := func(fields ...string) got {
		return s.ask(http.MethodPost, "/d/", strings.NewReader(form), append(fields, "Content-Type", "multipart/form-data; boundary=x", "Authorization", "Bearer "+s.token)...)
	}
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for lang, words := range map[page.Lang][]string{
		page.French:  {"Fichier déposé", "toute l’école peut l’ouvrir", "cette boîte n’appartient encore à aucune région", "Où en est-il"},
		page.English: {"File added", "the whole school can open it", "this box belongs to no region yet", "How far is it now"},
	} {
		a := send("Accept", browser, "Accept-Language", string(lang))
		at := a.header.Get("Location")
		if a.status != http.StatusSeeOther || !strings.HasPrefix(at, "/d/d-") || strings.Count(at, "/") != 2 {
			t.Fatalf("%d, Location %q", a.status, at)
		}
		shown := s.get(at, "Accept", browser, "Accept-Language", string(lang))
		pagetest.Check(t, string(shown.body), lang)
		for _, text := range append(words, `href="`+at+`"`, `href="/d/"`, `href="`+at+`/a%20%3Cb%3E.txt"`) {
			if !strings.Contains(string(shown.body), text) {
				t.Errorf("the page does not say %q:\n%s", text, shown.body)
			}
		}
		if shown.status != http.StatusOK || !strings.Contains(shown.header.Get("Vary"), "Accept") || strings.Contains(string(shown.body), "<b>") {
			t.Errorf("%d %v\n%s", shown.status, shown.header, shown.body)
		}
		if d := s.read(s.get(at, "Accept", "application/json")); d.Filename != "a <b>.txt" || d.State != outbox.OnBox {
			t.Errorf("a script is told %+v", d)
		}
	}
	for name, fields := range map[string][]string{"json": {"Accept", "application/json"}, "anything": {"Accept", "*/*"}, "nothing": nil} {
		if a := send(fields...); a.status != http.StatusCreated || s.read(a).Path != a.header.Get("Location") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	// A PUT is a script's, whatever it accepts.
	if d := s.put("/d/b.txt", []byte("b"), "Accept", browser); d.Filename != "b.txt" {
		t.Errorf("%+v", d)
	}
	if a := s.get("/d/d-none", "Accept", browser, "Accept-Language", "fr"); a.status != http.StatusNotFound || !strings.Contains(string(a.body), "<html lang=\"fr\">") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestWhatCantBeAdded(t *testing.T) {
	s := openSchool(t, t.TempDir(), Deposits{Enabled: true, Budget: 64 * config.MiB})
	token := []string{"Authorization", "Bearer " + s.token, "Accept-Language", "fr"}
	for name, tt := range map[string]struct {
		method, path string
		fields       []string
		size         int64
		want         int
	}{
		"folder":          {"PUT", "/d/a%2Fb", nil, 1, 400},
		"path":            {"PUT", "/d/a/b", nil, 1, 400},
		"dots":            {"PUT", "/d/%2E%2E", nil, 1, 400},
		"not UTF-8":       {"PUT", "/d/%FF", nil, 1, 400},
		"control":         {"PUT", "/d/a%0Ab", nil, 1, 400},
		"part":            {"PUT", "/d/a", []string{"Content-Range", "bytes 0-0/5"}, 1, 400},
		"encoded":         {"PUT", "/d/a", []string{"Content-Encoding", "gzip"}, 1, 415},
		"bad title":       {"PUT", "/d/a?title=%FF", nil, 1, 400},
		"too large":       {"PUT", "/d/a", nil, outbox.MaxSize + 1, 413},
		"beyond budget":   {"PUT", "/d/a", nil, 65 << 20, 507},
		"no such method":  {"DELETE", "/d/a", nil, 0, 405},
		"form to nowhere": {"POST", "/d/", nil, 1, 400},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, s.door.URL+tt.path, io.LimitReader(zeros{}, tt.size))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = tt.size
			req.Header.Set("Expect", "100-continue") // nothing large crosses
			fields := append(token, tt.fields...)
			for i := 0; i < len(fields); i += 2 {
				req.Header.Set(fields[i], fields[i+1])
			}
			client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var f struct{ Code, Detail string }
			if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Code == "" || f.Detail == "" {
				t.Errorf("%v: %+v", err, f)
			}
			if resp.StatusCode != tt.want {
				t.Errorf("%d %+v, want %d", resp.StatusCode, f, tt.want)
			}
		})
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d were kept", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What comes in short, or stands still, was never there.
func TestACutUploadIsNotSeen(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	s.stall = 100 * time.Millisecond
	for name, head := range map[string]string{
		"length":  "PUT /d/a.txt HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + s.token + "\r\nContent-Length: 3000000\r\n\r\nabc",
		"chunked": "PUT /d/b.txt HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + s.token + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		for _, closes := range []bool{true, false} {
			conn, err := net.Dial("tcp", s.door.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			if closes {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			switch {
			case err != nil && !closes:
				t.Errorf("%s: no answer to an upload that stands still: %v", name, err)
			case err == nil && resp.StatusCode != http.StatusRequestTimeout:
				t.Errorf("%s, closes %v: %d", name, closes, resp.StatusCode)
			}
			_ = conn.Close()
		}
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d are listed", n)
	}
}

// What the centre keeps makes room for what it does not.
func TestRoomIsMade(t *testing.T) {
	budget, size := 64*config.MiB, 40<<20
	if testing.Short() {
		budget, size = 8*config.MiB, 5<<20
	}
	s := openSchool(t, t.TempDir(), Deposits{Enabled: true, Budget: budget})
	box := s.opened.Load()
	first := s.put("/d/first", noiseOf(size, 3))
	token := []string{"Authorization", "Bearer " + s.token}
	second := noiseOf(size, 4)
	if a := s.ask(http.MethodPut, "/d/second", bytes.NewReader(second), append(token, "Expect", "100-continue")...); a.status != http.StatusInsufficientStorage {
		t.Fatalf("%d %s: the only copy of the first must stay", a.status, a.body)
	}
	if err := box.Learn(first.ID, outbox.InCentral, "b", "k", "", ""); err != nil {
		t.Fatal(err)
	}
	d := s.put("/d/second", second)
	if a := s.get(d.Path); !bytes.Equal(a.body, second) {
		t.Error("other bytes")
	}
	if a := s.get(first.Path); a.status != http.StatusGone {
		t.Errorf("what was given up: %d", a.status)
	}
}

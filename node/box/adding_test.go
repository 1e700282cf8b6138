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
	s := openSchool(t, t.TempDir(), Deposits{Enabled: true, Budget: 64 * config.MiB})
	box := s.opened.Load()
	first := s.put("/d/first", noiseOf(40<<20, 3))
	token := []string{"Authorization", "Bearer " + s.token}
	second := noiseOf(40<<20, 4)
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

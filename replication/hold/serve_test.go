package hold_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

const listType = "application/vnd.preau.digests"

func request(t *testing.T, s *server, role identity.Role, method, path string, body []byte, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(body))
	r.Header.Set("Test-Role", string(role))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestABlockIsServedWholeOrInPart(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	p := bytes.Repeat([]byte("0123456789"), 50_000)
	put(t, s, p)
	path := "/blocks/" + block.Sum(p).String()
	etag := `"` + block.Sum(p).String() + `"`
	tests := map[string]struct {
		method string
		header []string
		status int
		body   []byte
		length string
	}{
		"whole":         {"GET", nil, 200, p, "500000"},
		"head":          {"HEAD", nil, 200, nil, "500000"},
		"range":         {"GET", []string{"Range", "bytes=10-19"}, 206, p[10:20], "10"},
		"end":           {"GET", []string{"Range", "bytes=-5"}, 206, p[len(p)-5:], "5"},
		"beyond":        {"GET", []string{"Range", "bytes=500000-"}, 416, nil, ""},
		"known already": {"GET", []string{"If-None-Match", etag}, 304, nil, ""},
		"other version": {"GET", []string{"Range", "bytes=1-2", "If-Range", `"other"`}, 200, p, "500000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := request(t, s, identity.Box, tt.method, path, nil, tt.header...)
			if w.Code != tt.status {
				t.Fatalf("status = %d, want %d", w.Code, tt.status)
			}
			if tt.status < 300 && !bytes.Equal(w.Body.Bytes(), tt.body) {
				t.Errorf("body of %d bytes is not the one asked for", w.Body.Len())
			}
			if got := w.Header().Get("Content-Length"); tt.length != "" && got != tt.length {
				t.Errorf("Content-Length = %q, want %s", got, tt.length)
			}
			if tt.status != 416 && w.Header().Get("ETag") != etag {
				t.Errorf("ETag = %q, want %s", w.Header().Get("ETag"), etag)
			}
			if cc := w.Header().Get("Cache-Control"); tt.status < 300 && !strings.Contains(cc, "immutable") {
				t.Errorf("Cache-Control = %q", cc)
			}
		})
	}
}

func TestEachRoleMayDoItsOwnPart(t *testing.T) {
	digests, bodies := blocks(1, 1)
	path := "/blocks/" + digests[0].String()
	for role, may := range map[identity.Role][3]bool{
		identity.Server:   {true, true, true},
		identity.Operator: {true, true, true},
		identity.Box:      {true, false, false},
		identity.Central:  {false, false, false},
		"":                {false, false, false},
	} {
		t.Run("role "+string(role), func(t *testing.T) {
			s := newServer(t, "a", newDisk(0))
			put(t, s, bodies[0])
			for i, w := range []*httptest.ResponseRecorder{
				request(t, s, role, "GET", path, nil),
				request(t, s, role, "PUT", path, bodies[0]),
				request(t, s, role, "POST", "/blocks/missing", digests[0][:], "Content-Type", listType),
			} {
				if allowed := w.Code < 300; allowed != may[i] || !allowed && w.Code != 403 {
					t.Errorf("request %d: status %d, allowed %t", i, w.Code, may[i])
				}
			}
		})
	}
}

func TestOnlyWhatTheDigestNamesIsKept(t *testing.T) {
	digests, bodies := blocks(2, 2)
	path := "/blocks/" + digests[0].String()
	large := make([]byte, block.Size+1)
	tests := map[string]struct {
		path   string
		body   []byte
		status int
	}{
		"right":            {path, bodies[0], 201},
		"wrong bytes":      {path, bodies[1], 422},
		"empty":            {"/blocks/" + block.Sum(nil).String(), nil, 422},
		"largest":          {"/blocks/" + block.Sum(large[1:]).String(), large[1:], 201},
		"too large":        {"/blocks/" + block.Sum(large).String(), large, 413},
		"no digest":        {"/blocks/abc", bodies[0], 400},
		"zero digest":      {"/blocks/" + block.Digest{}.String(), bodies[0], 400},
		"upper case":       {"/blocks/" + strings.ToUpper(digests[0].String()), bodies[0], 400},
		"no such function": {"/blocks/missing", bodies[0], 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "a", newDisk(0))
			w := request(t, s, identity.Operator, "PUT", tt.path, tt.body)
			if w.Code != tt.status {
				t.Errorf("status = %d (%s), want %d", w.Code, w.Body, tt.status)
			}
			if n := s.disk.Len(); (n == 1) != (tt.status == 201) {
				t.Errorf("%d blocks kept after status %d", n, w.Code)
			}
		})
	}
}

func TestAnUploadOfUnknownLengthIsBounded(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	base, rt := s.listen(t)
	endless := io.MultiReader(bytes.NewReader(make([]byte, block.Size)), strings.NewReader("one more"))
	req, err := http.NewRequestWithContext(t.Context(), "PUT", base+"/blocks/"+block.Sum([]byte("x")).String(), io.NopCloser(endless))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := asRole{identity.Server, rt}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status = %d, want 413", resp.StatusCode)
	}
}

func TestABlockThatIsThereIsCheckedNotTrusted(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	digests, bodies := blocks(3, 1)
	path := "/blocks/" + digests[0].String()
	for i, want := range []int{201, 204} {
		if w := request(t, s, identity.Server, "PUT", path, bodies[0]); w.Code != want {
			t.Errorf("PUT %d: status %d, want %d", i+1, w.Code, want)
		}
	}
	s.disk.Damage(digests[0])
	if w := request(t, s, identity.Server, "PUT", path, bodies[0]); w.Code != 201 {
		t.Errorf("PUT over a damaged copy: status %d, want 201", w.Code)
	}
	if w := request(t, s, identity.Server, "GET", path, nil); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), bodies[0]) {
		t.Errorf("GET after it: status %d", w.Code)
	}
	// A disk that does not answer for what it has must not be believed either.
	s.disk.set(func(d *disk) { d.openErr = errors.New("too many open files") })
	if w := request(t, s, identity.Server, "PUT", path, bodies[0]); w.Code != 500 {
		t.Errorf("PUT over a copy that can't be read: status %d, want 500", w.Code)
	}
	if w := request(t, s, identity.Server, "GET", path, nil); w.Code != 500 {
		t.Errorf("GET of it: status %d, want 500", w.Code)
	}
	s.disk.set(func(d *disk) { d.openErr = nil })
	if w := request(t, s, identity.Server, "GET", path, nil); w.Code != 200 {
		t.Errorf("GET when files can be opened again: status %d, want 200: the copy was good", w.Code)
	}
}

func TestADamagedBlockIsNotServed(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	digests, bodies := blocks(4, 1)
	put(t, s, bodies[0])
	s.disk.Damage(digests[0])
	if w := request(t, s, identity.Box, "GET", "/blocks/"+digests[0].String(), nil); w.Code != 404 || w.Header().Get("ETag") != "" {
		t.Errorf("status %d, ETag %q, want a plain 404", w.Code, w.Header().Get("ETag"))
	}
	if s.disk.has(digests[0]) {
		t.Error("the damaged copy is still there")
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	_, bodies := blocks(5, 2)
	s := newServer(t, "a", newDisk(int64(len(bodies[0]))))
	for i, want := range []int{201, 507} {
		if w := request(t, s, identity.Server, "PUT", "/blocks/"+block.Sum(bodies[i]).String(), bodies[i]); w.Code != want {
			t.Errorf("PUT %d: status %d, want %d", i+1, w.Code, want)
		}
	}
}

func TestACutUploadLeavesNothing(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	base, _ := s.listen(t)
	p := bytes.Repeat([]byte("p"), 100_000)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /blocks/%s HTTP/1.1\r\nHost: a\r\nTest-Role: server\r\nContent-Length: %d\r\n\r\n", block.Sum(p), len(p))
	conn.Write(p[:50_000])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
		t.Errorf("answer %.30q, error %v", answer, err)
	}
	if n := s.disk.Len(); n != 0 {
		t.Errorf("%d blocks kept of half an upload", n)
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	digests, bodies := blocks(6, 3)
	put(t, s, bodies[1])
	list := bytes.Join([][]byte{digests[0][:], digests[1][:], digests[2][:]}, nil)
	tests := map[string]struct {
		mediaType string
		body      []byte
		status    int
		answer    []byte
	}{
		"two of three": {listType, list, 200, bytes.Join([][]byte{digests[0][:], digests[2][:]}, nil)},
		"nothing":      {listType, nil, 200, nil},
		"all there":    {listType, digests[1][:], 200, nil},
		"cut":          {listType, list[:95], 400, nil},
		"a zero":       {listType, make([]byte, 32), 400, nil},
		"too long":     {listType, bytes.Repeat(digests[0][:], 32_769), 413, nil},
		"no list":      {"text/plain", list, 415, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := request(t, s, identity.Server, "POST", "/blocks/missing", tt.body, "Content-Type", tt.mediaType)
			if w.Code != tt.status {
				t.Fatalf("status = %d, want %d", w.Code, tt.status)
			}
			if tt.status == 200 && !bytes.Equal(w.Body.Bytes(), tt.answer) {
				t.Errorf("answer has %d digests, want %d", w.Body.Len()/32, len(tt.answer)/32)
			}
		})
	}
}

// failing is a block of which the disk gives the beginning only.
type failing struct{ block.Block }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 0 {
		return 0, errors.New("input/output error")
	}
	return f.Block.ReadAt(p, off)
}

func TestADiskThatFailsInTheMiddleBreaksTheAnswer(t *testing.T) {
	s := newServer(t, "a", newDisk(0))
	p := bytes.Repeat([]byte("p"), 500_000)
	put(t, s, p)
	s.disk.set(func(d *disk) { d.opened = func(b block.Block) block.Block { return failing{b} } })
	defer func() {
		if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
			t.Errorf("the handler ended with %v, want it to break the connection", got)
		}
	}()
	request(t, s, identity.Box, "GET", "/blocks/"+block.Sum(p).String(), nil)
}

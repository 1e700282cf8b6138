//go:build system && linux

package browser_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// uploadEnv names how large the file is, in MiB, if not as large as most runs
// have time for. The promise is 2048.
const uploadEnv = "PREAU_UPLOAD_MIB"

// content is a file that nobody has to keep: the bytes from any offset on.
type content struct{ size int64 }

func (c content) from(offset int64) io.Reader {
	const unit = 1 << 20
	first := offset / unit
	r := &units{seed: uint64(first)}
	return io.LimitReader(io.MultiReader(skip(r, offset-first*unit), r), c.size-offset)
}

// units are mebibytes of noise, each of its own seed.
type units struct {
	seed uint64
	left []byte
}

func (u *units) Read(p []byte) (int, error) {
	if len(u.left) == 0 {
		u.left = make([]byte, 1<<20)
		var key [32]byte
		copy(key[:], strconv.FormatUint(u.seed, 10))
		_, _ = rand.NewChaCha8(key).Read(u.left) // it never fails
		u.seed++
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}

// skip reads past n bytes, which must be fewer than a unit has.
func skip(u *units, n int64) io.Reader {
	_, _ = u.Read(make([]byte, n)) // it never fails
	return strings.NewReader("")
}

// sender is a teacher's browser as far as tus is concerned.
type sender struct {
	s     *school
	http  *http.Client
	token string
	at    string // of the upload
	size  int64
}

// signIn makes a sender of whoever knows a new claim code.
func (s *school) signIn(t *testing.T) *sender {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u := &sender{s: s, http: &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/en/claim", strings.NewReader(url.Values{"code": {s.claim(t, "--anew")}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := u.do(req); err != nil {
		t.Fatal(err)
	}
	if req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/en/teach/files", http.NoBody); err != nil {
		t.Fatal(err)
	}
	body, err := u.do(req)
	found := regexp.MustCompile(`data-token="([^"]+)"`).FindSubmatch(body)
	if err != nil || found == nil {
		t.Fatalf("the form to add files: %v: %.300s", err, body)
	}
	u.token = string(found[1])
	return u
}

func (u *sender) do(req *http.Request) ([]byte, error) {
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.300s", resp.Status, body)
	}
	return body, err
}

func (u *sender) tus(ctx context.Context, method, to string, body io.Reader, fields map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("X-Preau-Token", u.token)
	for k, v := range fields {
		req.Header.Set(k, v)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only its head counts
	return resp, resp.Body.Close()
}

func (u *sender) create(ctx context.Context, name string) error {
	meta := "filename " + base64.StdEncoding.EncodeToString([]byte(name))
	resp, err := u.tus(ctx, http.MethodPost, u.s.base+"/teach/files/up/", http.NoBody, map[string]string{"Upload-Length": strconv.FormatInt(u.size, 10), "Upload-Metadata": meta})
	if err != nil {
		return err
	}
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	u.at = u.s.base + at.Path
	return nil
}

// offset is how much of the file the box has.
func (u *sender) offset(ctx context.Context) (int64, error) {
	resp, err := u.tus(ctx, http.MethodHead, u.at, http.NoBody, nil)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return 0, errors.New(resp.Status)
	}
	return strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
}

// cutAt is a body whose connection breaks, or whose box dies, after so many bytes.
type cutAt struct {
	io.Reader
	left int64
	cut  func() error
}

func (c *cutAt) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.cut()
	}
	n, err := c.Reader.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

var errCut = errors.New("the connection is cut")

// largeFile sends a file through 20 cuts and 3 deaths of the whole box. It
// arrives intact, and nothing that the box had acknowledged is ever asked for again.
func (s *school) largeFile(t *testing.T) {
	size := int64(96 << 20)
	if text := os.Getenv(uploadEnv); text != "" {
		mib, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		size = mib << 20
	}
	u := s.signIn(t)
	u.size = size + 12345
	file := content{u.size}
	if err := u.create(t.Context(), "grand film.mp4"); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const cuts = 20
	var cut, killed int
	began, sent, known := time.Now(), int64(0), int64(0)
	for {
		offset := int64(0)
		soon(t, func() (err error) {
			offset, err = u.offset(t.Context())
			return err
		})
		if offset < known {
			t.Fatalf("the box had acknowledged %d bytes, and now says %d", known, offset)
		}
		if known = offset; offset == u.size {
			break
		}
		body := &cutAt{Reader: file.from(offset), left: u.size - offset, cut: func() error { return io.EOF }}
		if cut < cuts {
			// What is left is spread over what is still to come.
			cut++
			body.left = 1 + rng.Int64N(2*(u.size-offset)/int64(cuts-cut+2))
			dies := cut%6 == 0
			body.cut = func() error {
				if dies {
					s.box.kill()
					killed++
				}
				return errCut
			}
			body.left = min(body.left, u.size-offset-1)
		}
		was := body.left
		resp, err := u.tus(t.Context(), http.MethodPatch, u.at, body, map[string]string{"Upload-Offset": strconv.FormatInt(offset, 10), "Content-Type": "application/offset+octet-stream"})
		sent += was - body.left
		if err == nil && resp.StatusCode == http.StatusNoContent {
			if known, err = strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if s.box.alive() != nil {
			if err := s.box.run(); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := time.Since(began)
	if cut != cuts || killed != 3 {
		t.Errorf("%d cuts and %d deaths", cut, killed)
	}
	want := sha256.New()
	if _, err := io.Copy(want, file.from(0)); err != nil {
		t.Fatal(err)
	}
	found := s.download(t, u)
	if string(found) != string(want.Sum(nil)) {
		t.Error("the file is not what was sent")
	}
	t.Logf("%d MiB through %d cuts, %d of them deaths of the box: %v, %.1f %% sent twice", u.size>>20, cut, killed, took.Round(time.Millisecond), 100*float64(sent-u.size)/float64(u.size))
}

// download is the digest of the file, as any pupil gets it.
func (s *school) download(t *testing.T, u *sender) []byte {
	t.Helper()
	var at string
	soon(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/en/teach/files", http.NoBody)
		if err != nil {
			return err
		}
		body, err := u.do(req)
		if err != nil {
			return err
		}
		found := regexp.MustCompile(`href="/en/see/d/([^"]+)">grand film`).FindSubmatch(body)
		if found == nil {
			return errors.New("the file is not on the page")
		}
		at = s.base + "/d/" + string(found[1]) + "/grand%20film.mp4"
		return nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: 5 * time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, resp.Body); err != nil || n != u.size || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %d bytes of %d: %v", at, resp.Status, n, u.size, err)
	}
	return got.Sum(nil)
}

//go:build bench

package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// portalScale is a school's morning: a class, its file, and what a teacher adds.
type portalScale struct {
	pupils int
	visits int // of the home page, each
	file   int64
	added  int64
	minute time.Duration // in which all of it happens
}

// wantOfHome is how long the home page may take while all else goes on.
const wantOfHome = 300 * time.Millisecond

func (b *bench) portalScenarios() []scenario {
	s := b.scale.portal
	return []scenario{{
		key: "portal", title: fmt.Sprintf("%d pupils open the home page while a teacher adds a file", s.pupils),
		notes: []string{fmt.Sprintf("Each pupil opens the home page with all that it loads on a new connection, downloads one file of %d MB and comes back to the home page %d times; a teacher uploads %d MB by tus meanwhile. "+
			"Spread: pupils come at any moment of %.0f s and the upload takes that long. At once: pupils come within two seconds, and both they and the upload go as fast as loopback lets them. "+
			"Pupils, teacher and box share the machine's cores; every body was compared. CPU is the box's.", s.file/1e6, s.visits-1, s.added/1e6, s.minute.Seconds())},
		head:  []string{"", "home page p50 / p99 s", "with all that it loads p50 / p99 s", "target, page p99", "", "file p50 / p99 s", "upload s", "right pages; files", "CPU s, of a core"},
		alone: true, all: b.benchPortal,
	}}
}

func (b *bench) benchPortal(t *testing.T, out *table) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	d := b.startDesk(ctx, t)
	b.morning(ctx, t, d, "spread over the minute", b.scale.portal.minute, out)
	b.morning(ctx, t, d, "at once", 2*time.Second, out)
}

// desk is a box with its portal, a file for the class, and a teacher's session.
type desk struct {
	*process
	base, file string
	sum        [sha256.Size]byte
	teacher    *http.Client
	token      string
}

// noise is as many bytes as are read of it, the same each time.
func noise(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), n) }

func (b *bench) startDesk(ctx context.Context, t *testing.T) *desk {
	t.Helper()
	bin, err := buildBox(ctx, b.dir)
	door, err1 := freeAddr()
	admin, err2 := freeAddr()
	if err := errors.Join(err, err1, err2); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data, config := filepath.Join(dir, "data"), filepath.Join(dir, "box.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "data = %q\nbudget = \"256MiB\"\n[admin]\nlisten = %q\n[neighbours]\nenabled = false\n[[listen]]\naddress = %q\n[[site]]\nname = \"blog\"\nupstream = \"http://127.0.0.1:9\"\nhosts = [\"blog.example.org\"]\n",
		data, admin, door), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(filepath.Join(dir, "log"), -1, bin, "box", "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := p.ready(ctx, door); err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{process: p, base: "http://" + door, teacher: &http.Client{Jar: jar}}
	var claim struct{ Code string }
	said, err := exec.CommandContext(ctx, bin, "claim", "--box", "http://"+admin, "--json").Output()
	if err := errors.Join(err, json.Unmarshal(said, &claim)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.do(ctx, d.teacher, http.MethodPost, "/en/claim", strings.NewReader(url.Values{"code": {claim.Code}}.Encode()), "Content-Type", "application/x-www-form-urlencoded"); err != nil {
		t.Fatal(err)
	}
	form, _, err := d.do(ctx, d.teacher, http.MethodGet, "/en/teach/files", nil)
	token := regexp.MustCompile(`data-token="([^"]+)"`).FindSubmatch(form)
	if err != nil || token == nil {
		t.Fatalf("the form to add files: %v", err)
	}
	d.token = string(token[1])
	secret, err := os.ReadFile(filepath.Join(data, "deposits", "token"))
	if err != nil {
		t.Fatal(err)
	}
	film, err := io.ReadAll(noise(b.scale.portal.file))
	if err != nil {
		t.Fatal(err)
	}
	d.sum = sha256.Sum256(film)
	var put struct{ Path string }
	answer, _, err := d.do(ctx, newClient(), http.MethodPut, "/d/film.mp4", bytes.NewReader(film), "Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	if err := errors.Join(err, json.Unmarshal(answer, &put)); err != nil {
		t.Fatal(err)
	}
	d.file = put.Path
	return d
}

// do asks for something that must succeed.
func (d *desk) do(ctx context.Context, c *http.Client, method, path string, body io.Reader, fields ...string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, d.base+path, body)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, all)
	}
	return all, resp.Header, err
}

var loads = regexp.MustCompile(`(?:href|src)="(/style/[^"]+)"`)

// open is what a browser does with the home page.
func (d *desk) open(ctx context.Context, c *http.Client) (page, all time.Duration, err error) {
	began := time.Now()
	body, _, err := d.do(ctx, c, http.MethodGet, "/fr/", nil, "Accept", "text/html", "Accept-Encoding", "identity")
	page = time.Since(began)
	if err == nil && !bytes.Contains(body, []byte("Bonjour")) {
		err = fmt.Errorf("it is not the home page: %.200s", body)
	}
	if err != nil {
		return page, 0, err
	}
	for _, m := range loads.FindAllSubmatch(body, -1) {
		if _, _, err = d.do(ctx, c, http.MethodGet, string(m[1]), nil); err != nil {
			return page, 0, err
		}
	}
	return page, time.Since(began), nil
}

// fetch downloads the class's file.
func (d *desk) fetch(ctx context.Context, c *http.Client, want int64) (time.Duration, error) {
	began := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+d.file, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	got := sha256.New()
	n, err := io.Copy(got, resp.Body)
	if err == nil && (n != want || !bytes.Equal(got.Sum(nil), d.sum[:])) {
		err = fmt.Errorf("%s, %d bytes of %d, or others", resp.Status, n, want)
	}
	return time.Since(began), err
}

// add uploads a file in pieces, as the teachers' page does. It takes at least so long.
func (d *desk) add(ctx context.Context, size int64, least time.Duration) (time.Duration, error) {
	const piece = 16 << 20
	began := time.Now()
	fields := []string{"Tus-Resumable", "1.0.0", "X-Preau-Token", d.token}
	meta := "filename " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "film %d.mp4", began.UnixNano()))
	_, head, err := d.do(ctx, d.teacher, http.MethodPost, "/teach/files/up/", nil, append(fields, "Upload-Length", strconv.FormatInt(size, 10), "Upload-Metadata", meta)...)
	if err != nil {
		return 0, err
	}
	at, err := url.Parse(head.Get("Location"))
	if err != nil {
		return 0, err
	}
	all := noise(size)
	for sent := int64(0); sent < size; sent += piece {
		part := io.LimitReader(all, min(piece, size-sent))
		if _, _, err := d.do(ctx, d.teacher, http.MethodPatch, at.Path, part, append(fields, "Upload-Offset", strconv.FormatInt(sent, 10), "Content-Type", "application/offset+octet-stream")...); err != nil {
			return 0, err
		}
		due := began.Add(time.Duration(float64(least) * float64(min(sent+piece, size)) / float64(size)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(began), nil
}

// morning has the class come within spread.
func (b *bench) morning(ctx context.Context, t *testing.T, d *desk, what string, spread time.Duration, out *table) {
	s := b.scale.portal
	least, target := time.Duration(0), false
	if spread == s.minute { // what is promised is of a class that comes within the minute
		least, target = spread, true
	}
	var mu sync.Mutex
	var pages, whole, files []time.Duration
	var uploaded time.Duration
	var wg sync.WaitGroup
	rng := rand.New(rand.NewPCG(5, 6))
	cpu, began := d.cpuSeconds(), time.Now()
	wg.Go(func() {
		took, err := d.add(ctx, s.added, least)
		if err != nil {
			t.Errorf("the upload: %v", err)
		}
		uploaded = took
	})
	for range s.pupils {
		comes := time.Duration(rng.Int64N(int64(spread)))
		wg.Go(func() {
			c := newClient()
			defer c.CloseIdleConnections()
			<-time.After(time.Until(began.Add(comes)))
			for visit := range s.visits {
				page, all, err := d.open(ctx, c)
				if err != nil {
					t.Errorf("the home page: %v", err)
					return
				}
				mu.Lock()
				pages, whole = append(pages, page), append(whole, all)
				mu.Unlock()
				if visit > 0 {
					continue
				}
				took, err := d.fetch(ctx, c, s.file)
				if err != nil {
					t.Errorf("the file: %v", err)
					return
				}
				mu.Lock()
				files = append(files, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took, used := time.Since(began), d.cpuSeconds()-cpu
	want, verdict := "", ""
	if target {
		want, verdict = "≤ "+secs(wantOfHome), metOrMissed(quantile(pages, 0.99) <= wantOfHome)
	}
	out.row(what, p50p99(pages), p50p99(whole), want, verdict, p50p99(files), secs(uploaded),
		fmt.Sprintf("%d of %d; %d of %d", len(pages), s.pupils*s.visits, len(files), s.pupils), fmt.Sprintf("%.1f, %.0f %%", used, 100*used/took.Seconds()))
}

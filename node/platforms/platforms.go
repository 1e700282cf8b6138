// Package platforms starts real web platforms for tests: a WordPress with its
// database and web server, an Etherpad, a kiwix-serve with a book. Each has its
// own folder, ports and configuration, and none touches a service of the system.
//
// The programs come from the system's packages and from npm; what is missing is
// an *Missing that says what to install. Nothing here is for use outside tests:
// passwords are written in the code, and everything listens on loopback only.
package platforms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The persons that every platform knows, as platformtest has them.
const (
	Ann = "ann"
	Bob = "bob"
)

// Missing reports a program that is not installed.
type Missing struct {
	What    string
	Install string // what to do about it
}

// Error implements error.
func (m *Missing) Error() string {
	return fmt.Sprintf("%s is missing: %s", m.What, m.Install)
}

// sbin are folders that a test's PATH may lack.
var sbin = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// tool finds a program of a Debian package.
func tool(name, debian string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range sbin {
		if path := filepath.Join(dir, name); executable(path) {
			return path, nil
		}
	}
	return "", &Missing{name, "apt-get install " + debian}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// client asks platforms: it follows no redirect and keeps cookies in jar, which
// may be nil.
func client(jar http.CookieJar) *http.Client {
	return &http.Client{
		Jar: jar, Timeout: 60 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// freePort is a port of loopback that nobody listened on a moment ago.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: %v is no TCP address", l.Addr())
	}
	return addr.Port, nil
}

// until asks again and again, till fn is content, ctx ends, or one of all has
// ended by itself.
func until(ctx context.Context, all []*process, fn func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		for _, p := range all {
			if over := p.over(); over != nil {
				return over
			}
		}
		select {
		case <-ctx.Done():
			var tails []string
			for _, p := range all {
				tails = append(tails, p.name+": "+p.tail())
			}
			return fmt.Errorf("%w: %w\n%s", context.Cause(ctx), err, strings.Join(tails, "\n"))
		case <-tick.C:
		}
	}
}

// status asks for u and wants that status.
func status(ctx context.Context, c *http.Client, u string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // its status is what was wanted
	if resp.StatusCode != want {
		return fmt.Errorf("%s answers %d, not %d", u, resp.StatusCode, want)
	}
	return nil
}

// stopAll ends processes, the last one first.
func stopAll(all []*process) error {
	var err error
	for _, p := range slices.Backward(all) {
		err = errors.Join(err, p.stop())
	}
	return err
}

// cookies is the Cookie field that a browser would send.
func cookies(jar http.CookieJar, to string) string {
	u, err := url.Parse(to)
	if err != nil || jar == nil {
		return ""
	}
	var all []string
	for _, c := range jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// mostRead bounds what is read of an answer.
const mostRead = 16 << 20

func readAll(resp *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostRead))
	return text, errors.Join(err, resp.Body.Close())
}

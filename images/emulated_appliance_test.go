//go:build appliance && linux

package images_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// emulated is a machine of the emulator's, with a box on its disk.
type emulated struct {
	page  string // where this machine finds the box's
	cmd   *exec.Cmd
	ended chan struct{}
}

// on switches the machine on. It gives way to whoever measures something; its port 80
// is this machine's port.
func (e *emulated) on(t *testing.T, port int, emulator ...string) {
	t.Helper()
	e.page = fmt.Sprintf("http://127.0.0.1:%d", port)
	e.cmd = exec.Command("nice", append([]string{"-n", "5"}, emulator...)...) // its end is told below
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	e.cmd.Stderr = os.Stderr
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.ended = make(chan struct{})
	go func(c *exec.Cmd, ended chan struct{}) {
		_ = c.Wait() // it is killed, or its guest has switched it off
		close(ended)
	}(e.cmd, e.ended)
}

// cut takes the power away: what the guest has not synced is gone.
func (e *emulated) cut() {
	_ = e.cmd.Process.Kill() // or it has just ended
	<-e.ended
}

// get asks the box for a page.
func (e *emulated) get(ctx context.Context, path, lang string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.page+path, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", lang)
	resp, err := http.DefaultClient.Do(r) //nolint:forbidigo // a test's, to loopback
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// serves waits until the machine serves a whole film.
func (e *emulated) serves(t *testing.T, limit time.Duration, sum string) {
	t.Helper()
	within(t, limit, func() error {
		code, body, err := e.get(t.Context(), "/r/film", "fr")
		if err == nil && (code != 200 || textSum(body) != sum) {
			return fmt.Errorf("%d, %d bytes", code, len(body))
		}
		return err
	})
}

func textSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

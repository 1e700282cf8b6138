//go:build linux

package hosttest

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveEnv turns a test's own program into a web server: ADDRESS=FOLDER.
const serveEnv = "PREAU_TEST_SERVE"

// Main is what TestMain of a package begins with whose tests serve a folder: it
// returns unless this process was started to do that.
func Main() {
	address, folder, ok := strings.Cut(os.Getenv(serveEnv), "=")
	if !ok {
		return
	}
	files := http.FileServer(http.Dir(folder))
	srv := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=86400")
		w.Header().Set("ETag", strconv.Quote(r.URL.Path)) // no test changes a file that is served
		files.ServeHTTP(w, r)
	})}
	fmt.Fprintln(os.Stderr, srv.ListenAndServe())
	os.Exit(1) //nolint:forbidigo // the process was started for this alone
}

// Serve serves a folder of this machine at an address of the host's own network.
func (h *Host) Serve(t *testing.T, address, folder string) {
	t.Helper()
	serve(t, h.space, address, folder)
}

// Serve serves a folder of this machine in the network, at Own and a port.
func (n *Network) Serve(t *testing.T, port int, folder string) string {
	t.Helper()
	address := fmt.Sprintf("%s:%d", Own, port)
	serve(t, n.space, address, folder)
	return "http://" + address
}

func serve(t *testing.T, space, address, folder string) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("ip", "netns", "exec", space, own) //nolint:noctx // its end is told below
	c.Env = append(os.Environ(), serveEnv+"="+address+"="+folder)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() //nolint:errcheck // or it has just ended
		c.Wait()         //nolint:errcheck // it was killed
	})
	Within(t, time.Minute, func() error {
		return listening(c.Process.Pid, address)
	})
}

// listening tells whether a process's network has somebody at an address. The
// network is another's, so the kernel's list is looked at and nothing is dialled.
func listening(pid int, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return err
	}
	ip := at.Addr().As4()
	if want := fmt.Sprintf(" %02X%02X%02X%02X:%04X 00000000:0000 0A ", ip[3], ip[2], ip[1], ip[0], at.Port()); !strings.Contains(string(table), want) {
		return fmt.Errorf("nobody listens at %s", address)
	}
	return nil
}

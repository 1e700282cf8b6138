//go:build system && linux

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// alerts is a Prometheus that reads every process's metrics, with the rules that
// a region is given.
type alerts struct{ base string }

// every is how often it reads and judges. A region's own does so less often.
const every = 2 * time.Second

// watched starts it. It reaches the faces for operators, which are in their
// machines alone, by a proxy of this process, as a real one does by the
// machine's.
func (c *country) watched(t *testing.T) *alerts {
	t.Helper()
	tool, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is missing: apt-get install prometheus")
	}
	rules, err := filepath.Abs("../../../images/monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	proxy := listen(t)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		// Where to is in the request's first line; the face answers to this name only.
		Rewrite:   func(p *httputil.ProxyRequest) { p.Out.Host = "localhost" },
		Transport: &http.Transport{DialContext: c.admin, DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}}
	over := make(chan struct{})
	go func() {
		_ = server.Serve(proxy) // until it is closed
		close(over)
	}()
	t.Cleanup(func() {
		_ = server.Close() // it only reads
		<-over
	})
	job := func(name, targets string) string {
		return fmt.Sprintf("  - job_name: %s\n    proxy_url: http://%s\n    static_configs: [{targets: [%s], labels: {region: lyon}}]\n", name, proxy.Addr(), targets)
	}
	config := filepath.Join(c.dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %v, evaluation_interval: %v}\nrule_files: [%q]\nscrape_configs:\n%s%s%s", every, every, rules,
		job("preau-region", `"s1:80", "s2:80", "s3:80"`), job("preau-central", `"central:80"`), job("preau-box", `"box-1:80", "box-2:80", "box-3:80", "box-4:80"`))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	own := listen(t)
	at := own.Addr().String()
	if err := own.Close(); err != nil { // it is nobody else's: the namespace is ours
		t.Fatal(err)
	}
	p := exec.Command(tool, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(c.dir, "prometheus"), "--web.listen-address="+at, "--log.level=warn")
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	log, err := os.Create(filepath.Join(c.dir, "prometheus.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill() // or it has ended
		_ = p.Wait()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("Prometheus says: %s", text[max(0, len(text)-2000):])
			}
		}
	})
	return &alerts{base: "http://" + at}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// alert is one whose condition holds: it is firing, or pending until that has
// been so for long.
type alert struct {
	State  string            `json:"state"`
	Labels map[string]string `json:"labels"`
}

func (a alert) String() string {
	return fmt.Sprintf("%s (%s, %s)", a.Labels["alertname"], a.State, a.Labels["instance"])
}

func (a *alerts) ask(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	var out struct{ Data json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return err
	}
	return json.Unmarshal(out.Data, into)
}

// now are all whose conditions hold.
func (a *alerts) now(ctx context.Context) ([]alert, error) {
	var out struct{ Alerts []alert }
	err := a.ask(ctx, "/api/v1/alerts", &out)
	return out.Alerts, err
}

// sees is nil once an alert is there for a process.
func (a *alerts) sees(ctx context.Context, name, process string) error {
	all, err := a.now(ctx)
	if err != nil {
		return err
	}
	for _, al := range all {
		if al.Labels["alertname"] == name && al.Labels["instance"] == process+":80" {
			return nil
		}
	}
	return fmt.Errorf("%s is not said of %s: %v", name, process, all)
}

// calm is nil if every process is read, and no condition of an alert holds.
func (a *alerts) calm(ctx context.Context, processes int) error {
	var read struct {
		ActiveTargets []struct{ Health, LastError, ScrapeURL string }
	}
	if err := a.ask(ctx, "/api/v1/targets?state=active", &read); err != nil {
		return err
	}
	up := 0
	for _, r := range read.ActiveTargets {
		if r.Health != "up" {
			return fmt.Errorf("%s is %s: %s", r.ScrapeURL, r.Health, r.LastError)
		}
		up++
	}
	if up != processes {
		return fmt.Errorf("%d of %d processes are read", up, processes)
	}
	all, err := a.now(ctx)
	if err == nil && len(all) > 0 {
		err = fmt.Errorf("alerts: %v", all)
	}
	return err
}

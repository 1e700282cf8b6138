package box

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/obs"
)

// childEnv makes the test binary a box: it names the file of its settings. So
// the tests run boxes that can be killed, with the race detector if they have
// it, and need nothing but Go.
const childEnv = "PREAU_TEST_BOX"

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		if err := child(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// started is what a box tells the test that started it.
type started struct {
	Admin string
	Doors []string
}

// child runs a box as the command does. Its input ends when the test ends, even
// if that was killed, so no box is left behind.
func child(file string) error {
	p, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cfg := DefaultConfig()
	if err := json.Unmarshal(p, &cfg); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log, err := obs.NewLogger(os.Stderr, cfg.Log)
	if err != nil {
		return err
	}
	b, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	at := started{Admin: b.admin.Addr().String()}
	for _, a := range b.Addrs() {
		at.Doors = append(at.Doors, a.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return errors.Join(err, b.Run(ctx))
	}
	return b.Run(ctx)
}

// process is a box in a process of its own.
type process struct {
	started
	cmd    *exec.Cmd
	log    string // its file
	took   time.Duration
	exited chan struct{}
	err    error // how it ended, once exited is closed
}

// oneSite configures a box of 64 MiB in dir before the site at upstream.
func oneSite(dir, upstream string) Config {
	budget := 64 * config.MiB
	cfg := FromFlags(Flags{Site: upstream, Listen: "127.0.0.1:0", Data: dir, Budget: &budget, Admin: "127.0.0.1:0"})
	cfg.Log.Format = "text"
	return cfg
}

// begin starts a box and waits until it serves.
func begin(t *testing.T, cfg Config) *process {
	t.Helper()
	p, err := tryBegin(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryBegin(t *testing.T, cfg Config) (*process, error) {
	t.Helper()
	settings, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "settings")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		return nil, err
	}
	p := &process{log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// It is ended by signals that the test chooses.
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childEnv+"="+file, "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	p.cmd.Stderr = log
	input, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	at := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a box: %w", err)
	}
	line := make(chan string, 1)
	go func() {
		out := bufio.NewReader(output)
		s, _ := out.ReadString('\n') // a box that died says nothing
		line <- s
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
		_ = input.Close()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // ended already if the test went well
		<-p.exited
		if t.Failed() {
			t.Logf("end of the box's log:\n%s", p.tail())
		}
	})
	select {
	case s := <-line:
		if err := json.Unmarshal([]byte(s), &p.started); err != nil {
			<-p.exited
			return nil, fmt.Errorf("the box did not start: %w: %s", p.err, p.tail())
		}
	case <-time.After(3 * time.Minute):
		return nil, fmt.Errorf("the box did not start in three minutes: %s", p.tail())
	}
	p.took = time.Since(at)
	return p, nil
}

func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-6000):])
}

// url is where the box serves path.
func (p *process) url(path string) string { return "http://" + p.Doors[0] + path }

// alive fails the test if the process has ended by itself.
func (p *process) alive(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
		p.checkLog(t)
		t.Fatalf("the box died: %v", p.err)
	default:
	}
}

// kill ends the box as a power switch would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.alive(t)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	p.checkLog(t)
}

// stop ends the box as an operator does; it must come to a good end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.alive(t)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(3 * time.Minute):
		t.Fatalf("the box did not stop in three minutes: %s", p.tail())
	}
	if p.err != nil {
		t.Errorf("the box stopped badly: %v\n%s", p.err, p.tail())
	}
	p.checkLog(t)
}

// crash is what a Go program says when something in it went wrong for good.
var crash = regexp.MustCompile(`(?m)^(panic:|fatal error:|unexpected fault|WARNING: DATA RACE|goroutine \d+ \[)|http: panic serving`)

func (p *process) checkLog(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if at := crash.FindIndex(b); at != nil {
		t.Errorf("the box crashed:\n%s", b[at[0]:min(len(b), at[0]+4000)])
	}
}

// ready asks /readyz.
func (p *process) ready(ctx context.Context) (status int, says string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/readyz", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // ctx is its limit
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(b)), err
}

// lives lets the box live for so long. It must answer all the while: time in
// which the machine stands still is none in which a box can do anything.
func (p *process) lives(t *testing.T, d time.Duration) {
	t.Helper()
	const step = 50 * time.Millisecond
	for range d/step + 1 {
		if _, _, err := p.ready(t.Context()); err != nil {
			p.alive(t)
			t.Fatalf("/readyz: %v", err)
		}
		time.Sleep(step)
	}
}

// diskUse is what everything under dir takes on the disk.
func diskUse(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // files come and go under a running box
		}
		if fi, err := d.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// usage is what the parts of a data folder take.
type usage struct{ bodies, objects, damaged, all int64 }

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB: %.1f of bodies, %.1f of objects, %.1f put aside", float64(u.all)/(1<<20),
		float64(u.bodies)/(1<<20), float64(u.objects)/(1<<20), float64(u.damaged)/(1<<20))
}

// watchDisk measures a data folder until the function it returns is called,
// which tells the most there was.
func watchDisk(dir string) func() usage {
	var most usage
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			u := usage{
				bodies:  diskUse(filepath.Join(dir, "bodies")),
				objects: diskUse(filepath.Join(dir, "objects")),
				damaged: diskUse(filepath.Join(dir, "objects.damaged")),
			}
			if u.all = u.bodies + u.objects + u.damaged; u.all > most.all {
				most = u
			}
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() usage {
		close(done)
		wg.Wait()
		return most
	}
}

package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	serveEnv  = "PREAU_WIRE_TEST_SERVE"
	memoryEnv = "PREAU_WIRE_TEST_MEMORY" // "quic" to see what boxes would cost over that
)

// shown is what the child process needs to be server s1.
type shown struct {
	Region identity.Region
	Root   []byte
	Cert   []byte
	Key    []byte
}

// serveForMemory is the child: a server, alone in its process, whose handler is
// a response that never ends. It prints its address, then its memory whenever it
// reads a line, and ends with its standard input.
func serveForMemory() {
	var s shown
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	fatal(err)
	fatal(json.Unmarshal(line, &s))
	root, err := x509.ParseCertificate(s.Root)
	fatal(err)
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	fatal(err)
	pair := &tls.Certificate{Certificate: [][]byte{s.Cert}, PrivateKey: key}
	ctx, cancel := context.WithCancel(context.Background())
	cfg := wire.DefaultConfig()
	l, err := wire.Listen(ctx, "127.0.0.1:0", wire.Credentials{
		Region: s.Region, Roots: []*x509.Certificate{root},
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
	}, cfg, quiet, prometheus.NewRegistry())
	fatal(err)
	var done sync.WaitGroup
	done.Go(func() { fatal(l.Run(ctx, wire.Service{Handler: http.HandlerFunc(forEver)})) })
	fmt.Println(l.Addr())
	for {
		if _, err := in.ReadBytes('\n'); err != nil {
			break
		}
		resident := rss() // as it is, with what the collector has not looked at
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Printf("%d %d %d %d %d\n", resident, m.HeapAlloc, m.StackInuse, m.Sys-m.HeapReleased, runtime.NumGoroutine())
	}
	cancel()
	done.Wait()
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// forEver is a feed: it says something at once and then stays.
func forEver(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "hello\n")
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-wire.Stopping(r):
	}
}

func rss() int {
	b, err := os.ReadFile("/proc/self/statm")
	fatal(err)
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	fatal(err)
	return pages * os.Getpagesize()
}

// TestABoxCostsLittleMemory opens many boxes' connections to a server in a
// process of its own and looks at what the system counts for it.
func TestABoxCostsLittleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is not what is measured")
	}
	boxes := 3000
	if testing.Short() {
		boxes = 300
	}
	const most = 60 << 10
	r := newRegion(t, time.Now())
	pair := r.pair(t, r.node(identity.Server, "s1"), time.Now())
	keyDER, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(shown{r.id, r.authority.Certificate().Raw, pair.Certificate[0], keyDER})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), serveEnv+"=1", "GOGC=50") // see DESIGN.md
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outPipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(outPipe)
	fmt.Fprintf(in, "%s\n", line)
	address, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	target := wire.Target{Name: "s1", Address: strings.TrimSpace(address)}

	measure := func() []int {
		fmt.Fprintln(in)
		text, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var found []int
		for word := range strings.FieldsSeq(text) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, n)
		}
		return found
	}

	// Each box is its own, with a certificate of its own, as far as the server
	// can see; making 3,000 keys is not what is measured.
	connect := func(name string) {
		// As the feed's: what is quiet for days goes over TCP.
		quiet := func(c *wire.DialConfig) { c.QUIC = os.Getenv(memoryEnv) == overQUIC }
		tr := transport(t, dialer(t, r.creds(t, r.box(name), time.Now()), quiet), target)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region/feed", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { resp.Body.Close() })
		if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
			t.Error(err)
		}
	}
	connect("first")
	before := measure()
	var dialling sync.WaitGroup
	queue := make(chan string)
	for range 8 {
		dialling.Go(func() {
			for name := range queue {
				connect(name)
			}
		})
	}
	for i := range boxes {
		queue <- "box-" + strconv.Itoa(i)
	}
	close(queue)
	dialling.Wait()
	after := measure()
	perBox := func(i int) int { return (after[i] - before[i]) / boxes }
	t.Logf("%d boxes: rss %d B each (heap %d, stacks %d, from the system %d), goroutines %d",
		boxes, perBox(0), perBox(1), perBox(2), perBox(3), (after[4]-before[4])/boxes)
	if got := perBox(0); got > most {
		t.Errorf("a box costs %d bytes of the server's memory, at most %d are allowed", got, most)
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

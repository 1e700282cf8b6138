package wiretest

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// childEnv marks a process that is one end of a path.
const childEnv = "PREAU_WIRETEST_END"

// Job is what an end is to do.
type Job struct {
	Region identity.Region
	Root   []byte // DER, as the following two
	Cert   []byte
	Key    []byte

	Address string // to listen at, or to dial
	// Of the server.
	NoQUIC     bool
	Congestion string

	// Of the client: Count blocks of Size bytes, by so many callers. TCP and QUIC
	// fix the connections; without them the program chooses.
	Count, Size, Callers int
	TCP, QUIC            int
	// First asks for one byte over a fresh Transport, so many times, and nothing
	// else.
	First int
}

// Sample is how much a client had got at a time.
type Sample struct {
	At    time.Time
	Bytes int64
}

// Result is what a client found.
type Result struct {
	Began, Ended time.Time
	Bytes        int64 // of blocks that came whole
	Vain         int64 // of answers that broke off
	Failed       int
	Samples      []Sample
	First        []time.Duration // until the answer of each request was whole
	Paths        []wire.PathState
	CPU          time.Duration
	Modes        []string // of bulk, as they changed
}

// Child is the main of a test binary that may be started as an end of a path.
// Call it first thing; false means that this is not one. An end that fails says
// so to its standard error, and its Stage notices that it says nothing else.
func Child() bool {
	what := os.Getenv(childEnv)
	if what == "" {
		return false
	}
	var job Job
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &job)
	}
	if err == nil && what == "server" {
		err = job.serve(in)
	} else if err == nil {
		err = job.fetch()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, what+":", err)
	}
	return true
}

func (j Job) credentials() (wire.Credentials, error) {
	root, err := x509.ParseCertificate(j.Root)
	if err != nil {
		return wire.Credentials{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(j.Key)
	if err != nil {
		return wire.Credentials{}, err
	}
	pair := &tls.Certificate{Certificate: [][]byte{j.Cert}, PrivateKey: key}
	return wire.Credentials{
		Region: j.Region, Roots: []*x509.Certificate{root},
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
	}, nil
}

// serve answers /N with N bytes. Each line that it reads asks for how many bytes
// of bodies it has handed over.
func (j Job) serve(in *bufio.Reader) error {
	creds, err := j.credentials()
	if err != nil {
		return err
	}
	cfg := wire.DefaultConfig()
	cfg.QUIC, cfg.TCPCongestion = !j.NoQUIC, j.Congestion
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := wire.Listen(ctx, j.Address, creds, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	body := make([]byte, 1<<20)
	rand.Read(body) // never fails
	var served atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil || n < 1 || n > len(body) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		for n > 0 {
			did, err := w.Write(body[:min(n, 64<<10)])
			served.Add(int64(did))
			if err != nil {
				return
			}
			n -= did
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, wire.Service{Handler: handler}) }()
	fmt.Println(l.Addr())
	for {
		if _, err := in.ReadBytes('\n'); err != nil {
			break
		}
		fmt.Println(served.Load(), int64(cpu()))
	}
	cancel()
	return <-ended
}

func cpu() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// fetch does the client's part and prints its Result.
func (j Job) fetch() error {
	creds, err := j.credentials()
	if err != nil {
		return err
	}
	cfg := wire.DefaultDialConfig()
	cfg.QUIC = !j.NoQUIC
	d, err := wire.NewDialer(creds, cfg)
	if err != nil {
		return err
	}
	target := wire.Target{Name: "server", Address: j.Address}
	var r Result
	if j.First > 0 {
		err = j.first(d, target, &r)
	} else {
		err = j.bulk(d, target, &r)
	}
	if err != nil {
		return err
	}
	r.Paths, r.CPU = d.Paths(), cpu()
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (j Job) first(d *wire.Dialer, target wire.Target, r *Result) error {
	for range j.First {
		tr := d.Transport(target)
		began := time.Now()
		if _, err := ask(tr, 1); err != nil {
			return err
		}
		r.First = append(r.First, time.Since(began))
		if err := tr.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			continue // a connection that lost the race may be closed already
		}
	}
	return nil
}

func (j Job) bulk(d *wire.Dialer, target wire.Target, r *Result) (err error) {
	var b *wire.Bulk
	if j.TCP+j.QUIC > 0 {
		b = d.FixedBulk(target, j.TCP, j.QUIC)
	} else {
		b = d.Bulk(target)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var got, whole, vain, failed atomic.Int64
	var callers sync.WaitGroup
	jobs := make(chan struct{})
	r.Began = time.Now()
	for range j.Callers {
		callers.Go(func() {
			for range jobs {
				for {
					n, err := count(b, j.Size, &got)
					if err == nil {
						whole.Add(n)
						break
					}
					vain.Add(n)
					failed.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				r.Samples = append(r.Samples, Sample{now, got.Load()})
				for _, p := range d.Paths() {
					if n := len(r.Modes); n == 0 || r.Modes[n-1] != p.Lanes {
						r.Modes = append(r.Modes, p.Lanes)
					}
				}
			}
		}
	})
	for range j.Count {
		jobs <- struct{}{}
	}
	close(jobs)
	callers.Wait()
	r.Ended = time.Now()
	close(done)
	watching.Wait()
	r.Bytes, r.Vain, r.Failed = whole.Load(), vain.Load(), int(failed.Load())
	return nil
}

func request(size int) (*http.Request, error) {
	return http.NewRequestWithContext(context.Background(), http.MethodGet, "https://server/"+strconv.Itoa(size), http.NoBody)
}

func ask(rt http.RoundTripper, size int) (int64, error) {
	var got atomic.Int64
	return count(rt, size, &got)
}

// count reads an answer of so many bytes, and adds them up as they come.
func count(rt http.RoundTripper, size int, total *atomic.Int64) (int64, error) {
	req, err := request(size)
	if err != nil {
		return 0, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var n int64
	buf := make([]byte, 32<<10)
	for {
		did, err := resp.Body.Read(buf)
		n += int64(did)
		total.Add(int64(did))
		switch {
		case err == io.EOF && n == int64(size):
			return n, nil
		case err == io.EOF:
			return n, io.ErrUnexpectedEOF
		case err != nil:
			return n, err
		}
	}
}

// Stage is a server at the far end of a path, for clients at the near one.
type Stage struct {
	path   *Path // nil for loopback
	server *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	job    Job // of a client
	args   []string
}

// NewStage starts the server: this program again, with the given arguments, which
// must lead to Child. Without a path both ends are on loopback.
func NewStage(ctx context.Context, path *Path, server Job, args ...string) (*Stage, error) {
	id := identity.NewRegion()
	now := time.Now()
	authority, err := enrol.NewAuthority(id, now)
	if err != nil {
		return nil, err
	}
	server, err = server.as(authority, identity.Identity{Region: id, Role: identity.Server, Name: "server"}, now)
	if err != nil {
		return nil, err
	}
	server.Address = "127.0.0.1:0"
	if path != nil {
		server.Address = path.Far.Address + ":4433"
	}
	s := &Stage{path: path, args: args}
	if s.job, err = (Job{}).as(authority, identity.Identity{Region: id, Role: identity.Box, Name: "client", School: "0690001A"}, now); err != nil {
		return nil, err
	}
	s.server = child(ctx, "server", args)
	if s.in, err = s.server.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if path == nil {
		err = s.server.Start()
	} else {
		err = path.Far.Start(s.server)
	}
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(s.in).Encode(server); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	address, err := s.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.job.Address = address[:len(address)-1]
	return s, nil
}

func (j Job) as(authority *enrol.Authority, id identity.Identity, now time.Time) (Job, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return j, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, crypto.Signer(key))
	if err != nil {
		return j, err
	}
	text, err := authority.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), id, enrol.Validity(id.Role), now)
	if err != nil {
		return j, err
	}
	block, _ := pem.Decode(text)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	j.Region, j.Root, j.Cert, j.Key = id.Region, authority.Certificate().Raw, block.Bytes, der
	return j, err
}

func child(ctx context.Context, what string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

// Client runs a client with the given job and waits for its result.
func (s *Stage) Client(ctx context.Context, job Job) (Result, error) {
	job.Region, job.Root, job.Cert, job.Key, job.Address = s.job.Region, s.job.Root, s.job.Cert, s.job.Key, s.job.Address
	line, err := json.Marshal(job)
	if err != nil {
		return Result{}, err
	}
	cmd := child(ctx, "client", s.args)
	in, err := cmd.StdinPipe()
	if err != nil {
		return Result{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if s.path == nil {
		err = cmd.Start()
	} else {
		err = s.path.Near.Start(cmd)
	}
	if err != nil {
		return Result{}, err
	}
	if _, err := in.Write(append(line, '\n')); err != nil {
		return Result{}, errors.Join(err, cmd.Wait())
	}
	var r Result
	err = json.NewDecoder(out).Decode(&r)
	return r, errors.Join(err, in.Close(), cmd.Wait())
}

// Served is how many bytes of bodies the server has handed over, and its CPU time.
func (s *Stage) Served() (int64, time.Duration, error) {
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return 0, 0, err
	}
	var n, used int64
	_, err := fmt.Fscanln(s.out, &n, &used)
	return n, time.Duration(used), err
}

// Close stops the server.
func (s *Stage) Close() error { return errors.Join(s.in.Close(), s.server.Wait()) }

// CutResult is what a cut of the line did to a transfer.
type CutResult struct {
	Resumed time.Duration // from the line's return until the next byte of a body
	Twice   int64         // bytes of bodies that the server handed over beyond those that were asked for
	Vain    int64         // of these, those that had come
	Failed  int           // answers that broke off
	Took    time.Duration
	Modes   []string
}

// Cut runs a client whose line is away for a while, some time after it began.
func Cut(ctx context.Context, s *Stage, p *Path, job Job, after, away time.Duration) (CutResult, error) {
	before, _, err := s.Served()
	if err != nil {
		return CutResult{}, err
	}
	var back time.Time
	var cutting sync.WaitGroup
	cutting.Go(func() {
		sleep(ctx, after)
		p.Cut(true)
		sleep(ctx, away)
		p.Cut(false)
		back = time.Now()
	})
	r, err := s.Client(ctx, job)
	cutting.Wait()
	if err != nil {
		return CutResult{}, err
	}
	served, _, err := s.Served()
	if err != nil {
		return CutResult{}, err
	}
	out := CutResult{Vain: r.Vain, Failed: r.Failed, Took: r.Ended.Sub(r.Began), Modes: r.Modes, Twice: served - before - r.Bytes}
	var got int64
	for _, sample := range r.Samples {
		if sample.At.Before(back) {
			got = sample.Bytes
		} else if sample.Bytes > got {
			out.Resumed = sample.At.Sub(back)
			return out, nil
		}
	}
	return out, errors.New("nothing came after the line was back: it was back too late")
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

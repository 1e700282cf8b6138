//go:build bench

package bench

import (
	"bytes"
	"context"
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
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/control"
	"preau/node/region"
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// regionStage is a region of real servers, each in a process of its own.
type regionStage struct {
	dir       string
	id        identity.Region
	servers   []*regionServer
	operator  *control.Client
	authority *enrol.Authority
	way       *wire.Dialer // as another server
	change    func(*region.Config)
}

type regionServer struct {
	*process
	name string
	cfg  region.Config
}

// regionStage founds a region and has n-1 servers join it. Everything is taken
// down when the subtest ends.
func (b *bench) regionStage(t *testing.T, n int) *regionStage {
	return b.regionStageWith(t, n, func(*region.Config) {})
}

func (b *bench) regionStageWith(t *testing.T, n int, change func(*region.Config)) *regionStage {
	b.serial++
	s := &regionStage{change: change, dir: filepath.Join(b.dir, fmt.Sprintf("region%03d", b.serial))}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.down(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.up(ctx, n); err != nil {
		t.Fatalf("the region does not come up: %v", err)
	}
	return s
}

func (s *regionStage) up(ctx context.Context, n int) error {
	first, err := s.config("s1")
	if err != nil {
		return err
	}
	if s.id, err = region.Found(ctx, first, region.Founding{Name: "Bench", Server: "s1"}, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	s.servers = append(s.servers, &regionServer{name: "s1", cfg: first})
	if err := s.servers[0].start(ctx); err != nil {
		return err
	}
	if err := s.open(first); err != nil {
		return err
	}
	for i := 2; i <= n; i++ {
		name := fmt.Sprintf("s%d", i)
		cfg, err := s.config(name)
		if err != nil {
			return err
		}
		var token control.Token
		err = patiently(ctx, func() error {
			token, err = s.operator.Token(ctx, control.TokenRequest{Role: "server"})
			return err
		})
		if err != nil {
			return err
		}
		if _, err := region.Join(ctx, cfg, token.Token, name); err != nil {
			return err
		}
		next := &regionServer{name: name, cfg: cfg}
		s.servers = append(s.servers, next)
		if err := next.start(ctx); err != nil {
			return err
		}
	}
	return s.whole(ctx)
}

func (s *regionStage) config(name string) (region.Config, error) {
	cfg := region.DefaultConfig()
	var err1, err2 error
	cfg.Data, cfg.Budget = filepath.Join(s.dir, name), 64*config.MiB
	cfg.Listen, err1 = freeAddr()
	cfg.Admin.Listen, err2 = freeAddr()
	s.change(&cfg)
	return cfg, errors.Join(err1, err2)
}

// open takes the operator's and the authority's place.
func (s *regionStage) open(first region.Config) error {
	var err error
	if s.operator, err = control.Open(region.OperatorDir(first.Data), nil); err != nil {
		return err
	}
	me, err := enrol.OpenStore(filepath.Join(first.Data, "identity"))
	if err != nil {
		return err
	}
	if s.authority, err = me.OpenAuthority(nil); err != nil {
		return err
	}
	bench, err := issue(s.authority, identity.Identity{Region: s.id, Role: identity.Server, Name: "bench"})
	if err != nil {
		return err
	}
	s.way, err = wire.NewDialer(bench.credentials(s.authority), wire.DefaultDialConfig())
	return err
}

// whole waits until all servers take part.
func (s *regionStage) whole(ctx context.Context) error {
	return patiently(ctx, func() error {
		st, err := s.operator.Status(ctx)
		if err != nil {
			return err
		}
		if st.Voters != len(s.servers) || !st.Quorum {
			return fmt.Errorf("%d voters of %d, quorum %v", st.Voters, len(s.servers), st.Quorum)
		}
		for _, m := range st.Servers {
			if m.State != "leader" && m.State != "follower" {
				return fmt.Errorf("%s is %s: %s", m.Name, m.State, m.Problem)
			}
		}
		return nil
	})
}

// leader finds the server that leads.
func (s *regionStage) leader(ctx context.Context) (*regionServer, error) {
	var found *regionServer
	err := patiently(ctx, func() error {
		st, err := s.operator.Status(ctx)
		if err != nil {
			return err
		}
		for _, m := range s.servers {
			if m.name == st.Leader {
				found = m
				return nil
			}
		}
		return errors.New("there is no leader")
	})
	return found, err
}

func (s *regionStage) down(t *testing.T) {
	if s.operator != nil {
		_ = s.operator.Close()
	}
	for _, m := range s.servers {
		if m.process == nil {
			continue
		}
		if err := m.stop(); err != nil {
			t.Errorf("server %s: %v", m.name, err)
		}
		if t.Failed() {
			t.Logf("end of the log of %s: %s", m.name, m.tail())
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Errorf("the region leaves files behind: %v", err)
	}
}

// start runs the server in a process of its own and waits until it listens.
func (m *regionServer) start(ctx context.Context) (err error) {
	if m.process, err = startRegion("server", m.cfg.Data+".log", m.cfg); err != nil {
		return err
	}
	return m.ready(ctx, m.cfg.Listen)
}

// startRegion starts this binary again, in one of the region's roles.
func startRegion(role, log string, spec any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return startProcess(log, -1, self, regionArgument+role, string(text))
}

// serverMain is one server, until it is told to end.
func serverMain(spec string) error {
	var cfg region.Config
	if err := json.Unmarshal([]byte(spec), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return region.Run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
}

// bearer is a certificate with its key.
type bearer struct {
	Name        identity.Name
	Certificate []byte // DER
	Key         []byte // PKCS#8
}

// issue signs a certificate without the ceremony of a token.
func issue(by *enrol.Authority, id identity.Identity) (bearer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return bearer{}, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return bearer{}, err
	}
	text, err := by.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}), id, enrol.Validity(id.Role), time.Now())
	if err != nil {
		return bearer{}, err
	}
	block, _ := pem.Decode(text)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return bearer{Name: id.Name, Certificate: block.Bytes, Key: private}, err
}

func (b bearer) key() (identity.Key, error) {
	cert, err := x509.ParseCertificate(b.Certificate)
	if err != nil {
		return identity.Key{}, err
	}
	return identity.KeyOf(cert), nil
}

func (b bearer) credentials(by *enrol.Authority) wire.Credentials {
	return b.credentialsFor(by.Region(), by.Certificate())
}

func (b bearer) credentialsFor(region identity.Region, root *x509.Certificate) wire.Credentials {
	key, err := x509.ParsePKCS8PrivateKey(b.Key)
	pair := &tls.Certificate{Certificate: [][]byte{b.Certificate}, PrivateKey: key}
	return wire.Credentials{
		Region: region, Roots: []*x509.Certificate{root},
		Certificate: func() (*tls.Certificate, error) { return pair, err },
	}
}

// push sends commands to the leader as another server hands them on.
type push struct {
	*wire.Transport
}

func (s *regionStage) push(ctx context.Context) (push, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return push{}, err
	}
	p := push{s.way.Transport(wire.Target{Name: identity.Name(leader.name), Address: leader.cfg.Listen})}
	// The first request goes alone, so that later ones share its connection.
	return p, p.collection(ctx)
}

// do has the region decide on ops, as one entry.
func (p push) do(ctx context.Context, ops ...catalogue.Op) (index uint64, err error) {
	data, err := catalogue.Encode(catalogue.NewCommand("server/bench", time.Now().UTC().Truncate(time.Millisecond), ops...))
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://leader/v1/internal/apply", bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	resp, err := p.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var result catalogue.Result
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the leader answers %d: %s", resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &result); err != nil {
		return 0, err
	}
	if result.Code != "" {
		return 0, fmt.Errorf("the region refuses: %s: %s", result.Code, result.Detail)
	}
	return result.Index, nil
}

// patiently repeats fn until it returns nil or ctx ends.
func patiently(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: still: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpu is what all servers have used so far, and rss what they hold.
func (s *regionStage) cpu() (sum float64) {
	for _, m := range s.servers {
		sum += m.cpuSeconds()
	}
	return sum
}

func (s *regionStage) rss() (sum memory) {
	for _, m := range s.servers {
		one := m.memory()
		sum.rss, sum.anon = sum.rss+one.rss, sum.anon+one.anon
	}
	return sum
}

// forgetPeak begins a new measurement of peak.
func (p *process) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid()), []byte("5"), 0)
}

// peak is the largest resident memory that the process had.
func (p *process) peak() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// peer is a cache that can be put in front of an origin.
type peer struct {
	name string
	ours bool
	// find says which version is installed, or why none can run.
	find func(ctx context.Context) (version string, err error)
	// launch writes what the server needs into s.dir and returns its command line.
	launch func(s setup) (argv []string, err error)
	// persistent: what is stored survives kill -9.
	persistent bool
	// store is the folder under setup.dir that counts against the budget; empty for a store in memory.
	store string
}

// setup is where a peer shall run.
type setup struct {
	dir    string // its own folder, kept between restarts
	listen string // host:port
	origin string // host:port
	budget int64  // bytes it may store
}

// running is a peer that is up.
type running struct {
	*process
	peer peer
	set  setup
	base string
}

// start brings the peer up; with cpu >= 0 on that processor alone.
func (p peer) start(ctx context.Context, set setup, cpu int) (*running, error) {
	if err := os.MkdirAll(set.dir, 0o755); err != nil {
		return nil, err
	}
	argv, err := p.launch(set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	proc, err := startProcess(filepath.Join(set.dir, "log"), cpu, argv...)
	if err != nil {
		return nil, err
	}
	if err := proc.ready(ctx, set.listen); err != nil {
		return nil, fmt.Errorf("%w (stop: %v)", err, proc.stop()) //nolint:errorlint // often nil, which only %v can show
	}
	return &running{process: proc, peer: p, set: set, base: "http://" + set.listen}, nil
}

// sliced is the second nginx.
const sliced = "nginx (slice 1m)"

// peers are the contestants, ours first.
func peers(box string, boxErr error) []peer {
	return []peer{
		{
			name: "préau", ours: true, persistent: true, store: "data",
			find: func(ctx context.Context) (string, error) {
				if boxErr != nil {
					return "", boxErr
				}
				out, err := exec.CommandContext(ctx, box, "version").CombinedOutput()
				return strings.TrimSpace(firstLine(string(out))), err
			},
			launch: func(s setup) ([]string, error) {
				admin, err := freeAddr()
				if err != nil {
					return nil, err
				}
				return []string{box, "box", "--site", "http://" + s.origin, "--listen", s.listen,
					"--data", filepath.Join(s.dir, "data"), "--budget", fmt.Sprintf("%dMiB", s.budget/miB), "--admin", admin}, nil
			},
		},
		{
			name: "nginx (lock)", persistent: true, store: "cache",
			find:   versionOf("nginx", "-v", `nginx/(\S+)`),
			launch: func(s setup) ([]string, error) { return nginxCommand(s, nginxWhole) },
		},
		{
			name: sliced, persistent: true, store: "cache",
			find:   versionOf("nginx", "-v", `nginx/(\S+)`),
			launch: func(s setup) ([]string, error) { return nginxCommand(s, nginxSlice) },
		},
		{
			name: "Varnish",
			find: versionOf("varnishd", "-V", `varnish-(\S+)`),
			launch: func(s setup) ([]string, error) {
				vcl := filepath.Join(s.dir, "default.vcl")
				host, port, _ := strings.Cut(s.origin, ":")
				if err := os.WriteFile(vcl, fmt.Appendf(nil, varnishVCL, host, port), 0o644); err != nil {
					return nil, err
				}
				return []string{"varnishd", "-F", "-j", "none", "-n", filepath.Join(s.dir, "work"), "-a", s.listen, "-f", vcl,
					"-s", fmt.Sprintf("malloc,%dm", s.budget/miB), "-t", "0", "-p", "default_grace=0"}, nil
			},
		},
	}
}

// versionOf asks an installed program for its version.
func versionOf(program, flag, pattern string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return "", fmt.Errorf("%s is not installed", program)
		}
		out, err := exec.CommandContext(ctx, path, flag).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w: %s", program, flag, err, out)
		}
		m := regexp.MustCompile(pattern).FindSubmatch(out)
		if m == nil {
			return "", fmt.Errorf("no version in %q", out)
		}
		return string(m[1]), nil
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// nginxConf is one worker, no access log, waits for locks as long as it takes,
// and the whole family of stale rules. tcp_nopush stays off: with loopback's
// MTU it stalls 64 KiB answers for 40 ms.
const nginxConf = `daemon off;
%[6]s
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log error;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	tcp_nodelay on;
	keepalive_requests 1000000000;
	keepalive_timeout 300s;
	client_body_temp_path %[1]s/t1;
	fastcgi_temp_path %[1]s/t2;
	uwsgi_temp_path %[1]s/t3;
	scgi_temp_path %[1]s/t4;
	proxy_temp_path %[1]s/t5;
	proxy_cache_path %[1]s/cache levels=1:2 keys_zone=c:64m max_size=%[2]d inactive=7d use_temp_path=off;
	upstream site { server %[3]s max_fails=0; keepalive 16; }
	server {
		listen %[4]s;
		location / {
			proxy_pass http://site;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_connect_timeout 5s;
			proxy_read_timeout 15s;
			proxy_cache c;
			proxy_cache_revalidate on;
			proxy_cache_background_update on;
			proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
			proxy_cache_lock on;
			proxy_cache_lock_timeout 1h;
			proxy_cache_lock_age 1h;
%[5]s
		}
	}
}
`

const (
	nginxWhole = ""
	nginxSlice = `			slice 1m;
			proxy_cache_key $uri$is_args$args$slice_range;
			proxy_set_header Range $slice_range;
`
)

func nginxCommand(s setup, extra string) ([]string, error) {
	conf := filepath.Join(s.dir, "nginx.conf")
	user := "" // root's workers would become www-data, who may not enter a test's folder
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	text := fmt.Appendf(nil, nginxConf, s.dir, s.budget, s.origin, s.listen, extra, user)
	if err := os.WriteFile(conf, text, 0o644); err != nil {
		return nil, err
	}
	return []string{"nginx", "-c", conf, "-e", filepath.Join(s.dir, "error.log")}, nil
}

// varnishVCL keeps stale objects for a week, and does not let the error of a
// background fetch replace the object that is still good.
const varnishVCL = `vcl 4.1;
backend default {
	.host = "%s";
	.port = "%s";
	.connect_timeout = 5s;
	.first_byte_timeout = 15s;
	.between_bytes_timeout = 15s;
}
sub vcl_backend_response {
	if (beresp.status >= 500 && bereq.is_bgfetch) {
		return (abandon);
	}
	set beresp.grace = 7d;
}
`

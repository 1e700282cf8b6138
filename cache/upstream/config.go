package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config says where a site's origin is and how patient the box is with it. The
// zero value is not usable; start from DefaultConfig.
type Config struct {
	// Name is the site's name: the value of the metrics' label, and what logs
	// and errors say. It comes from the operator's list, never from a request.
	Name string `toml:"-"`

	// URL is the origin: http or https, a host, an optional base path.
	URL *url.URL `toml:"-"`

	// ProbePath is asked for with HEAD when the line is in doubt. It is joined
	// to the base path and may carry percent-encoding.
	ProbePath string `toml:"probe_path"`

	// ConnectTimeout bounds one dial, name resolution included.
	ConnectTimeout time.Duration `toml:"connect_timeout"`

	// SilenceAfter is how long a fetch may wait for its next byte before the
	// line is probed.
	SilenceAfter time.Duration `toml:"silence_after"`

	// ProbeTimeout is how long a probe may see no byte at all before it fails.
	ProbeTimeout time.Duration `toml:"probe_timeout"`

	// ProbeEvery is the pause before the first probe of a line that is down;
	// it doubles up to ProbeEveryMax.
	ProbeEvery    time.Duration `toml:"probe_every"`
	ProbeEveryMax time.Duration `toml:"probe_every_max"`

	// BodyStall breaks a fetch off whose body delivers nothing for so long
	// although the line answers probes. Time in which nobody reads the body
	// does not count.
	BodyStall time.Duration `toml:"body_stall"`

	// HeaderTimeout breaks a fetch off that has no response header after so
	// long although the line answers probes.
	HeaderTimeout time.Duration `toml:"header_timeout"`

	// MaxFetches bounds the fetches under way at once; 0 sets no bound. Those
	// that last longer than five seconds, which are downloads or long polls, are
	// counted apart: there may be four times as many. Requests that are passed
	// through are not counted.
	MaxFetches int `toml:"max_fetches"`

	// FetchesPerMinute bounds the fetches sent in any minute, half of which may
	// go at once; 0 sets no bound. Requests that are passed through are not
	// counted.
	FetchesPerMinute int `toml:"fetches_per_minute"`

	// MaxWait is how long a fetch may wait for its turn, or for the end of a
	// pause that the site has asked for. One that would wait longer fails with
	// ErrBusy.
	MaxWait time.Duration `toml:"max_wait"`

	// PrivateAddresses lets the site's name lead to addresses that are not of
	// the Internet: private, loopback, link-local and the like. It is not needed
	// where URL holds such an address itself, or localhost.
	PrivateAddresses bool `toml:"private_addresses"`

	// Forwarded is what the site is told about where requests come from:
	// ForwardedNone or ForwardedBox. It is never told who asks.
	Forwarded string `toml:"forwarded"`

	// MaxConnsPerHost bounds the connections to the origin; 0 sets no bound.
	MaxConnsPerHost int `toml:"max_conns_per_host"`

	// RootCAFile is a PEM file of certificate authorities that are trusted
	// beside the system's; empty trusts the system's only.
	RootCAFile string `toml:"root_ca_file"`
}

// The values of Config.Forwarded.
const (
	ForwardedNone = "none" // nothing
	ForwardedBox  = "box"  // that a box asks: the same word for all (RFC 7239 §6.3)
)

// DefaultConfig finds a dead line within two seconds: SilenceAfter and
// ProbeTimeout add up to 1.9.
func DefaultConfig() Config {
	return Config{
		ProbePath:      "/",
		ConnectTimeout: 1500 * time.Millisecond,
		SilenceAfter:   time.Second,
		ProbeTimeout:   900 * time.Millisecond,
		ProbeEvery:     500 * time.Millisecond,
		ProbeEveryMax:  5 * time.Second,
		BodyStall:      30 * time.Second,
		HeaderTimeout:  60 * time.Second,
		MaxFetches:     32,
		MaxWait:        10 * time.Second,
		Forwarded:      ForwardedNone,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Name == "" {
		add("name: must not be empty")
	}
	switch c.URL {
	case nil:
		add("url: must be set")
	default:
		if c.URL.Scheme != "http" && c.URL.Scheme != "https" {
			add("url: scheme %q is neither http nor https", c.URL.Scheme)
		}
		if c.URL.Hostname() == "" {
			add("url: has no host")
		}
		if oddAddress(c.URL.Hostname()) {
			add("url: host %q is neither a name nor an address: write the address in full, like 192.0.2.7", c.URL.Hostname())
		}
		if c.URL.User != nil || c.URL.RawQuery != "" || c.URL.Fragment != "" || c.URL.Opaque != "" {
			add("url: may hold a scheme, a host and a path only")
		}
	}
	if !strings.HasPrefix(c.ProbePath, "/") {
		add("probe_path: %q does not begin with a slash", c.ProbePath)
	} else if _, err := url.PathUnescape(c.ProbePath); err != nil || strings.ContainsAny(c.ProbePath, "?#") {
		add("probe_path: %q is not a path", c.ProbePath)
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{
		{"connect_timeout", c.ConnectTimeout}, {"silence_after", c.SilenceAfter},
		{"probe_timeout", c.ProbeTimeout}, {"probe_every", c.ProbeEvery},
		{"probe_every_max", c.ProbeEveryMax}, {"body_stall", c.BodyStall},
		{"header_timeout", c.HeaderTimeout},
	} {
		if d.d <= 0 {
			add("%s: must be positive", d.key)
		}
	}
	if c.ProbeEveryMax < c.ProbeEvery {
		add("probe_every_max: is shorter than probe_every")
	}
	if c.BodyStall < c.SilenceAfter {
		add("body_stall: is shorter than silence_after")
	}
	if c.HeaderTimeout < c.SilenceAfter {
		add("header_timeout: is shorter than silence_after")
	}
	if c.MaxConnsPerHost < 0 {
		add("max_conns_per_host: must not be negative")
	}
	if c.MaxFetches < 0 {
		add("max_fetches: must not be negative: write 0 for no bound")
	}
	if c.FetchesPerMinute < 0 {
		add("fetches_per_minute: must not be negative: write 0 for no bound")
	}
	if c.MaxWait < 0 {
		add("max_wait: must not be negative")
	}
	if c.Forwarded != ForwardedNone && c.Forwarded != ForwardedBox {
		add("forwarded: %q is unknown: write %q or %q", c.Forwarded, ForwardedNone, ForwardedBox)
	}
	return errors.Join(errs...)
}

package class

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// The ways a device reads before it takes the whole body.
const (
	RangeNone   = ""       // the whole body at once
	RangeRandom = "random" // 1 MiB at a random place first
	RangeSeek   = "seek"   // like a video player: the start, a jump into the middle, the end
)

// Config describes a class and what it downloads.
type Config struct {
	URL     string
	Devices int
	// Over is how long arrivals are spread; below zero all come at once. 0 means a second.
	Over time.Duration
	// Range is RangeNone, RangeRandom or RangeSeek.
	Range string
	// Size is the body's length where it is known. Ranges need it; without it
	// one HEAD request asks before the class begins.
	Size int64
	// Abort is how many devices leave in the middle of the body.
	Abort int
	// Resume lets those who left, and those who were cut off, come back and
	// go on from where they were (Range and If-Range).
	Resume bool
	// Slow is how many devices read at only SlowRate bytes a second.
	Slow     int
	SlowRate int64
	// Expect is the SHA-256 that the whole body must have, in hex.
	Expect string
	// Timeout ends a device that takes longer; 0 means ten minutes.
	Timeout time.Duration
	// Connect is the address to connect to, whatever the URL's host; the
	// URL's port is taken if it has none.
	Connect string
	// Insecure accepts any certificate.
	Insecure bool
	// JSON writes the report as JSON and no table.
	JSON bool
	// Metrics is a box's admin URL, from which the bytes of its line are read before and after.
	Metrics string
	// WANBytes tells the line's bytes where there are no metrics, before and after.
	WANBytes func() int64
	// Watch is called with all devices a few times a second and once at the end.
	// It must not keep the slice.
	Watch func([]Device)
}

// check returns cfg with its defaults, or says what is wrong with it.
func (cfg Config) check() (Config, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case cfg.URL == "":
		return cfg, errors.New("class: which URL? for example http://127.0.0.1:8081/film.mp4")
	case err != nil:
		return cfg, fmt.Errorf("class: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return cfg, fmt.Errorf("class: %q does not begin with http:// or https://", cfg.URL)
	case u.Host == "":
		return cfg, fmt.Errorf("class: %q names no host", cfg.URL)
	case cfg.Devices < 1 || cfg.Devices > 5000:
		return cfg, fmt.Errorf("class: %d devices; between 1 and 5000 can take part", cfg.Devices)
	case cfg.Abort < 0 || cfg.Abort > cfg.Devices:
		return cfg, fmt.Errorf("class: %d of %d devices cannot leave", cfg.Abort, cfg.Devices)
	case cfg.Slow < 0 || cfg.Slow > cfg.Devices:
		return cfg, fmt.Errorf("class: %d of %d devices cannot be slow", cfg.Slow, cfg.Devices)
	case cfg.Slow > 0 && cfg.SlowRate <= 0:
		return cfg, errors.New("class: slow devices need a rate in bytes a second")
	case cfg.Size < 0:
		return cfg, fmt.Errorf("class: a size of %d bytes", cfg.Size)
	case cfg.Timeout < 0:
		return cfg, fmt.Errorf("class: a timeout of %v", cfg.Timeout)
	}
	switch cfg.Range {
	case RangeNone, RangeRandom, RangeSeek:
	default:
		return cfg, fmt.Errorf("class: range mode %q; there are %q and %q", cfg.Range, RangeRandom, RangeSeek)
	}
	if cfg.Expect != "" {
		cfg.Expect = strings.ToLower(strings.TrimPrefix(cfg.Expect, "sha256:"))
		if b, err := hex.DecodeString(cfg.Expect); err != nil || len(b) != 32 {
			return cfg, fmt.Errorf("class: %q is no SHA-256 in hex", cfg.Expect)
		}
	}
	if cfg.Metrics != "" {
		m, err := url.Parse(cfg.Metrics)
		if err != nil || m.Host == "" || (m.Scheme != "http" && m.Scheme != "https") {
			return cfg, fmt.Errorf("class: metrics address %q is no http URL", cfg.Metrics)
		}
		if m.Path == "" || m.Path == "/" {
			m.Path = "/metrics"
		}
		cfg.Metrics = m.String()
	}
	if cfg.Over == 0 {
		cfg.Over = time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Minute
	}
	return cfg, nil
}

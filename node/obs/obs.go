// Package obs is what an operator sees of a running node: its log, its metrics,
// whether it lives and whether it is ready, and its profiles.
//
// Metrics live on a registry that is made here and handed to the parts; nothing
// is registered by importing a package, so two nodes fit into one process. The
// admin face listens on loopback unless an address is written out in full,
// because it shows what a box holds and how it works. It has no users and no
// passwords: whoever opens it to a network puts something in front of it.
package obs

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Log says how to write the log.
type Log struct {
	Level  string `toml:"level" doc:"Least serious messages to write: debug, info, warn or error. With debug, every request is a line."`
	Format string `toml:"format" doc:"text for people, json for machines, auto: text on a terminal and json otherwise."`
}

// DefaultLog is for people on a terminal and for the journal otherwise.
func DefaultLog() Log { return Log{Level: "info", Format: "auto"} }

// NewLogger makes the node's logger. An unknown level or format is an error
// that names the known ones.
func NewLogger(w io.Writer, cfg Log) (*slog.Logger, error) {
	var level slog.Level
	switch cfg.Level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
			return nil, fmt.Errorf("log level: %w", err)
		}
	case "":
	default:
		return nil, fmt.Errorf("log level %q is unknown: write debug, info, warn or error", cfg.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(cfg.Format) {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "auto", "":
		if terminal(w) {
			return slog.New(slog.NewTextHandler(w, options)), nil
		}
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q is unknown: write auto, text or json", cfg.Format)
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// NewRegistry makes the node's registry with what every node tells about
// itself: the Go runtime, the process, and preau_build_info, a gauge that is
// always 1 and carries the version.
func NewRegistry(b Build) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "preau_build_info",
		Help: "Always 1; the labels say what is running.",
	}, []string{"version", "commit", "go_version"})
	build.WithLabelValues(b.Version, b.Commit, b.Go).Set(1)
	for _, c := range []prometheus.Collector{
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register node metrics: %w", err)
		}
	}
	return reg, nil
}

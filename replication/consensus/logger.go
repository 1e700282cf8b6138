package consensus

import (
	"context"
	"fmt"
	"io"
	"log" //nolint:depguard // hclog's interface hands out a standard logger
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logger lets raft write to slog, one level lower than it would: what raft calls
// an error (a peer that does not answer) is no reason to wake anybody.
type logger struct {
	to   *slog.Logger
	args []any
	name string
	said *said // nil: say everything
}

// said keeps raft from telling the same of the same peer more than once a
// minute: a server that is down for a night would fill the journal.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	sayAgain = time.Minute
	mostSaid = 200
)

func (s *said) lately(what string, now time.Time) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.last[what]; ok && now.Sub(t) < sayAgain {
		return true
	}
	if s.last == nil || len(s.last) >= mostSaid {
		s.last = map[string]time.Time{}
	}
	s.last[what] = now
	return false
}

var _ hclog.Logger = logger{}

var levels = map[hclog.Level]slog.Level{
	hclog.Error: slog.LevelWarn,
	hclog.Warn:  slog.LevelInfo,
	hclog.Info:  slog.LevelDebug,
	hclog.Debug: slog.LevelDebug - 4,
	hclog.Trace: slog.LevelDebug - 8,
}

func level(l hclog.Level) slog.Level {
	if s, ok := levels[l]; ok {
		return s
	}
	return slog.LevelDebug
}

// Log implements hclog.Logger, as do all below.
func (l logger) Log(lv hclog.Level, msg string, args ...any) {
	ctx := context.Background()
	if !l.to.Enabled(ctx, level(lv)) {
		return
	}
	if lv >= hclog.Warn {
		about := msg
		if len(args) > 1 {
			about += text(args[1])
		}
		if l.said.lately(about, time.Now()) {
			return
		}
	}
	attrs := make([]slog.Attr, 0, len(args)/2+1)
	attrs = append(attrs, slog.String("what", msg))
	for i := 0; i+1 < len(args); i += 2 {
		key := strings.ReplaceAll(fmt.Sprint(args[i]), "-", "_")
		if key == "error" {
			key = "err"
		}
		attrs = append(attrs, slog.String(key, text(args[i+1])))
	}
	l.to.LogAttrs(ctx, level(lv), "raft", attrs...)
}

func text(v any) string {
	if f, ok := v.(hclog.Format); ok && len(f) > 0 {
		if layout, ok := f[0].(string); ok {
			return fmt.Sprintf(layout, f[1:]...)
		}
	}
	return fmt.Sprint(v)
}

func (l logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l logger) enabled(lv hclog.Level) bool { return l.to.Enabled(context.Background(), level(lv)) }

func (l logger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l logger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l logger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l logger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l logger) IsError() bool { return l.enabled(hclog.Error) }

func (l logger) ImpliedArgs() []any { return l.args }
func (l logger) Name() string       { return l.name }

func (l logger) With(args ...any) hclog.Logger {
	all := append(append([]any(nil), l.args...), args...)
	return logger{to: l.to.With(args...), args: all, name: l.name, said: l.said}
}

func (l logger) Named(name string) hclog.Logger {
	l.name = strings.TrimPrefix(l.name+"."+name, ".")
	return l
}

func (l logger) ResetNamed(name string) hclog.Logger {
	l.name = name
	return l
}

// SetLevel does nothing: slog's handler decides.
func (l logger) SetLevel(hclog.Level)  {}
func (l logger) GetLevel() hclog.Level { return hclog.NoLevel }
func (l logger) lines() io.Writer      { return lines{l} }
func (l logger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.lines(), "", 0)
}
func (l logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return l.lines() }

type lines struct{ l logger }

func (w lines) Write(p []byte) (int, error) {
	w.l.Info(strings.TrimSpace(string(p)))
	return len(p), nil
}

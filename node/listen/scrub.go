package listen

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"regexp"
)

// scrubbed is where http.Server complains. Its messages name the client's
// address, which no log of ours may keep, so addresses are taken out. A panic
// of a handler is for people to act on; all else is noise of the network.
func scrubbed(to *slog.Logger) *log.Logger {
	return log.New(&scrubber{to}, "", 0)
}

type scrubber struct{ to *slog.Logger }

var address = regexp.MustCompile(`(\[[0-9a-fA-F:.%\w]+\]|\d{1,3}(\.\d{1,3}){3}):\d+`)

func (s *scrubber) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.Contains(line, []byte("panic")) {
		level = slog.LevelError
	}
	clean := address.ReplaceAll(bytes.TrimSpace(line), []byte("client"))
	s.to.Log(context.Background(), level, "http server complains", "err", string(clean))
	return len(line), nil
}

package consensus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheSameOfTheSamePeerIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := logger{to: slog.New(slog.NewTextHandler(&out, nil)), said: &said{}}
		for range 150 {
			l.Error("failed to heartbeat to", "peer", "s1", "backoff time", time.Now())
			l.Error("failed to heartbeat to", "peer", "s2")
			time.Sleep(time.Second)
		}
		for peer, want := range map[string]int{"s1": 3, "s2": 3} {
			if got := strings.Count(out.String(), "peer="+peer); got != want {
				t.Errorf("%s was told of %d times in 150 s, want %d", peer, got, want)
			}
		}
	})
}

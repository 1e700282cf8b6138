package region_test

import (
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"preau/node/region"
)

// Whoever knows the server's address must not meet it while it recovers.
func TestNobodyIsServedByAServerThatRecovers(t *testing.T) {
	// Held throughout, so that the server can't have it.
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := region.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Advertise = filepath.Join(t.TempDir(), "s1"), "127.0.0.1:0", ln.Addr().String()
	cfg.Budget = 64 << 20
	log := slog.New(slog.DiscardHandler)
	if _, err := region.Found(t.Context(), cfg, region.Founding{Name: "Lyon", Server: "s1"}, log); err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Advertise = ln.Addr().String(), ""
	kept, err := region.Recover(t.Context(), cfg, log)
	if err != nil || kept.Epoch != 2 || kept.Index == 0 {
		t.Errorf("recovered %+v, %v", kept, err)
	}
}

package box_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"preau/node/box"
	"preau/node/config"
	"preau/node/follow"
	"preau/node/listen"
	"preau/node/obs"
)

func TestABoxWithADamagedIdentityServesAllTheSame(t *testing.T) {
	cfg := box.DefaultConfig()
	cfg.Data, cfg.Budget, cfg.Admin.Listen = t.TempDir(), 64*config.MiB, "127.0.0.1:0"
	cfg.Listen = []listen.Config{{Address: "127.0.0.1:0"}}
	dir := follow.IdentityDir(cfg.Data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key.pem", "cert.pem", "region.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := obs.NewLogger(t.Output(), obs.DefaultLog())
	if err != nil {
		t.Fatal(err)
	}
	b, err := box.New(t.Context(), cfg, log)
	if err != nil {
		t.Fatalf("the box does not start: %v", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := b.Run(ctx); err != nil {
		t.Error(err)
	}
}

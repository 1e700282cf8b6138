//go:build bench

package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// regionClient talks to this test's own children.
var regionClient = &http.Client{Timeout: 5 * time.Minute}

// profile keeps profiles of every server, if they were asked for: of the CPU
// for some time from now on, then of the memory, and the metrics. It does not
// wait; the function that it returns does.
func (s *regionStage) profile(ctx context.Context, name string, long time.Duration) (wait func()) {
	if *profFlag == "" {
		return func() {}
	}
	var all sync.WaitGroup
	for _, m := range s.servers {
		all.Go(func() {
			for _, path := range []string{fmt.Sprintf("profile?seconds=%.0f", max(1, long.Seconds())), "heap", "goroutine"} {
				kind, _, _ := strings.Cut(path, "?")
				if err := keep(ctx, m.cfg.Admin.Listen, "debug/pprof/"+path, filepath.Join(*profFlag, name+"-"+m.name+"-"+kind+".pb.gz")); err != nil {
					fmt.Fprintf(os.Stderr, "profile of %s: %v\n", m.name, err)
				}
			}
			if err := keep(ctx, m.cfg.Admin.Listen, "metrics", filepath.Join(*profFlag, name+"-"+m.name+"-metrics.txt")); err != nil {
				fmt.Fprintf(os.Stderr, "metrics of %s: %v\n", m.name, err)
			}
		})
	}
	return all.Wait
}

// keep writes what an operator's face answers into a file.
func keep(ctx context.Context, admin, path, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := regionClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

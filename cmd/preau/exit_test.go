package main

import (
	"bytes"
	"context"
	"testing"
)

func TestExitCodes(t *testing.T) {
	tests := map[string]struct {
		args []string
		want int
	}{
		"nothing said":     {nil, exitOK},
		"help":             {[]string{"--help"}, exitOK},
		"help of one":      {[]string{"box", "--help"}, exitOK},
		"version":          {[]string{"version"}, exitOK},
		"unknown command":  {[]string{"serve"}, exitUsage},
		"unknown flag":     {[]string{"version", "--loud"}, exitUsage},
		"nothing to run":   {[]string{"box"}, exitUsage},
		"bad value":        {[]string{"box", "--budget", "2G"}, exitUsage},
		"missing file":     {[]string{"box", "--config", "/nonexistent"}, exitUsage},
		"right, check":     {[]string{"box", "--site", "http://a.example", "--listen", ":1", "--data", "d", "--check"}, exitOK},
		"fails at running": {[]string{"class", "http://127.0.0.1:1/", "--devices", "1", "--over", "0s"}, exitFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if got := run(context.Background(), tt.args, &out, &errs); got != tt.want {
				t.Errorf("exit code %d, want %d; stderr: %s", got, tt.want, errs.String())
			}
			if wrote := errs.Len() > 0; wrote != (tt.want != exitOK) {
				t.Errorf("stderr is %q for exit code %d", errs.String(), tt.want)
			}
		})
	}
}

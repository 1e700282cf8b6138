package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTheDemonstrationSaysHowToCallItself(t *testing.T) {
	dir := t.TempDir()
	here, other := filepath.Join(dir, "preau"), filepath.Join(dir, "old")
	for _, name := range []string{here, other} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	none := errors.New("none")
	for _, tt := range []struct{ file, inPath, want string }{
		{here, here, "preau"},
		{here, other, here}, // another version is first in the path
		{here, "", here},
		{"", here, "preau"},
		{"/tmp/go-build1/b001/exe/preau", here, "go run ./cmd/preau"},
	} {
		finds := func(name string) (string, error) {
			if name == "" {
				return "", none
			}
			return name, nil
		}
		got := calledAs(func() (string, error) { return finds(tt.file) }, func(string) (string, error) { return finds(tt.inPath) })
		if got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

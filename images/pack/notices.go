package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// licence is what files are called that hold a library's terms.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// notices are the terms of all libraries that the program contains, as most of
// them want them passed on. A library without any is an error.
func (j *job) notices(ctx context.Context) ([]byte, error) {
	c := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Module,Standard", "./cmd/preau")
	c.Dir = j.root
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=-mod=readonly")
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("list the libraries: %w", err)
	}
	dirs := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list the libraries: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			dirs[p.Module.Path+" "+p.Module.Version] = p.Module.Dir
		}
	}
	goroot, err := output(ctx, j.root, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs["Go's standard library"] = goroot
	var names []string
	for name := range dirs {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	b.WriteString("Préau contains the following, under these terms.\n")
	for _, name := range names {
		fmt.Fprintf(&b, "\n\n======== %s\n", name)
		entries, err := os.ReadDir(dirs[name])
		if err != nil {
			return nil, err
		}
		found := false
		for _, e := range entries {
			if e.IsDir() || !licence.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dirs[name], e.Name()))
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "\n-------- %s\n\n%s\n", e.Name(), bytes.TrimSpace(text))
			found = true
		}
		if !found {
			return nil, fmt.Errorf("%s has no file with its terms in %s", name, dirs[name])
		}
	}
	return b.Bytes(), nil
}

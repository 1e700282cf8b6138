package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// nfpm is the last version whose modules can all be had.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0"

const (
	maintainer  = "The Préau maintainers <maintainers@preau.invalid>"
	homepage    = "https://preau.invalid/"
	description = `cache for schools: a class downloads once
 A box in a school stands in front of web sites that its operator lists, keeps
 what classes use, and serves it, whether the school's line is up or down. Boxes
 follow a region's servers, which a gateway joins to a ministry's object store.
 .
 This package has the box, the region's server, the gateway and the operators'
 commands. It starts nothing by itself: see /etc/preau.`
)

// debs makes a package for each architecture.
func (j *job) debs(ctx context.Context, compression string) error {
	version, err := debVersion(j.version, j.epoch)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "preau-deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // in the system's folder for such things
	// What the program says of itself is the same on every architecture.
	own := filepath.Join(work, "own")
	if err := j.build(ctx, runtime.GOARCH, own); err != nil {
		return err
	}
	contents, err := j.contents(ctx, work, own, version)
	if err != nil {
		return err
	}
	for _, arch := range j.archs {
		program := own
		if arch != runtime.GOARCH {
			program = filepath.Join(work, "preau-"+arch)
			if err := j.build(ctx, arch, program); err != nil {
				return err
			}
		}
		target := filepath.Join(j.out, fmt.Sprintf("preau_%s_%s.deb", version, arch))
		if err := j.deb(ctx, work, target, arch, version, compression, append(contents, j.file(program, "/usr/bin/preau", 0o755))); err != nil {
			return err
		}
		fmt.Fprintln(j.say, target)
	}
	return nil
}

// content is a file of the package, as nfpm wants it told.
type content struct {
	Src  string   `json:"src"`
	Dst  string   `json:"dst"`
	Type string   `json:"type,omitempty"`
	Info fileInfo `json:"file_info"`
}

type fileInfo struct {
	Mode  uint32 `json:"mode"`
	MTime string `json:"mtime"`
	Owner string `json:"owner"`
	Group string `json:"group"`
}

func (j *job) file(src, dst string, mode uint32) content {
	return content{Src: src, Dst: dst, Info: fileInfo{Mode: mode, MTime: j.epoch.Format(time.RFC3339), Owner: "root", Group: "root"}}
}

// contents is all of the package but the program.
func (j *job) contents(ctx context.Context, work, own, version string) ([]content, error) {
	static := filepath.Join(j.root, "images", "debian")
	var out []content
	for _, f := range [][2]string{
		{"preau-box.service", "/usr/lib/systemd/system/preau-box.service"},
		{"preau-region.service", "/usr/lib/systemd/system/preau-region.service"},
		{"preau-central.service", "/usr/lib/systemd/system/preau-central.service"},
		{"preau.sysusers", "/usr/lib/sysusers.d/preau.conf"},
		{"preau.tmpfiles", "/usr/lib/tmpfiles.d/preau.conf"},
		{"preau.sysctl", "/usr/lib/sysctl.d/60-preau.conf"},
		{"update/preau-update.service", "/usr/lib/systemd/system/preau-update.service"},
		{"update/preau-update.timer", "/usr/lib/systemd/system/preau-update.timer"},
		{"copyright", "/usr/share/doc/preau/copyright"},
		{"lintian-overrides", "/usr/share/lintian/overrides/preau"},
	} {
		out = append(out, j.file(filepath.Join(static, f[0]), f[1], 0o644))
	}
	out = append(out, j.file(filepath.Join(static, "update", "update"), "/usr/lib/preau/update", 0o755))
	for _, name := range []string{"box.toml", "server.toml", "central.toml"} {
		c := j.file(filepath.Join(static, "etc", name), "/etc/preau/"+name, 0o644)
		c.Type = "config"
		out = append(out, c)
	}
	add := func(dst string, text []byte) error {
		if strings.HasSuffix(dst, ".gz") {
			var err error
			if text, err = zipped(text); err != nil {
				return err
			}
		}
		src := filepath.Join(work, "made"+strings.ReplaceAll(dst, "/", "_"))
		if err := os.WriteFile(src, text, 0o644); err != nil {
			return err
		}
		out = append(out, j.file(src, dst, 0o644))
		return nil
	}
	for _, made := range []struct {
		dst  string
		args []string
	}{
		{"/usr/share/man/man1/preau.1.gz", []string{"manual"}},
		{"/usr/share/man/man5/preau-box.toml.5.gz", []string{"manual", "box.toml"}},
		{"/usr/share/man/man5/preau-server.toml.5.gz", []string{"manual", "server.toml"}},
		{"/usr/share/man/man5/preau-central.toml.5.gz", []string{"manual", "central.toml"}},
		{"/usr/share/bash-completion/completions/preau", []string{"completion", "bash"}},
		{"/usr/share/zsh/vendor-completions/_preau", []string{"completion", "zsh"}},
		{"/usr/share/fish/vendor_completions.d/preau.fish", []string{"completion", "fish"}},
		{"/usr/share/doc/preau/examples/box.toml", []string{"config"}},
		{"/usr/share/doc/preau/examples/server.toml", []string{"region", "config"}},
		{"/usr/share/doc/preau/examples/central.toml", []string{"central", "config"}},
	} {
		args := made.args
		if args[0] == "manual" {
			args = append(args, "--date", j.epoch.Format(time.DateOnly))
		}
		text, err := exec.CommandContext(ctx, own, args...).Output()
		if err != nil {
			return nil, fmt.Errorf("preau %s: %w", strings.Join(args, " "), err)
		}
		if err := add(made.dst, text); err != nil {
			return nil, err
		}
	}
	news, err := os.ReadFile(filepath.Join(j.root, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	notices, err := j.notices(ctx)
	if err != nil {
		return nil, err
	}
	changelog := fmt.Sprintf("preau (%s) stable; urgency=medium\n\n  * What changed is in /usr/share/doc/preau/CHANGELOG.md.gz.\n\n -- %s  %s\n",
		version, maintainer, j.epoch.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	for dst, text := range map[string][]byte{
		"/usr/share/doc/preau/changelog.gz": []byte(changelog), "/usr/share/doc/preau/CHANGELOG.md.gz": news, "/usr/share/doc/preau/NOTICES.gz": notices,
	} {
		if err := add(dst, text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// zipped is text as gzip -9n makes it: with no name and no time.
func zipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (j *job) deb(ctx context.Context, work, target, arch, version, compression string, contents []content) error {
	static := filepath.Join(j.root, "images", "debian")
	config, err := json.MarshalIndent(map[string]any{ // JSON is YAML
		"name": "preau", "arch": arch, "platform": "linux", "version": version, "version_schema": "none",
		"section": "net", "priority": "optional", "maintainer": maintainer, "homepage": homepage, "description": description,
		"mtime":    j.epoch.Format(time.RFC3339),
		"depends":  []string{"ca-certificates", "gpgv", "init-system-helpers (>= 1.54)", "systemd (>= 252)"},
		"contents": contents,
		"scripts":  map[string]string{"postinstall": filepath.Join(static, "postinst"), "preremove": filepath.Join(static, "prerm"), "postremove": filepath.Join(static, "postrm")},
		"deb":      map[string]any{"compression": compression},
	}, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(work, "nfpm-"+arch+".yaml")
	if err := os.WriteFile(file, config, 0o644); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "go", "run", nfpm, "package", "--config", file, "--packager", "deb", "--target", target)
	c.Dir = work // no go.mod there: its modules are its own
	c.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", j.epoch.Unix()), "GOFLAGS=")
	return do(c)
}

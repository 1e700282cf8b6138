package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// roots is where this system keeps the certificates of authorities, which go into
// the image: the same bundle gives the same image.
const roots = "/etc/ssl/certs/ca-certificates.crt"

// container makes an image for each architecture, each a file that docker load
// and podman load take. Nothing is left in the machine's own store of images.
func (j *job) container(ctx context.Context) error {
	version, err := debVersion(j.version, j.epoch)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "preau-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // in the system's folder for such things
	buildah := func(args ...string) error {
		return do(exec.CommandContext(ctx, "buildah", append([]string{
			"--root", filepath.Join(work, "store"), "--runroot", filepath.Join(work, "run"), "--storage-driver", "vfs",
		}, args...)...))
	}
	for _, arch := range j.archs {
		from := filepath.Join(work, arch)
		if err := j.staged(ctx, arch, from); err != nil {
			return err
		}
		tag := "localhost/preau:" + tagged(version) + "-" + arch
		if err := buildah("bud", "--isolation", "chroot", "--format", "docker", "--layers=false", "--pull=false", "--platform", "linux/"+arch,
			"--timestamp", fmt.Sprint(j.epoch.Unix()), "--label", "org.opencontainers.image.version="+version,
			"--tag", tag, "--file", filepath.Join(j.root, "images", "container", "Containerfile"), from); err != nil {
			return err
		}
		target := filepath.Join(j.out, "preau_"+version+"_"+arch+".image.tar")
		made := filepath.Join(work, arch+".tar")
		if err := buildah("push", "--disable-compression", tag, "docker-archive:"+made+":"+tag); err != nil {
			return err
		}
		if err := plain(made, target); err != nil {
			return err
		}
		fmt.Fprintln(j.say, target)
	}
	return nil
}

// staged lays out the image's files, with modes that no umask changes.
func (j *job) staged(ctx context.Context, arch, dir string) error {
	certificates, err := os.ReadFile(roots)
	if err != nil {
		return fmt.Errorf("the image needs the certificates of authorities: install ca-certificates (%w)", err)
	}
	program := filepath.Join(dir, "root", "usr", "bin", "preau")
	for _, d := range []string{filepath.Dir(program), filepath.Join(dir, "root", "etc", "ssl", "certs"), filepath.Join(dir, "root", "etc", "preau"), filepath.Join(dir, "root", "var", "lib"), filepath.Join(dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := j.build(ctx, arch, program); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"etc/passwd":                        []byte("preau:x:65532:65532::/var/lib/preau:/sbin/nologin\n"),
		"etc/group":                         []byte("preau:x:65532:\n"),
		"etc/ssl/certs/ca-certificates.crt": certificates,
	} {
		if err := os.WriteFile(filepath.Join(dir, "root", name), text, 0o644); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == filepath.Join(dir, "data"):
			return os.Chmod(path, 0o700)
		case d.IsDir() || path == program:
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// tagged is a version as an image's tag may be written.
func tagged(version string) string {
	out := []byte(version)
	for i, c := range out {
		if c == '~' || c == '+' {
			out[i] = '-'
		}
	}
	return string(out)
}

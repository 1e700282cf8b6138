// Command pack makes what machines are made from: the Debian packages, the
// container image, the appliance's images and a signed repository of packages.
//
// The same commit and version give the same bytes, in any folder, on any day:
// times are the commit's (SOURCE_DATE_EPOCH), and nothing of the machine goes in.
// It installs nothing, and signs only with a key that it is told of.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const howTo = `pack deb        [-version V] [-arch amd64,arm64] [-out DIR] [-compression xz|gzip]
pack container  [-version V] [-arch amd64,arm64] [-out DIR]
pack image      [-version V] [-key ID] [-out DIR] [-mirror URL] [-kept]
pack raspberry  [-version V] [-key ID] [-out DIR] [-mirror URL] [-kept]
pack repository -key ID -dir DIR [-suite NAME] PACKAGE.deb...
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// job is what a subcommand works with.
type job struct {
	root    string // of the sources
	out     string
	version string
	archs   []string
	epoch   time.Time
	say     io.Writer
}

func run(ctx context.Context, args []string, say io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to make:\n" + strings.TrimSuffix(howTo, "\n"))
	}
	if args[0] == "repository" {
		return repositoryCommand(ctx, args[1:], say)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	version := flags.String("version", "", "version, as git describe says it (default: that)")
	archs := flags.String("arch", "amd64,arm64", "architectures")
	out := flags.String("out", "bin", "where the results go")
	compression := flags.String("compression", "xz", "of packages: xz, or gzip, which is faster and larger")
	key := flags.String("key", "", "fingerprint of the GnuPG key that signs the image's updates; GNUPGHOME says where it is")
	mirror := flags.String("mirror", "", "where the image's Debian comes from (default: where this machine's does)")
	kept := flags.Bool("kept", false, "take what was installed for the image before, which is not up to date: for trials")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	j := job{out: *out, version: *version, archs: strings.Split(*archs, ","), say: say}
	if err := j.complete(ctx); err != nil {
		return err
	}
	switch args[0] {
	case "deb":
		return j.debs(ctx, *compression)
	case "container":
		return j.container(ctx)
	case "image":
		return j.image(ctx, *key, *mirror, *kept)
	case "raspberry":
		return j.raspberry(ctx, *key, *mirror, *kept)
	}
	return fmt.Errorf("%q is nothing that can be made:\n%s", args[0], strings.TrimSuffix(howTo, "\n"))
}

// complete finds out what was not said.
func (j *job) complete(ctx context.Context) error {
	root, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return err
	}
	j.root = filepath.Dir(root)
	if j.out, err = filepath.Abs(j.out); err != nil {
		return err
	}
	if err := os.MkdirAll(j.out, 0o755); err != nil {
		return fmt.Errorf("make the folder for results: %w", err)
	}
	if j.version == "" {
		if j.version, err = output(ctx, j.root, "git", "describe", "--tags", "--always", "--dirty"); err != nil {
			return fmt.Errorf("%w: say -version", err)
		}
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		if seconds, err = output(ctx, j.root, "git", "log", "-1", "--format=%ct"); err != nil {
			return fmt.Errorf("%w: say SOURCE_DATE_EPOCH", err)
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds", seconds)
	}
	j.epoch = time.Unix(n, 0).UTC()
	return nil
}

// build builds the program for an architecture. Nothing of the machine or the
// folder goes into it.
func (j *job) build(ctx context.Context, arch, file string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X preau/node/obs.version="+j.version, "-o", file, "./cmd/preau")
	c.Dir = j.root
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly")
	return do(c)
}

// do runs a command whose words are of interest only if it fails.
func do(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args[:min(len(c.Args), 3)], " "), err, out)
	}
	return nil
}

// output is what a command prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	out, err := c.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// suites is how a suite may be called: it becomes a path and a line of a file.
var suites = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// repositoryCommand adds packages to a signed repository, and makes one if there
// is none. Older versions stay in it, so that a machine can go back to one. What
// is to be served, or carried on a stick, is DIR/public.
func repositoryCommand(ctx context.Context, args []string, say io.Writer) error {
	flags := flag.NewFlagSet("repository", flag.ContinueOnError)
	key := flags.String("key", "", "fingerprint of the GnuPG key that signs; GNUPGHOME says where it is")
	dir := flags.String("dir", "", "the repository's folder")
	suite := flags.String("suite", "stable", "the suite that machines name")
	uri := flags.String("uri", "", "where machines find DIR/public, for the file preau.sources")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *key == "" || *dir == "":
		return errors.New("say which key signs and where the repository is: -key ID -dir DIR")
	case !suites.MatchString(*suite):
		return fmt.Errorf("-suite %q is no name of a suite: a-z, 0-9 and -", *suite)
	case strings.ContainsAny(*uri, "\n\r "):
		return fmt.Errorf("-uri %q is no address", *uri)
	case flags.NArg() == 0:
		return errors.New("say which packages are added")
	}
	root, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	r := repository{root: root, suite: *suite, key: *key}
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.aptly(ctx, append([]string{"repo", "add", *suite}, flags.Args()...)...); err != nil {
		return err
	}
	if err := r.publish(ctx); err != nil {
		return err
	}
	if err := r.describe(ctx, *uri); err != nil {
		return err
	}
	fmt.Fprintln(say, r.public())
	return nil
}

type repository struct{ root, suite, key string }

func (r repository) public() string { return filepath.Join(r.root, "public") }

// aptly runs it with settings of its own, and none of the user's.
func (r repository) aptly(ctx context.Context, args ...string) error {
	return do(exec.CommandContext(ctx, "aptly", append([]string{"-config=" + filepath.Join(r.root, "aptly.json")}, args...)...))
}

func (r repository) open(ctx context.Context) error {
	if err := os.MkdirAll(r.root, 0o755); err != nil {
		return err
	}
	settings, err := json.Marshal(map[string]any{
		"rootDir": r.root, "architectures": []string{"amd64", "arm64"}, "gpgProvider": "gpg", "gpgDisableVerify": false, "skipContentsPublishing": true,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.root, "aptly.json"), settings, 0o644); err != nil {
		return err
	}
	if r.aptly(ctx, "repo", "show", r.suite) == nil {
		return nil
	}
	return r.aptly(ctx, "repo", "create", "-distribution="+r.suite, "-component=main", r.suite)
}

// publish signs what the repository has now. aptly writes the new index beside
// the old one and then changes over, so a machine that asks meanwhile gets one of
// the two.
func (r repository) publish(ctx context.Context) error {
	sign := []string{"-batch", "-gpg-key=" + r.key}
	if r.aptly(ctx, "publish", "show", r.suite) == nil {
		return r.aptly(ctx, append(append([]string{"publish", "update"}, sign...), r.suite)...)
	}
	return r.aptly(ctx, append(append([]string{"publish", "repo", "-acquire-by-hash", "-origin=Préau", "-label=Préau"}, sign...), r.suite)...)
}

// describe writes what a machine needs to trust the repository.
func (r repository) describe(ctx context.Context, uri string) error {
	c := exec.CommandContext(ctx, "gpg", "--batch", "--armor", "--export", r.key)
	key, err := c.Output()
	if err != nil {
		return fmt.Errorf("export the public key: %w", err)
	}
	if len(key) == 0 {
		return fmt.Errorf("GnuPG has no key %s", r.key)
	}
	if err := os.WriteFile(filepath.Join(r.public(), "preau.asc"), key, 0o644); err != nil {
		return err
	}
	if uri == "" {
		return nil
	}
	text := fmt.Sprintf("# Goes to /etc/apt/sources.list.d/preau.sources, with preau.asc at the path below.\nTypes: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /etc/apt/keyrings/preau.asc\n", uri, r.suite)
	return os.WriteFile(filepath.Join(r.public(), "preau.sources"), []byte(text), 0o644)
}

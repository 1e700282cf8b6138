//go:build linux

// Command up brings up a whole ministry on this machine, says what can be done
// with it, and stays until Ctrl-C: see package ministry. Everything is on
// loopback and in one folder, which goes at the end. It keeps nothing and is
// not for use by others than whoever runs it.
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
	"strings"
	"syscall"
	"time"

	"preau/node/whole/ministry"
)

const (
	bucket   = "lessons"
	upWithin = 5 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "ministry:", err)
		os.Exit(1) //nolint:forbidigo // it is main
	}
}

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("ministry", flag.ContinueOnError)
	binary := flags.String("binary", "", "the command preau, such as bin/preau (default: it is built)")
	keep := flags.String("keep", "", "work in this `folder`, which must be empty, and leave it")
	osds := flags.Int("osds", 1, "OSDs of Ceph")
	boxes := flags.Int("boxes", 2, "boxes, each in a school of its own")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q: only flags are known, see -help", flags.Args())
	}
	if err := ministry.Install(ctx, out); err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		// Not os.TempDir, which may be too long for Ceph's sockets.
		if dir, err = os.MkdirTemp("/tmp", "ministry-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	command, err := built(ctx, *binary, dir, out)
	if err != nil {
		return err
	}
	began := time.Now()
	upCtx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	m, err := ministry.Up(upCtx, ministry.Config{
		Dir: filepath.Join(dir, "m"), Binary: command, OSDs: *osds, Boxes: *boxes, Bucket: bucket, Every: 2 * time.Second,
		Say: func(what string) { fmt.Fprintf(out, "%5.1f s  %s\n", time.Since(began).Seconds(), what) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	settings := filepath.Join(dir, "s3cfg")
	text := fmt.Sprintf("[default]\nhost_base = %s\nhost_bucket = %s\nuse_https = False\naccess_key = %s\nsecret_key = %s\n",
		m.Host(), m.Host(), m.Ceph.AccessKey, m.Ceph.SecretKey)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "%5.1f s  everything works\n", time.Since(began).Seconds())
	fmt.Fprint(out, words(m, command, settings, *keep))
	<-ctx.Done()
	fmt.Fprintln(out, "\nEnding everything.")
	return nil
}

// built is the command: as it was named, or built now.
func built(ctx context.Context, named, dir string, out io.Writer) (string, error) {
	if named != "" {
		command, err := filepath.Abs(named)
		if err == nil {
			_, err = os.Stat(command)
		}
		return command, err
	}
	command := filepath.Join(dir, "preau")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", command, "preau/cmd/preau")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the command preau: %w", err)
	}
	return command, nil
}

// words say what there is, and what to do with it.
func words(m *ministry.Ministry, command, settings, kept string) string {
	var boxes strings.Builder
	for _, b := range m.Boxes {
		fmt.Fprintf(&boxes, "    box       %s   school %s\n", b.URL, b.School)
	}
	first := m.Boxes[0]
	end := "Ctrl-C ends everything and removes its folder."
	if kept != "" {
		end = "Ctrl-C ends everything. " + kept + " stays."
	}
	return strings.NewReplacer(
		"ENDPOINT", m.Ceph.Endpoint, "ID:SECRET", m.Ceph.AccessKey+":"+m.Ceph.SecretKey, "ACCESS", m.Ceph.AccessKey, "SECRET", m.Ceph.SecretKey,
		"BUCKET", bucket, "DEPOSITS", ministry.Deposits, "BOXES\n", boxes.String(), "S3CFG", settings, "PREAU", command,
		"OPERATOR", m.Operator, "BOX", first.URL, "TOKEN", first.TokenFile(), "END", end, "REGION", m.Ceph.Region,
	).Replace(`
    S3        ENDPOINT   (Ceph's radosgw; region REGION, buckets in the path)
    keys      ACCESS / SECRET
    buckets   BUCKET, which reaches the boxes; DEPOSITS, where schools' files go
BOXES

Put a file into the bucket, with any S3 tool:

    s3cmd -c S3CFG put README.md s3://BUCKET/
    curl --aws-sigv4 aws:amz:REGION:s3 -u ID:SECRET -T README.md ENDPOINT/BUCKET/README.md

Some seconds later it is in the catalogue, which says its ID, and every box has it:

    PREAU list resources --as OPERATOR
    curl -O BOX/r/ID/README.md

Add a file in a school, and look for it in the ministry's bucket:

    PREAU deposit README.md --box BOX --token @TOKEN --wait
    s3cmd -c S3CFG ls -r s3://DEPOSITS/

END
`)
}

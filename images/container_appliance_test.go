//go:build appliance && linux

package images_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// image is an image's configuration, as an archive has it.
type image struct {
	Architecture string
	Config       struct {
		User, WorkingDir string
		Entrypoint       []string
		Healthcheck      *struct{ Test []string }
	}
}

// readImage reads an archive that docker load and podman load take.
func readImage(t *testing.T, file string) image {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	members := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".json") {
			if members[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	var manifest []struct{ Config string }
	if err := json.Unmarshal(members["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("%d images, %v", len(manifest), err)
	}
	var im image
	if err := json.Unmarshal(members[manifest[0].Config], &im); err != nil {
		t.Fatal(err)
	}
	return im
}

func TestImagesAreTheSameBytesAndAskForNothing(t *testing.T) {
	need(t, "buildah=buildah")
	once, again := t.TempDir(), t.TempDir()
	do(t, "", []string{epoch}, "go", "run", "./pack", "container", "-version", "v1.0.0", "-out", once)
	do(t, "", []string{epoch}, "sh", "-c", "umask 077 && go run ./pack container -version v1.0.0 -out "+again)
	for _, arch := range []string{"amd64", "arm64"} {
		name := "preau_1.0.0_" + arch + ".image.tar"
		if one, other := digest(t, filepath.Join(once, name)), digest(t, filepath.Join(again, name)); one != other {
			t.Errorf("%s: %s once, %s again", arch, one, other)
		}
		im := readImage(t, filepath.Join(once, name))
		if im.Architecture != arch {
			t.Errorf("the image for %s is for %s", arch, im.Architecture)
		}
		if im.Config.User != "65532:65532" || strings.Join(im.Config.Entrypoint, " ") != "/usr/bin/preau" {
			t.Errorf("%s: it runs %v as %s", arch, im.Config.Entrypoint, im.Config.User)
		}
		if c := im.Config.Healthcheck; c == nil || strings.Join(c.Test, " ") != "CMD /usr/bin/preau health" {
			t.Errorf("%s: its health is asked for by %+v", arch, c)
		}
	}
	runImage(t, filepath.Join(once, "preau_1.0.0_amd64.image.tar"))
}

// runImage runs the image as an operator would: with nothing that it could write
// to but its volume, and no capability.
func runImage(t *testing.T, archive string) {
	t.Helper()
	need(t, "podman=podman", "runc=runc", "iptables=iptables")
	store, err := os.MkdirTemp("", "p") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(store); err != nil {
			t.Error(err)
		}
	})
	podman := func(args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "podman", append([]string{
			"--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run"), "--storage-driver", "vfs",
			"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
		}, args...)...)
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := podman(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	must("load", "--input", archive)
	settings := filepath.Join(store, "box.toml")
	if err := os.WriteFile(settings, []byte(strings.ReplaceAll(boxSettings, ":80\"", ":8080\"")), 0o644); err != nil {
		t.Fatal(err)
	}
	// Without a network: what it serves of itself is enough, and no port of this
	// machine is needed. A machine's own tests may not raise limits.
	const id = "preau"
	t.Cleanup(func() {
		c := exec.Command("podman", podman("rm", "--force", "--ignore", "--time", "20", id).Args[1:]...) // the test's context has ended
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("remove the container: %v\n%s", err, out)
		}
	})
	must("run", "--detach", "--name", id, "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt", "no-new-privileges", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--volume", settings+":/etc/preau/box.toml:ro", "localhost/preau:1.0.0-amd64")
	within(t, 2*time.Minute, func() error {
		out, err := podman("exec", id, "/usr/bin/preau", "health", "--ready").CombinedOutput()
		if err != nil {
			logs, _ := podman("logs", id).CombinedOutput() // as much as there is
			return errors.Join(err, errors.New(string(out)+string(logs)))
		}
		return nil
	})
	must("healthcheck", "run", id)
	if out := must("top", id, "user", "capeff"); !strings.Contains(out, "\npreau ") || !strings.Contains(out, "none") {
		t.Errorf("it runs as:\n%s", out)
	}
}

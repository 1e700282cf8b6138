//go:build appliance && linux

package images_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slowly is how long anything may take that an emulated machine does on a machine
// that is busy with other things: a start, or to write an update. It takes a minute
// or two on a quiet one.
const slowly = 20 * time.Minute

// ear is what lets a test ask the machine's inside, where nobody can log in. The
// image has nothing of it: the emulator plays firmware that adds two units to the
// system, as whoever owns a machine's firmware can.
func ear() []string {
	unit := func(name, text string) string {
		return "systemd.set_credential_binary=systemd.extra-unit." + name + ":" + base64.StdEncoding.EncodeToString([]byte(text))
	}
	return []string{"-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=" + strings.Join([]string{
		unit("look.socket", "[Socket]\nListenStream=9199\nAccept=yes\n"),
		unit("look@.service", "[Service]\nExecStart=/bin/sh\nStandardInput=socket\n"),
		"systemd.wants=look.socket",
		// A disk that is not there after a minute and a half is given up, and on a machine
		// that is busy with other things it is only slow.
		"systemd.default_device_timeout_sec=900",
	}, " ")}
}

// sh runs a script inside, and gives what it prints.
func (v *vm) sh(limit time.Duration, script string) (string, error) {
	c, err := net.DialTimeout("tcp", v.inside, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	// The end tells an answer from a connection that was never taken.
	if _, err := fmt.Fprintf(c, "exec 2>&1\n(%s)\necho \"the end: $?\"\nexit\n", script); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	text, code, whole := strings.Cut(string(out), "the end: ")
	switch {
	case !whole:
		return text, fmt.Errorf("the machine's inside does not answer yet: %w", errors.Join(err, io.ErrUnexpectedEOF))
	case strings.TrimSpace(code) != "0":
		return text, fmt.Errorf("%s: exit code %s: %s", script, strings.TrimSpace(code), text)
	}
	return text, nil
}

// inner is what a script inside prints; it must go well.
func (v *vm) inner(t *testing.T, limit time.Duration, script string) string {
	t.Helper()
	out, err := v.sh(limit, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// onDisk: what the box keeps is on its disk, and not in memory.
func (v *vm) onDisk(t *testing.T) {
	t.Helper()
	if kind := v.inner(t, 3*time.Minute, "findmnt -n -o FSTYPE /var"); strings.TrimSpace(kind) != "ext4" {
		t.Fatalf("the box runs without its disk: %s\n%s", kind, v.inner(t, 3*time.Minute, "journalctl -b --no-pager -u preau-disk.service"))
	}
}

// slots are the versions that lie on the disk, and how often they may be tried.
func (v *vm) slots(t *testing.T) string {
	t.Helper()
	return strings.Join(strings.Fields(v.inner(t, 3*time.Minute, "udevadm settle --timeout=120; cd /efi/EFI/Linux; ls; cd /dev/disk/by-partlabel; ls; sha256sum /efi/EFI/Linux/*")), " ")
}

// runs waits until a version runs and nothing is left to start.
func (v *vm) runs(t *testing.T, limit time.Duration, version string) {
	t.Helper()
	last := ""
	within(t, limit, func() error {
		out, err := v.sh(3*time.Minute, ". /etc/os-release; echo $IMAGE_VERSION; ls /efi/EFI/Linux; systemctl is-active preau-healthy.service boot-complete.target || true")
		if now := strings.Join(strings.Fields(out), " "); err == nil && now != last {
			last = now
			t.Logf("%s: %s", time.Now().Format(time.TimeOnly), now)
		}
		if f := strings.Fields(out); err == nil && (f[0] != version || strings.Join(f[len(f)-2:], " ") != "active active") {
			err = errors.New(last)
		}
		return err
	})
}

// ownUnits is how long the box's own units took at a start, waiting for people
// left out.
func (v *vm) ownUnits(t *testing.T) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, unit := range []string{"preau-disk", "preau-provision", "preau-box"} {
		out := v.inner(t, 3*time.Minute, "systemctl show --value -p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic "+unit+".service")
		var from, to int64
		if _, err := fmt.Sscan(out, &from, &to); err != nil || from == 0 || to == 0 {
			t.Fatalf("%s: when it was started: %q, %v", unit, out, err)
		}
		if from > to {
			from, to = to, from
		}
		took := time.Duration(to-from) * time.Microsecond
		t.Logf("%s took %v", unit, took.Round(10*time.Millisecond))
		sum += took
	}
	return sum
}

// quiet reports whether this machine has little else to do than to emulate: only
// then do times say something of the box.
func quiet() bool {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return false
	}
	load, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	return err == nil && load < float64(2*runtime.NumCPU())
}

// soon is the limit for our own units at a start, under emulation.
func soon(t *testing.T, took time.Duration) {
	t.Helper()
	t.Logf("our own units took %v of a start", took.Round(100*time.Millisecond))
	if took > 15*time.Second && quiet() {
		t.Errorf("our own units took %v of a start: at most 15 s", took)
	}
}

// diskOf is a disk with an image on it and room around.
func diskOf(t *testing.T, dir, raw string) string {
	t.Helper()
	disk := filepath.Join(dir, "disk.raw")
	do(t, "", nil, "cp", "--sparse=always", raw, disk)
	if err := os.Truncate(disk, 4<<30); err != nil {
		t.Fatal(err)
	}
	return disk
}

// prepared is a disk whose boot partition has a box's invitation.
func (r applianceRegion) prepared(t *testing.T, dir, raw string) string {
	t.Helper()
	disk, file := diskOf(t, dir, raw), filepath.Join(dir, "preau.toml")
	if err := os.WriteFile(file, []byte("token = \""+r.token(t)+"\"\nname = \"library-1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, "", []string{"MTOOLS_SKIP_CHECK=1"}, "mcopy", "-i", disk+"@@1M", file, "::preau.toml")
	return disk
}

// film publishes something that a class sees.
func (r applianceRegion) film(t *testing.T, dir string) (file, sum string) {
	t.Helper()
	file = filepath.Join(dir, "film.bin")
	do(t, "", nil, "dd", "if=/dev/urandom", "of="+file, "bs=1M", "count=8", "status=none")
	r.must(t, "publish", file, "--collection", "lessons", "--id", "film", "--no-subscribe")
	return file, digest(t, file)
}

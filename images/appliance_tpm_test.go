//go:build appliance && linux

package images_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tpm is a main board's TPM: the emulator's arguments for it. It ends with the
// machine; what it holds stays in dir.
func tpm(t *testing.T, dir, name string) []string {
	t.Helper()
	state, socket := filepath.Join(dir, "tpm-"+name), filepath.Join(dir, name+".sock")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--ctrl", "type=unixio,path="+socket, "--terminate") // its end is told below
	c.Stderr, c.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // or it has ended with its machine
		_ = c.Wait()         // it was told to
	})
	within(t, time.Minute, func() error {
		_, err := os.Stat(socket)
		return err
	})
	return []string{"-chardev", "socket,id=tpm,path=" + socket, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"}
}

// returnCode is the code that a box shows that asks for its place back.
var returnCode = regexp.MustCompile(`[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}`)

// locked is the disk's partition as the machine sees it.
func (v *vm) locked(t *testing.T) string {
	t.Helper()
	return v.inner(t, 3*time.Minute, "blkid -p -o export /dev/disk/by-partlabel/preau-var | grep -E '^(TYPE|UUID|PART_ENTRY_UUID|PART_ENTRY_SIZE)='; head -c 16M /dev/disk/by-partlabel/preau-var | sha256sum")
}

// TestADiskIsLockedToItsBoardAndTheBoxGoesOnWithout: the disk is encrypted to the
// machine's TPM; under another the box starts all the same, deletes nothing, says
// so in words, and tells its region, which takes it back from afar: it serves from
// memory. Under the first one all is there again.
func TestADiskIsLockedToItsBoardAndTheBoxGoesOnWithout(t *testing.T) {
	need(t, "qemu-system-x86_64=qemu-system-x86", "mcopy=mtools", "swtpm=swtpm", "sfdisk=fdisk")
	_, raw := applianceImage(t)
	dir := t.TempDir()
	r := startRegion(t, dir)
	v := &vm{dir: dir, disk: r.prepared(t, dir, raw)}
	_, sum := r.film(t, dir)
	plan := r.sites(t, dir, paper, newspaper(t))
	began := time.Now()
	v.start(t, append(ear(), tpm(t, dir, "first")...)...)
	v.serves(t, slowly, sum)
	t.Logf("first start, with a disk that is encrypted: %v", time.Since(began).Round(time.Second))
	v.onDisk(t)
	v.gives(t)
	v.keeps(t, plan)
	disk := v.locked(t)
	if !strings.Contains(disk, "TYPE=crypto_LUKS") {
		t.Fatalf("the disk is not encrypted:\n%s\n%s", disk, v.inner(t, 3*time.Minute, "journalctl -b --no-pager -u preau-disk"))
	}
	v.inner(t, 3*time.Minute, "sync")
	v.cut()

	// Another main board.
	began = time.Now()
	v.start(t, append(ear(), tpm(t, dir, "other")...)...)
	var code string
	within(t, slowly, func() error {
		status, body, err := v.get(t.Context(), "/", "fr")
		code = returnCode.FindString(body)
		if err == nil && (status != http.StatusServiceUnavailable || code == "" || !strings.Contains(body, "Cette boîte demande à reprendre sa place") || !strings.Contains(body, "verrouillé par une autre carte mère : elle tourne sans lui, et n’a rien effacé")) {
			return fmt.Errorf("%d %s", status, body)
		}
		return err
	})
	t.Logf("with another TPM, to a page that says so and a region that has been told: %v", time.Since(began).Round(time.Second))
	// Its sites pass meanwhile, as the plan on the boot partition says.
	v.gives(t)
	t.Logf("with another TPM, to a web site that passes: %v", time.Since(began).Round(time.Second))
	if _, body, err := v.get(t.Context(), "/", "fr"); err != nil || !strings.Contains(body, "En attendant, les sites web de l’école passent") {
		t.Errorf("its page says %s, %v", body, err)
	}
	status := v.inner(t, 3*time.Minute, `bash -c 'exec 3<>/dev/tcp/127.0.0.1/9190; printf "GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; cat <&3'`)
	if !strings.Contains(status, `"degraded":"tpm"`) || !strings.Contains(status, `"code":"`+code+`"`) {
		t.Errorf("the box's status says %s", status)
	}
	if units := v.inner(t, 3*time.Minute, "systemctl list-units --all --no-legend emergency.target rescue.target 'getty@*' 'serial-getty@*' debug-shell.service | grep -w active || true; findmnt -n -o FSTYPE /var"); strings.TrimSpace(units) != "tmpfs" {
		t.Errorf("it is in another way of running than from memory: %s", units)
	}
	if list := r.must(t, "boxes"); !strings.Contains(list, code) {
		t.Errorf("the region's operators see:\n%s", list)
	}
	agreed := time.Now()
	r.must(t, "readmit", "library-1", "--code", code)
	v.serves(t, slowly, sum)
	v.gives(t)
	if now := v.inner(t, 3*time.Minute, "systemctl is-active preau-pass.service preau-pass.path || true; ls /var/lib/preau-pass"); strings.TrimSpace(now) != "inactive\ninactive" {
		t.Errorf("what passed its sites is still there: %s", now)
	}
	t.Logf("from the operator's word to serving from memory: %v", time.Since(agreed).Round(time.Second))
	within(t, slowly, func() error {
		out, _ := v.sh(3*time.Minute, "preau status --box http://127.0.0.1:9190") // it says that not all is well
		if !strings.Contains(out, "locked by another main board's TPM") || !strings.Contains(out, "is followed") {
			return errors.New(out)
		}
		return nil
	})
	if now := v.locked(t); now != disk {
		t.Errorf("the locked disk was written to:\n%s\n%s", disk, now)
	}
	v.cut()

	// The first board again, and a region that says nothing.
	if err := r.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	v.start(t, append(ear(), tpm(t, dir, "first")...)...)
	v.serves(t, slowly, sum)
	t.Logf("with the first TPM again, to what it has kept: %v", time.Since(began).Round(time.Second))
	soon(t, v.ownUnits(t))
	if err := r.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

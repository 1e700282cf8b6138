//go:build appliance && linux

package images_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vm is a machine with the image on its disk.
type vm struct {
	emulated

	dir, disk       string
	monitor, inside string
}

// start switches a machine on. There is one processor's worth of emulation, so
// that it works on any machine.
func (v *vm) start(t *testing.T, more ...string) {
	t.Helper()
	v.monitor = filepath.Join(v.dir, "monitor")
	_ = os.Remove(v.monitor) // of an earlier start
	vars := filepath.Join(v.dir, "vars.fd")
	if _, err := os.Stat(vars); err != nil {
		do(t, "", nil, "cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", vars)
	}
	port, look := freePort(t), freePort(t)
	v.inside = fmt.Sprintf("127.0.0.1:%d", look)
	args := []string{"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "1536",
		"-nodefaults", "-display", "none",
		"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file=" + vars,
		"-drive", "if=none,id=d,format=raw,file=" + v.disk + ",discard=unmap", "-device", "virtio-blk-pci,drive=d,bootindex=1",
		"-device", "virtio-rng-pci", "-device", "qemu-xhci,id=usb", "-device", "i6300esb", "-action", "watchdog=reset",
		"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:127.0.0.1:%d-:80,hostfwd=tcp:127.0.0.1:%d-:9199", port, look), "-device", "virtio-net-pci,netdev=n,mac=52:54:00:0b:ad:c0",
		"-serial", "file:" + filepath.Join(v.dir, "serial.txt"), "-monitor", "unix:" + v.monitor + ",server,nowait"}
	v.on(t, port, append(args, more...)...)
	t.Cleanup(func() {
		v.cut()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(v.dir, "serial.txt")) // as much as there is
			t.Logf("the machine's console:\n%s", text[max(0, len(text)-16000):])
		}
	})
}

// says gives the machine's monitor a command.
func (v *vm) says(t *testing.T, command string) {
	t.Helper()
	within(t, 30*time.Second, func() error {
		c, err := net.Dial("unix", v.monitor)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if err := prompt(c); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c, command); err != nil {
			return err
		}
		return prompt(c)
	})
}

// prompt reads until the monitor waits for a command.
func prompt(r io.Reader) error {
	var text []byte
	for b := make([]byte, 256); !strings.HasSuffix(string(text), "(qemu) "); {
		n, err := r.Read(b)
		if err != nil {
			return err
		}
		text = append(text, b[:n]...)
	}
	if i := strings.Index(string(text), "Error"); i >= 0 {
		return fmt.Errorf("the monitor says %s", text[i:])
	}
	return nil
}

// begin downloads something, says when a part of it has come, and goes on until
// it is cut off.
func (v *vm) begin(ctx context.Context, path string, begun chan<- struct{}) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.page+path, nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(r) //nolint:forbidigo // a test's, to loopback
	if err != nil {
		return // begun is never closed, which is told
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 4<<20)); err == nil {
		close(begun)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // it is cut off
}

// applianceRegion is one server of a region on this machine.
type applianceRegion struct {
	program, operator, address string
	process                    *os.Process
}

func startRegion(t *testing.T, dir string) applianceRegion {
	t.Helper()
	program := filepath.Join(dir, "preau")
	do(t, "..", []string{"CGO_ENABLED=0"}, "go", "build", "-o", program, "./cmd/preau")
	port := freePort(t)
	r := applianceRegion{program: program, operator: filepath.Join(dir, "region", "operator"), address: fmt.Sprintf("127.0.0.1:%d", port)}
	// 10.0.2.2 is this machine, as one under emulation sees it.
	do(t, dir, nil, program, "region", "init", "--data", "region", "--listen", r.address, "--advertise", fmt.Sprintf("10.0.2.2:%d", port), "--name", "Test", "--server", "s1")
	log, err := os.Create(filepath.Join(dir, "region.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "region", "run", "--data", "region", "--admin", "127.0.0.1:0") // its end is told below
	c.Dir, c.Stderr, c.SysProcAttr = dir, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGCONT) // a test may have stopped it
		_ = c.Process.Signal(syscall.SIGTERM) // or it has just ended
		_ = c.Wait()                          // it was told to
		_ = log.Close()
	})
	r.process = c.Process
	within(t, time.Minute, func() error {
		_, err := r.ask(t.Context(), "status")
		return err
	})
	return r
}

// ask gives an operator's command.
func (r applianceRegion) ask(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, r.program, append(args, "--as", r.operator, "--region", r.address)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("preau %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (r applianceRegion) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := r.ask(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (r applianceRegion) token(t *testing.T) string {
	t.Helper()
	var made struct{ Token string }
	if err := json.Unmarshal([]byte(r.must(t, "region", "token", "--school", "0690001A", "--no-qr", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	return made.Token
}

// stickWith is a USB stick with a provisioning file.
func stickWith(t *testing.T, dir, text string) string {
	t.Helper()
	stick, file := filepath.Join(dir, "stick.img"), filepath.Join(dir, "stick.toml")
	if err := errors.Join(os.WriteFile(stick, nil, 0o644), os.Truncate(stick, 64<<20), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	do(t, "", nil, "mformat", "-i", stick, "-F", "::")
	do(t, "", nil, "mcopy", "-i", stick, file, "::preau.toml")
	return stick
}

// twin is a second disk whose partitions are called as the box's own are, and the
// emulator's arguments for it.
func twin(t *testing.T, dir string) (disk string, plugged []string) {
	t.Helper()
	disk = filepath.Join(dir, "twin.raw")
	const table = "label: gpt\nstart=2048, size=131072, type=U, name=preau-esp\nstart=133120, size=131072, type=L, name=preau-var\n"
	if err := errors.Join(os.WriteFile(disk, nil, 0o644), os.Truncate(disk, 160<<20), os.WriteFile(disk+".table", []byte(table), 0o644)); err != nil {
		t.Fatal(err)
	}
	do(t, "", nil, "sh", "-euc", `sfdisk --quiet "$0" <"$0.table"; mformat -i "$0@@1M" -T 131072 -h 64 -s 32 ::; mkfs.ext4 -q -E offset=$((133120 * 512)) "$0" 64M`, disk)
	return disk, []string{"-drive", "if=none,id=twin,format=raw,file=" + disk, "-device", "virtio-blk-pci,drive=twin"}
}

// plug plugs a stick in.
func (v *vm) plug(t *testing.T, stick string) {
	t.Helper()
	v.says(t, "drive_add 0 if=none,id=stick,format=raw,file="+stick)
	v.says(t, "device_add usb-storage,id=stick,bus=usb.0,drive=stick")
}

// sites publishes a plan that gives all boxes one site, signed with the key that
// signs the image's updates. It returns the plan as it was signed.
func (r applianceRegion) sites(t *testing.T, dir, host, upstream string) (signed string) {
	t.Helper()
	file, plan := filepath.Join(dir, "sites.toml"), filepath.Join(dir, "plan")
	text := fmt.Sprintf("[[site]]\nname = \"paper\"\nupstream = %q\nhosts = [%q]\n", upstream, host)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, []byte(do(t, "", nil, r.program, "update", "plan", "--settings", file)), 0o644); err != nil {
		t.Fatal(err)
	}
	ring, key := signer(t, "update")
	signed = plan + ".asc"
	do(t, "", []string{"GNUPGHOME=" + ring}, "gpg", "--batch", "--local-user", key, "--clearsign", "--output", signed, plan)
	r.must(t, "publish", signed, "--collection", "updates", "--id", "preau-updates")
	return signed
}

// keeps waits until a signed plan lies on the boot partition. That is the last: by
// then the box was well with its sites for a while.
func (v *vm) keeps(t *testing.T, plan string) {
	t.Helper()
	signed, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	within(t, slowly, func() error {
		kept, err := exec.CommandContext(t.Context(), "mtype", "-i", onBoot(t, v.disk), "::preau-box.plan").Output()
		if err == nil && string(kept) != string(signed) {
			err = fmt.Errorf("on the boot partition lies %q", kept)
		}
		return err
	})
}

// paper is a site's name, and front its page.
const paper, front = "paper.example.org", "the front page"

// newspaper serves it, and returns its address as an emulated machine sees it.
func newspaper(t *testing.T) string {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = io.WriteString(w, front) // who asks is told by what is missing
	}))
	t.Cleanup(origin.Close)
	_, port, err := net.SplitHostPort(origin.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://10.0.2.2:" + port
}

// gives waits until the box gives a page of the site.
func (v *vm) gives(t *testing.T) {
	t.Helper()
	within(t, slowly, func() error {
		text, err := v.site(t.Context(), paper)
		if err == nil && text != front {
			err = fmt.Errorf("the site is %.200q", text)
		}
		return err
	})
}

// site asks the box for a page of a site, under the site's own name.
func (v *vm) site(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.page+"/", nil)
	if err != nil {
		return "", err
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r) //nolint:forbidigo // a test's, to loopback
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %.200s", resp.StatusCode, text)
	}
	return string(text), err
}

// TestTheApplianceFromBareMetalToServing boots the image on a machine with an
// empty disk around it: it waits in words, takes its region from a stick that is
// plugged in, serves what the region has published and the site that the region's
// signed plan names, and does so again after the power was cut in the middle of a
// download. A second disk with partitions of the same names is left as it is.
func TestTheApplianceFromBareMetalToServing(t *testing.T) {
	need(t, "qemu-system-x86_64=qemu-system-x86", "mcopy=mtools", "sfdisk=fdisk", "mkfs.ext4=e2fsprogs")
	_, raw := applianceImage(t)
	dir := t.TempDir()
	r := startRegion(t, dir)
	v := &vm{dir: dir, disk: diskOf(t, dir, raw)}
	other, second := twin(t, dir)
	untouched := digest(t, other)
	began := time.Now()
	v.start(t, second...)
	within(t, 5*time.Minute, func() error {
		code, body, err := v.get(t.Context(), "/", "fr")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(body, "Cette boîte attend sa clé USB") || !strings.Contains(body, "box-0badc0")) {
			return fmt.Errorf("%d %s", code, body)
		}
		return err
	})
	t.Logf("first boot to its page: %v", time.Since(began).Round(time.Second))

	token := r.token(t)
	stick := stickWith(t, dir, "token = \""+token+"\"\nname = \"library-1\"\n")
	film := filepath.Join(dir, "film.bin")
	do(t, "", nil, "dd", "if=/dev/urandom", "of="+film, "bs=1M", "count=40", "status=none")
	r.must(t, "publish", film, "--collection", "lessons", "--id", "film", "--no-subscribe")
	plan := r.sites(t, dir, paper, newspaper(t))
	plugged := time.Now()
	v.plug(t, stick)
	within(t, 4*time.Minute, func() error {
		code, body, err := v.get(t.Context(), "/r/", "fr")
		if err == nil && (code != http.StatusOK || !strings.Contains(body, "film")) {
			return fmt.Errorf("%d %.200s", code, body)
		}
		return err
	})
	t.Logf("from the stick to serving: %v", time.Since(plugged).Round(time.Second))
	if text := do(t, "", nil, "mtype", "-i", stick, "::preau.toml"); strings.Contains(text, token) || !strings.Contains(text, "this token was used for the box library-1") {
		t.Errorf("the stick has:\n%s", text)
	}
	within(t, time.Minute, func() error {
		list, err := r.ask(t.Context(), "boxes")
		if err == nil && !strings.Contains(list, "library-1") {
			return errors.New(list)
		}
		return err
	})

	// Its web sites come by themselves, and the plan that names them lies on the boot
	// partition, for the day on which the disk does not open.
	v.gives(t)
	t.Logf("from the stick to a web site: %v", time.Since(plugged).Round(time.Second))
	v.keeps(t, plan)

	// The power fails while the film is on its way to the disk.
	ctx, stop := context.WithCancel(t.Context())
	begun, got := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(got)
		v.begin(ctx, "/r/film", begun)
	}()
	within(t, time.Minute, func() error {
		select {
		case <-begun:
			return nil
		default:
			return errors.New("not a byte of the film has come")
		}
	})
	v.cut()
	stop()
	<-got

	again := time.Now()
	v.start(t, second...)
	want := digest(t, film)
	within(t, 5*time.Minute, func() error {
		code, body, err := v.get(t.Context(), "/r/film", "fr")
		if err == nil && (code != http.StatusOK || textSum(body) != want) {
			return fmt.Errorf("%d, %d bytes", code, len(body))
		}
		return err
	})
	t.Logf("after the power cut to a whole film: %v", time.Since(again).Round(time.Second))
	if text, err := v.site(t.Context(), paper); err != nil || text != front {
		t.Errorf("after the power cut the site is %q, %v", text, err)
	}
	v.cut()
	if digest(t, other) != untouched {
		t.Error("the box has written to a disk that is not its own")
	}
}

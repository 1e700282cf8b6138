//go:build system && linux

package mdns_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// avahi is an avahi-daemon in a machine, with a bus of its own.
type avahi struct {
	m   *machine
	bus string
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path=BUS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`

const avahiConfig = `[server]
host-name=HOST
allow-interfaces=eth0
use-ipv4=yes
use-ipv6=yes
[publish]
publish-hinfo=no
publish-workstation=no
`

// avahi starts the daemon with a host name.
func (m *machine) avahi(host string) *avahi {
	t := m.lan.t
	t.Helper()
	for _, tool := range []string{"avahi-daemon", "avahi-browse", "avahi-resolve", "dbus-daemon", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: install avahi-daemon, avahi-utils and dbus", tool)
		}
	}
	dir := t.TempDir()
	a := &avahi{m: m, bus: filepath.Join(dir, "bus")}
	for name, text := range map[string]string{
		"bus.conf":   strings.Replace(busConfig, "BUS", a.bus, 1),
		"avahi.conf": strings.Replace(avahiConfig, "HOST", host, 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.daemon(nil, "dbus-daemon", "--nofork", "--nopidfile", "--config-file="+filepath.Join(dir, "bus.conf"))
	for begin := time.Now(); ; {
		if _, err := os.Stat(a.bus); err == nil {
			break
		}
		if time.Since(begin) > patience {
			t.Fatal("there is no bus")
		}
		<-time.After(20 * time.Millisecond)
	}
	// A /run of its own: there may be another avahi-daemon on this machine.
	var log bytes.Buffer
	t.Cleanup(func() { // after the daemon's end
		if t.Failed() {
			t.Logf("avahi: %s", log.String())
		}
	})
	a.daemon(&log, "sh", "-c", `mount -t tmpfs none /run && mkdir -p /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$0"`,
		filepath.Join(dir, "avahi.conf"))
	return a
}

func (a *avahi) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", a.m.name}, args...)...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+a.bus)
	return cmd
}

func (a *avahi) daemon(log *bytes.Buffer, args ...string) {
	t := a.m.lan.t
	t.Helper()
	cmd := a.command(context.Background(), args...)
	if log != nil {
		cmd.Stderr = log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// until runs a client of avahi until it prints what is wanted.
func (a *avahi) until(want []string, args ...string) {
	t := a.m.lan.t
	t.Helper()
	var out []byte
	for begin := time.Now(); time.Since(begin) < patience; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, _ = a.command(ctx, args...).CombinedOutput()
		cancel()
		missing := false
		for _, w := range want {
			missing = missing || !strings.Contains(string(out), w)
		}
		if !missing {
			return
		}
		<-time.After(200 * time.Millisecond)
	}
	t.Errorf("%s prints %s; want %q", strings.Join(args, " "), out, want)
}

func TestABoxLivesBesideAvahi(t *testing.T) {
	l := newLAN(t)
	m1, m2 := l.machine(), l.machine()
	daemon := m1.avahi("ecole")
	daemon.until([]string{"10.77.0.1"}, "avahi-resolve", "-4", "-n", "ecole.local")
	one := config(1)
	one.Own = "box-one"
	two := config(2)
	two.Own = "ecole" // which avahi has
	a, b := m1.start(one), m2.start(two)
	a.knows(time.Time{}, "box-2")
	b.knows(time.Time{}, "box-1")
	a.until("it has its name", time.Time{}, func(r report) bool { return r.Own == "box-one" })
	b.until("it yields", time.Time{}, func(r report) bool { return r.Own == "ecole-2" })
	// What avahi's own clients see, of the box beside it and of the one elsewhere.
	daemon.until([]string{
		";box-1;_preau._tcp;local;", ";box-2;_preau._tcp;local;", ";10.77.0.1;4433;", ";10.77.0.2;4433;", `"id=box-1"`, `"v=1\\2"`,
	}, "avahi-browse", "-rptk", "_preau._tcp")
	daemon.until([]string{`n\.1;_http._tcp;local;preau-`, `n\.2;_http._tcp;local;preau-`, `"path=/"`}, "avahi-browse", "-rptk", "_http._tcp")
	for name, addr := range map[string]string{"ecole": "10.77.0.1", "ecole-2": "10.77.0.2", "box-one": "10.77.0.1", "preau": "10.77.0."} {
		daemon.until([]string{addr}, "avahi-resolve", "-4", "-n", name+".local")
	}
	begin := time.Now()
	b.stop()
	a.knows(begin)
	daemon.until([]string{";box-1;"}, "avahi-browse", "-rptk", "_preau._tcp")
	a.stop()
}

package images_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stage is a folder that one of the appliance's scripts takes for its machine.
// The commands that it gives are written down, and do what a test says.
type stage struct {
	t   *testing.T
	dir string
}

// on puts a script on a stage whose commands are shell fragments.
func on(t *testing.T, commands map[string]string) stage {
	t.Helper()
	s := stage{t, t.TempDir()}
	for _, dir := range []string{"bin", "efi/EFI/Linux", "sys/firmware/efi/efivars", "run/preau", "dev/disk/by-preau"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, does := range commands {
		text := "#!/bin/sh\necho \"" + name + " $*\" >>" + s.dir + "/said\n" + does + "\n"
		if err := os.WriteFile(filepath.Join(s.dir, "bin", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s stage) has(name string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// reads is a file's text; none if there is no such file.
func (s stage) reads(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

// folder is where a path begins that a script knows its machine by.
var folder = regexp.MustCompile(`([\s"=>])(/(?:efi/EFI|sys|run|dev)/)`)

// plays runs a script of the appliance, and gives its exit code.
func (s stage) plays(script string, args ...string) int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(own, "usr/lib/preau", script))
	if err != nil {
		s.t.Fatal(err)
	}
	// Not what goes nowhere.
	text = bytes.ReplaceAll(folder.ReplaceAll(text, []byte("${1}"+s.dir+"$2")), []byte(s.dir+"/dev/null"), []byte("/dev/null"))
	c := exec.CommandContext(s.t.Context(), "sh", append([]string{"-c", string(text), script}, args...)...)
	c.Env = []string{"PATH=" + filepath.Join(s.dir, "bin") + ":/usr/bin:/bin"}
	out, err := c.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%v: %s", err, out)
	}
	return c.ProcessState.ExitCode()
}

const onTrial = "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

func TestAStartIsJudgedAndWhatWasGivenUpIsTold(t *testing.T) {
	const well, ill = "exit 0", "exit 1"
	tests := map[string]struct {
		preau, kernel string
		trial         bool
		code          int
		givenUp       string
		restarts      bool
	}{
		"all is well":                {preau: well, kernel: "preau_1.1.0.efi"},
		"on trial, and well":         {preau: well, kernel: "preau_1.2.0+2-1.efi", trial: true},
		"on trial, and not well":     {preau: ill, kernel: "preau_1.2.0+2-1.efi", trial: true, code: 1, restarts: true},
		"the last try, and not well": {preau: ill, kernel: "preau_1.2.0+0-3.efi", trial: true, code: 1, restarts: true},
		"a newer one was given up":   {preau: well, kernel: "preau_1.2.0+0-3.efi", givenUp: "1.2.0\n"},
		"not well, and no other":     {preau: ill, kernel: "preau_1.1.0.efi", code: 1}, // to start it again and again helps nobody
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := on(t, map[string]string{"preau": tt.preau, "systemctl": "", "sleep": ""})
			s.has("efi/EFI/Linux/preau_1.0.0.efi")
			s.has("efi/EFI/Linux/" + tt.kernel)
			if tt.trial {
				s.has(onTrial)
			}
			if code := s.plays("healthy"); code != tt.code {
				t.Errorf("it ends with %d, want %d", code, tt.code)
			}
			if told := s.reads("run/preau/given-up"); told != tt.givenUp {
				t.Errorf("given up: %q, want %q", told, tt.givenUp)
			}
			if restarts := strings.Contains(s.reads("said"), "systemctl --no-block reboot"); restarts != tt.restarts {
				t.Errorf("it starts the machine again: %v, want %v", restarts, tt.restarts)
			}
		})
	}
}

// TestADiskThatDoesNotOpenIsLeftAlone: whatever is wrong with the disk, the start
// goes on, and nothing that is on it is made anew.
func TestADiskThatDoesNotOpenIsLeftAlone(t *testing.T) {
	sound := map[string]string{
		"udevadm": "", "systemd-creds": "exit 0", "systemd-repart": "", "systemd-cryptsetup": "", "fsck.ext4": "", "mount": "", "blkid": "echo crypto_LUKS",
	}
	tests := map[string]struct {
		change  map[string]string
		absent  bool // there is no partition yet
		without string
		repart  string // how often, at most once for each way
	}{
		"it opens":                {},
		"another TPM":             {change: map[string]string{"systemd-cryptsetup": "exit 1"}, without: "tpm\n"},
		"it holds something else": {change: map[string]string{"blkid": "echo ntfs"}, without: "disk\n"},
		"nothing mends it":        {change: map[string]string{"fsck.ext4": "exit 4"}, without: "disk\n"},
		"it was mended":           {change: map[string]string{"fsck.ext4": "exit 1"}},
		"it can't be mounted":     {change: map[string]string{"mount": `case "$*" in *ext4*) exit 32;; esac`}, without: "disk\n"},
		"a first start":           {absent: true, repart: "disk-tpm"},
		"a first start, no TPM":   {absent: true, change: map[string]string{"systemd-creds": "exit 1", "blkid": "echo ext4"}, repart: "disk-plain"},
		"no room for a partition": {absent: true, change: map[string]string{"systemd-repart": "exit 1"}, without: "disk\n", repart: "disk-plain"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			commands := maps.Clone(sound)
			maps.Copy(commands, tt.change)
			s := on(t, commands)
			if !tt.absent {
				s.has("dev/disk/by-preau/preau-var")
			}
			if code := s.plays("disk"); code != 0 {
				t.Errorf("the start ends with %d", code)
			}
			said := s.reads("said")
			if without := s.reads("run/preau/without-disk"); without != tt.without {
				t.Errorf("it says %q of the disk, want %q\n%s", without, tt.without, said)
			}
			if memory := strings.Contains(said, "mount -t tmpfs"); memory != (tt.without != "") {
				t.Errorf("it runs from memory: %v\n%s", memory, said)
			}
			if made := strings.Contains(said, "systemd-repart"); made != (tt.repart != "") || !strings.Contains(said, tt.repart) {
				t.Errorf("partitions are made: %v, want %q\n%s", made, tt.repart, said)
			}
		})
	}
}

// TestAPartitionOfAnotherDiskIsNotTheBoxs: the name of a partition says nothing of
// whose it is.
func TestAPartitionOfAnotherDiskIsNotTheBoxs(t *testing.T) {
	links := map[string]string{
		"sys/class/block/vda3":                 "devices/pci/vda/vda3",
		"sys/class/block/sda1":                 "devices/usb/sda/sda1",
		"sys/class/block/sdb":                  "devices/usb/sdb",
		"sys/dev/block/254:2":                  "devices/pci/vda/vda2",
		"sys/dev/block/252:0":                  "devices/virtual/dm-0",
		"sys/devices/virtual/dm-0/slaves/vda1": "devices/pci/vda/vda1",
		"sys/devices/virtual/dm-0/slaves/vda2": "devices/pci/vda/vda2",
	}
	tests := map[string]struct {
		system, partition string
		code              int
	}{
		"the system is checked":            {"252:0", "vda3", 0},
		"it is not":                        {"254:2", "vda3", 0},
		"a stick's, the system is checked": {"252:0", "sda1", 1},
		"a stick's, it is not":             {"254:2", "sda1", 1},
		"a stick that is one file system":  {"252:0", "sdb", 1},
		"one that is gone":                 {"252:0", "sdc1", 1},
		"the system is on no disk":         {"0:31", "vda3", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := on(t, map[string]string{"stat": "echo " + tt.system})
			for _, dir := range []string{"sys/class/block", "sys/dev/block", "sys/devices/virtual/dm-0/slaves", "sys/devices/pci/vda/vda1", "sys/devices/pci/vda/vda2", "sys/devices/pci/vda/vda3", "sys/devices/usb/sda/sda1", "sys/devices/usb/sdb"} {
				if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, dir := range []string{"pci/vda/vda1", "pci/vda/vda2", "pci/vda/vda3", "usb/sda/sda1"} {
				s.has("sys/devices/" + dir + "/partition")
			}
			for link, to := range links {
				if err := os.Symlink(filepath.Join(s.dir, "sys", to), filepath.Join(s.dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			if code := s.plays("own", tt.partition); code != tt.code {
				t.Errorf("it ends with %d, want %d", code, tt.code)
			}
		})
	}
}

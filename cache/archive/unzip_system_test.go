//go:build system

package archive_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program returns a command, or fails the test and says what to install.
func program(t *testing.T, debian, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", name, debian)
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return c
}

// unpackable lays an archive down and says where, with a folder to unpack it into.
func unpackable(t *testing.T) (f *folder, file, into string) {
	t.Helper()
	f = lesson()
	l := mustNew(t, f.entries)
	dir := t.TempDir()
	file, into = filepath.Join(dir, "lesson.zip"), filepath.Join(dir, "into")
	if err := os.WriteFile(file, whole(t, l, f), 0o600); err != nil {
		t.Fatal(err)
	}
	return f, file, into
}

func run(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	return string(out)
}

// holds checks what was unpacked.
func holds(t *testing.T, f *folder, into string, times bool) {
	t.Helper()
	for i, e := range f.entries {
		path := filepath.Join(into, filepath.FromSlash(e.Name))
		info, err := os.Stat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if times && !info.ModTime().Equal(when) {
			t.Errorf("%s is of %v, want %v", e.Name, info.ModTime().UTC(), when)
		}
		if strings.HasSuffix(e.Name, "/") {
			if !info.IsDir() {
				t.Errorf("%s is no folder", e.Name)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != f.bodies[i] {
			t.Errorf("%s has %d bytes that are not the file's, %v", e.Name, len(got), err)
		}
	}
}

func TestInfoZIPUnpacksIt(t *testing.T) {
	f, file, into := unpackable(t)
	if out := run(t, program(t, "unzip", "unzip", "-t", file)); !strings.Contains(out, "No errors detected") || strings.Contains(out, "warning") {
		t.Error(out)
	}
	run(t, program(t, "unzip", "unzip", file, "-d", into))
	holds(t, f, into, true)
}

func TestSevenZipUnpacksIt(t *testing.T) {
	f, file, into := unpackable(t)
	if out := run(t, program(t, "p7zip-full", "7z", "t", file)); !strings.Contains(out, "Everything is Ok") || strings.Contains(strings.ToLower(out), "warning") {
		t.Error(out)
	}
	run(t, program(t, "p7zip-full", "7z", "x", "-o"+into, file))
	holds(t, f, into, true)
}

func TestPythonUnpacksIt(t *testing.T) {
	f, file, into := unpackable(t)
	run(t, program(t, "python3", "python3", "-m", "zipfile", "-t", file))
	run(t, program(t, "python3", "python3", "-m", "zipfile", "-e", file, into))
	holds(t, f, into, false) // it keeps no times
}

// The large file's data is a hole in what is laid down: nobody reads it.
func TestFilesBehindFourGiBUnpack(t *testing.T) {
	e := entries("0 first", "1 huge", "2 small", "3 folder/", "3 folder/last")
	for i, size := range []int64{10, 5 << 30, 100_000, 0, 7} {
		e[i].Size = size
	}
	l := mustNew(t, e)
	file := filepath.Join(t.TempDir(), "large.zip")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	const near = 1 << 20 // of either end
	for _, r := range [][2]int64{{0, near}, {l.Len() - near, l.Len()}} {
		if _, err := out.WriteAt(piece(t, l, r[0], r[1], sparse{}), r[0]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*exec.Cmd{
		program(t, "unzip", "unzip", "-t", file, "0 first", "2 small", "3 folder/last"),
		program(t, "p7zip-full", "7z", "t", file, "0 first", "2 small", "3 folder/last"),
		program(t, "python3", "python3", "-c", `
import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert [i.file_size for i in z.infolist()] == [10, 5 << 30, 100000, 0, 7]
for name in "0 first", "2 small", "3 folder/last":
    z.read(name)
`, file),
	} {
		run(t, c)
	}
}

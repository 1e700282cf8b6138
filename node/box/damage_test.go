package box

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// damagePaths are what the boxes of these tests hold: pages, pictures, and a
// film of several blocks.
func damagePaths() []string {
	var paths []string
	for i, size := range []int64{300, 4 << 10, 20 << 10, 60 << 10, 64 << 10, 100 << 10, 300 << 10, 1 << 20, 1<<20 + 1, 3<<20 + 777} {
		paths = append(paths, path(size, i), path(size+11, fmt.Sprint("again", i)))
	}
	return paths
}

// filled makes a data folder that holds damagePaths, of a box that was stopped
// or killed.
func filled(t *testing.T, o *origin, killed bool) string {
	t.Helper()
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), o.url())
	c := newClients(t, o, time.Minute)
	// In two runs, so that there are several segments and tables.
	paths := damagePaths()
	box := begin(t, cfg)
	c.mustAll(t, box, paths[:len(paths)/2], "while filling")
	box.stop(t)
	box = begin(t, cfg)
	c.mustAll(t, box, paths, "while filling")
	if killed {
		box.lives(t, 1500*time.Millisecond) // until all is recorded
		box.kill(t)
	} else {
		box.stop(t)
	}
	return cfg.Data
}

// kindOf is what a file is, whatever its number.
func kindOf(dir, file string) string {
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return file
	}
	return regexp.MustCompile(`\d+`).ReplaceAllString(rel, "N")
}

// kinds sorts the files under dir by what they are.
func kinds(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		out[kindOf(dir, file)] = append(out[kindOf(dir, file)], file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copyTree copies a folder, holes and all.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// blow is one way in which a disk can hurt a file. It tells what it did.
type blow struct {
	name string
	hit  func(f *os.File, size int64, rng *rand.Rand) (string, error)
}

func blows() []blow {
	flip := func(f *os.File, at int64, bit int) (string, error) {
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			return "", err
		}
		b[0] ^= 1 << bit
		_, err := f.WriteAt(b[:], at)
		return fmt.Sprintf("bit %d of byte %d", bit, at), err
	}
	return []blow{
		{"flip at the start", func(f *os.File, size int64, rng *rand.Rand) (string, error) {
			return flip(f, rng.Int64N(min(size, 48)), rng.IntN(8))
		}},
		{"flip", func(f *os.File, size int64, rng *rand.Rand) (string, error) {
			return flip(f, rng.Int64N(size), rng.IntN(8))
		}},
		{"flip at the end", func(f *os.File, size int64, rng *rand.Rand) (string, error) {
			return flip(f, size-1-rng.Int64N(min(size, 48)), rng.IntN(8))
		}},
		{"zeroes", func(f *os.File, size int64, rng *rand.Rand) (string, error) {
			at := rng.Int64N((size+4095)/4096) * 4096
			_, err := f.WriteAt(make([]byte, min(4096, size-at)), at)
			return fmt.Sprintf("4 KiB of zeroes at %d", at), err
		}},
		{"cut", func(f *os.File, size int64, rng *rand.Rand) (string, error) {
			n := rng.Int64N(size)
			return fmt.Sprintf("cut to %d", n), f.Truncate(n)
		}},
		{"gone", func(f *os.File, _ int64, _ *rand.Rand) (string, error) {
			return "deleted", os.Remove(f.Name())
		}},
	}
}

// strike hits a file and returns words for what was done, none if the file is
// empty.
func strike(t *testing.T, file string, b blow, rng *rand.Rand) string {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() == 0 && b.name != "gone" {
		return ""
	}
	what, err := b.hit(f, fi.Size(), rng)
	if err != nil {
		t.Fatalf("%s of %s: %v", b.name, file, err)
	}
	return fmt.Sprintf("%s: %s of %d", filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), what, fi.Size())
}

// TestDamagedFiles hurts every kind of file under a data folder in every way
// and starts a box on it without its site: what it serves must be right. With
// the site back it must heal, and a further start must find all in order.
//
// There is a folder of a box that was stopped and one of a box that was
// killed, which has other kinds of files.
func TestDamagedFiles(t *testing.T) {
	for _, killed := range []bool{false, true} {
		name := map[bool]string{false: "stopped", true: "killed"}[killed]
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !killed {
				t.Skip("what a kill leaves is harder; the long form has both")
			}
			t.Parallel()
			o := newOrigin(t, 0)
			dir := filled(t, o, killed)
			all := kinds(t, dir)
			var names []string
			for kind := range all {
				names = append(names, kind)
			}
			slices.Sort(names)
			t.Logf("kinds of files: %s", strings.Join(names, " "))
			rng := newRand(t)
			ways := blows()
			if testing.Short() { // the seed says which
				rng.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
				ways = ways[:1]
			}
			for _, b := range ways {
				t.Run(b.name, func(t *testing.T) {
					everyKind(t, o, dir, names, b, rng)
				})
			}
		})
	}
}

// everyKind is a case for each kind of file if there is time for that; else the
// kinds share two boxes.
func everyKind(t *testing.T, o *origin, dir string, names []string, b blow, rng *rand.Rand) {
	t.Helper()
	if thorough && b.name == "flip" { // the other ways would take half an hour
		for _, kind := range names {
			t.Run(kind, func(t *testing.T) { survives(t, o, dir, []string{kind}, b, rng) })
		}
		return
	}
	shuffled := slices.Clone(names)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	const boxes = 2
	for i := range boxes {
		if testing.Short() && i > 0 {
			return // the other half of the kinds where there is time
		}
		var some []string
		for k := i; k < len(shuffled); k += boxes {
			some = append(some, shuffled[k])
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { survives(t, o, dir, some, b, rng) })
	}
}

// survives hurts a file of each of some kinds in a copy of dir, and sees what
// boxes make of it.
func survives(t *testing.T, o *origin, dir string, some []string, b blow, rng *rand.Rand) {
	t.Helper()
	cfg := oneSite(copyTree(t, dir), o.url())
	all := kinds(t, cfg.Data)
	var done []string
	for _, kind := range some {
		if files := all[kind]; len(files) > 0 {
			if what := strike(t, files[rng.IntN(len(files))], b, rng); what != "" {
				done = append(done, what)
			}
		}
	}
	when := strings.Join(done, ", ")
	c := newClients(t, o, time.Second)
	paths := damagePaths()

	o.down()
	box := begin(t, cfg)
	good := c.neverWrong(t, box, paths, "without the site, after "+when)
	box.kill(t)
	o.up(t)
	t.Logf("%d of %d right without the site, after %s", good, len(paths), when)

	box = begin(t, cfg)
	c = newClients(t, o, time.Minute)
	c.mustAll(t, box, paths, "with the site back, after "+when)
	box.stop(t)

	o.down()
	box = begin(t, cfg)
	c.mustAll(t, box, paths, "healed, after "+when)
	box.stop(t)
	o.up(t)
}

// settled sorts the files of a box that have been there for a second by what
// they are. What was written a moment ago is still in memory when it is read
// back, and no disk can hurt it: some files live for that moment only.
func settled(t *testing.T, box *process, dir string) map[string][]string {
	t.Helper()
	before := kinds(t, dir)
	box.lives(t, time.Second)
	after := kinds(t, dir)
	for kind, files := range after {
		files = slices.DeleteFunc(files, func(f string) bool { return !slices.Contains(before[kind], f) })
		if after[kind] = files; len(files) == 0 {
			delete(after, kind)
		}
	}
	return after
}

// TestDamageWhileRunning writes into the files of a box that is serving.
func TestDamageWhileRunning(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	o := newOrigin(t, 0)
	cfg := oneSite(copyTree(t, filled(t, o, false)), o.url())
	c := newClients(t, o, time.Minute)
	paths := damagePaths()
	box := begin(t, cfg)
	c.mustAll(t, box, paths, "before the damage")
	var ways []blow
	for _, b := range blows() {
		switch b.name {
		case "cut", "gone": // a file that a program maps into memory can't be cut under it
		default:
			ways = append(ways, b)
		}
	}
	rounds := 12
	if testing.Short() {
		rounds = 1
	}
	var done []string
	for range rounds {
		for _, files := range settled(t, box, cfg.Data) {
			file := files[rng.IntN(len(files))]
			if what := strike(t, file, ways[rng.IntN(len(ways))], rng); what != "" {
				done = append(done, what)
			}
		}
		c.mustAll(t, box, paths, "while running, with the site, after "+done[len(done)-1])
		box.alive(t)
	}
	t.Logf("after %d blows", len(done))
	box.kill(t)
	box = begin(t, cfg)
	c.mustAll(t, box, paths, "after a restart")
	box.stop(t)
	o.down()
	box = begin(t, cfg)
	c.mustAll(t, box, paths, "healed")
	box.stop(t)
}

package twoperson_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"preau/cache/profile"
	"preau/cache/profile/platformtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { chosen[f.Name] = true })
	// The same stories each time, so that a change is judged by what it changes.
	// PREAU_LONG=1 tells others.
	if !chosen["rapid.seed"] && os.Getenv("PREAU_LONG") == "" {
		if err := flag.Set("rapid.seed", "20261123"); err != nil {
			panic(err)
		}
	}
	// A real platform has this process wait: others' stories go on beside it.
	if !chosen["test.parallel"] {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	if !chosen["rapid.checks"] {
		// How many worlds there are for each platform; rapid makes a fifth of it
		// if tests are to be short.
		checks := "100"
		if testing.Short() {
			checks = "10"
		}
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// pairs is how many pairs of persons meet in one world. In a hundred worlds each
// profile, on kinds platforms together, has its 10,000.
func pairs(kinds int) int {
	if testing.Short() {
		return 60 / kinds
	}
	return 100 / kinds
}

// emulated are what stands behind each profile.
func emulated() map[string]map[string]func() platformtest.Platform {
	type p = platformtest.Platform
	cloud := func(version int) func() p {
		return func() p {
			n := platformtest.NewNextcloud(version)
			n.SetGuesses(0)
			return n
		}
	}
	return map[string]map[string]func() p{
		"rfc9111":   {"plain": func() p { return platformtest.NewPlain() }},
		"nextcloud": {"29": cloud(29), "31": cloud(31)},
		"peertube":  {"node": func() p { return platformtest.NewPeerTube(false) }, "nginx": func() p { return platformtest.NewPeerTube(true) }},
		"etherpad": {"": func() p {
			e := platformtest.NewEtherpad()
			e.SetLimit(0)
			return e
		}},
		"discourse": {"": func() p { return platformtest.NewDiscourse() }},
		"wordpress": {"": func() p { return platformtest.NewWordPress() }},
		"jitsi":     {"": func() p { return platformtest.NewJitsi() }},
		"kiwix":     {"": func() p { return platformtest.NewKiwix() }},
		"s3-public": {"": func() p { return platformtest.NewS3() }},
	}
}

// TestNobodyGetsWhatIsAnothers: the test of two persons, for each profile.
func TestNobodyGetsWhatIsAnothers(t *testing.T) {
	t.Parallel()
	all := emulated()
	for _, name := range profile.Names() {
		if len(all[name]) == 0 {
			t.Errorf("profile %s has no platform here", name)
		}
		for _, kind := range slices.Sorted(maps.Keys(all[name])) {
			t.Run(strings.TrimSuffix(name+"/"+kind, "/"), func(t *testing.T) {
				t.Parallel()
				total, own := map[string]int{}, spots(all[name][kind]())
				rapid.Check(t, func(rt *rapid.T) {
					var story []step
					for range pairs(len(all[name])) {
						story = append(story, drawPair(rt, own)...)
						total["pairs"]++
					}
					s := play(t, name, all[name][kind], name == "rfc9111", story)
					for what, n := range s.counts {
						total[what] += n
					}
					if len(s.wrong) > 0 {
						tail := s.told[max(0, len(s.told)-60):]
						rt.Fatalf("%s\n\nthe last of what happened:\n%s", strings.Join(s.wrong, "\n"), strings.Join(tail, "\n"))
					}
				})
				t.Logf("%v", total)
				for _, what := range []string{"hits", "own", "offline"} {
					if total[what] == 0 && !t.Failed() && !testing.Short() {
						t.Errorf("%s: none, so nothing was tried", what)
					}
				}
			})
		}
	}
}

// TestWithoutTheRulesItLeaks, so that this test sees what leaks: by the letter
// of RFC 9111 alone these platforms' answers get to others, or to the disk.
func TestWithoutTheRulesItLeaks(t *testing.T) {
	all := emulated()
	for name, kind := range map[string]string{"nextcloud": "29", "peertube": "node", "discourse": "", "kiwix": "", "s3-public": ""} {
		t.Run(name, func(t *testing.T) {
			own := spots(all[name][kind]())
			pairs := rapid.Custom(func(rt *rapid.T) []step { return drawPair(rt, own) })
			for seed := range 40 {
				var story []step
				for pair := range 50 {
					story = append(story, pairs.Example(seed*1000+pair)...)
				}
				if s := play(t, "rfc9111", all[name][kind], false, story); len(s.wrong) > 0 {
					t.Log(s.wrong[0])
					return
				}
			}
			t.Error("no leak was found in 2,000 pairs")
		})
	}
}

// play tells one story in a world of its own, whose time is its own.
func play(t *testing.T, name string, p func() platformtest.Platform, keeps bool, story []step) (s *teller) {
	t.Helper()
	dir, err := os.MkdirTemp(memory(t), "twoperson-") //nolint:usetesting // in memory, and removed with each world
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			stacks := make([]byte, 4<<20)
			panic(fmt.Sprintf("%v\n%s", r, stacks[:runtime.Stack(stacks, true)])) // who waits for whom
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w, err := newWorld(dir, name, p(), profile.Adjust{})
		if err != nil {
			t.Fatal(err)
		}
		w.keeps = keeps
		s = newTeller(w)
		s.whole(story)
	})
	return s
}

// whole tells a story to its end, or till something is wrong, and looks through
// what is left behind.
func (s *teller) whole(story []step) {
	for _, st := range story {
		if err := s.tell(st); err != nil {
			s.fail("%v", err)
		}
		if len(s.wrong) > 0 {
			break
		}
	}
	found, err := s.search()
	if err != nil {
		s.fail("%v", err)
	}
	for _, f := range found {
		s.fail("%s", f)
	}
}

// memory is a folder in memory, if there is room in one: in the bubble's time
// the store writes to the disk for hours.
func memory(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err == nil && st.Bavail*uint64(st.Bsize) > 1<<30 && unix.Access(shm, unix.W_OK) == nil {
		return shm
	}
	return t.TempDir()
}

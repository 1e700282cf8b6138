//go:build system && linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/replication/central/store"
)

const (
	mib        = 1 << 20
	collection = "volcans"
)

// TestACountry has people live through what a school year brings, and measures
// what the machines do. Nothing that was acknowledged may be lost.
func TestACountry(t *testing.T) {
	c := raise(t)
	t.Cleanup(func() { c.report.write(t) })
	t.Run("story", c.story)
	t.Run("figures", c.measured)
}

func (c *country) story(t *testing.T) {
	prometheus := c.watched(t)
	kept := &deposits{}
	files := map[string]*file{}

	path, lesson := c.published(t, files)
	teacher := c.prepared(t, path, files[path], lesson)
	c.cutOff(t, prometheus, teacher, kept, path, files[path])
	c.on.ready(t)
	c.upgraded(t, kept, files)
	c.on.pull(t, c)
	c.ended(t, prometheus, kept)
}

// published puts a film and its worksheets into Ceph. Nobody has them yet: a box
// fetches what somebody wants.
func (c *country) published(t *testing.T, files map[string]*file) (film, title string) {
	t.Helper()
	title = "Un volcan se réveille"
	all := []*file{newFile("volcan.mp4", 4*mib+77), newFile("plaques.pdf", 700_000), newFile("lexique.pdf", 90_000)}
	titles := []string{title, "Les plaques tectoniques", "Petit lexique"}
	for i, f := range all {
		o := store.Options{ContentType: "application/pdf", Meta: map[string]string{"title": titles[i], "collection": collection}}
		if err := c.Put(t.Context(), lessons, f.name, f.content, o); err != nil {
			t.Fatal(err)
		}
	}
	within(t, time.Minute, func(ctx context.Context) error {
		at, err := c.Published(ctx)
		if err != nil {
			return err
		}
		for _, f := range all {
			if at[f.name] == "" {
				return fmt.Errorf("%s is not published: %v", f.name, at)
			}
			files[at[f.name]] = f
		}
		film = at[all[0].name]
		return nil
	})
	c.did(t, "three files are put into Ceph, and published", "the film has %s", megabytes(int64(len(all[0].content))))
	return film, title
}

// prepared has a teacher of school 1 prepare a lesson, and waits until the
// school has all of it.
func (c *country) prepared(t *testing.T, path string, film *file, title string) *browser {
	t.Helper()
	s := c.schools[0]
	b := s.boxes[0]
	teacher := s.teacher(t, c, b)
	at := teacher.prepare(t, c.on.today(), "Les volcans", "volcan reveille")
	within(t, 2*time.Minute, func(context.Context) error {
		if page := teacher.get(t, at); !strings.Contains(page, "Tout est prêt") {
			return fmt.Errorf("the lesson is not ready: %.1500s", regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))
		}
		return nil
	})
	if _, err := film.download(t.Context(), s.device(c, 2), b, path); err != nil {
		t.Error(err)
	}
	c.crossedOnce(t, s, c.sum(t, s, fromRegion), c.sum(t, s, unheard), film)
	c.did(t, "a teacher signs in with a badge and prepares a lesson; the school has all of it", "“%s”, %s", title, megabytes(int64(len(film.content))))
	return teacher
}

// cutOff takes school 1 its line, a box its power, and the region its leader.
func (c *country) cutOff(t *testing.T, prometheus *alerts, teacher *browser, kept *deposits, path string, film *file) {
	t.Helper()
	ctx := t.Context()
	s := c.schools[0]
	within(t, time.Minute, func(ctx context.Context) error { return prometheus.calm(ctx, len(c.All())) })
	s.line.Cut(t, true)
	c.did(t, "the line of school 1 is cut", "")

	_, all, err := s.class(ctx, c, devices, film, path, s.boxes...)
	if err != nil {
		t.Error(err)
	}
	c.did(t, "its class downloads the film all the same", "%d devices, all whole after %.1f s", devices, all.Seconds())

	pupil := s.device(c, 5)
	defer pupil.CloseIdleConnections()
	for i := range 4 {
		if err := kept.add(ctx, pupil, s.boxes[i%each], newFile(fmt.Sprintf("exposé-%d.odt", i), 300_000+i)); err != nil {
			t.Error(err)
		}
	}
	own := newFile("corrigé.pdf", 500_000)
	teacher.upload(t, own)
	kept.note(s.boxes[0], own)
	c.did(t, "deposits in the school that is cut off", "four by pupils, one by the teacher")

	leader, err := c.Leader(ctx)
	if err != nil || leader == nil {
		t.Fatalf("who leads: %v", err)
	}
	for _, p := range []*ministry.Process{s.boxes[0].Process, leader} {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}
	within(t, time.Minute, func(ctx context.Context) error { return prometheus.sees(ctx, "PreauNodeDown", leader.Name) })
	within(t, time.Minute, func(ctx context.Context) error {
		p, err := c.Leader(ctx)
		if err == nil && (p == nil || p == leader) {
			err = errors.New("nobody else leads yet")
		}
		return err
	})
	c.did(t, "power cuts: a box of school 1, and the region's leader", "%s is followed by another, and Prometheus saw it", leader.Name)

	if err := s.boxes[0].Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.line.Cut(t, false)
	within(t, 3*time.Minute, func(ctx context.Context) error { return kept.kept(ctx, c) })
	if err := kept.whole(ctx, c); err != nil {
		t.Error(err)
	}
	c.did(t, "power and line are back: all deposits are in Ceph, whole", "%.1f s after the line, with two servers of three", time.Since(began).Seconds())
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	c.well(t)
	c.did(t, "the third server is back, and has caught up", "")
}

// well waits until the region and all boxes are.
func (c *country) well(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := c.Well(ctx); err != nil {
		t.Fatal(err)
	}
}

// upgraded has the region go to the second version, server by server, and back,
// while everybody works.
func (c *country) upgraded(t *testing.T, kept *deposits, files map[string]*file) {
	t.Helper()
	l := c.begin(t, kept, files)
	before := len(kept.all)
	began := time.Now()
	c.on.change(t, c, second)
	c.on.change(t, c, first)
	took := time.Since(began)
	l.end(t)
	c.did(t, "what was decided meanwhile is what the region says", "%d decisions (%.0f a second, the longest took %.2f s), %d downloads, %d deposits; failed: %d",
		len(l.decided), float64(len(l.decided))/took.Seconds(), l.longest.Seconds(), l.downloads, len(kept.all)-before, len(l.errs))
}

// version is what a process says of itself.
func (c *country) version(ctx context.Context, name string) (string, error) {
	text, err := c.look(ctx, name, "/metrics")
	if err != nil {
		return "", err
	}
	info := regexp.MustCompile(`preau_build_info\{[^}]*version="([^"]*)"`).FindSubmatch(text)
	if info == nil {
		return "", fmt.Errorf("%s does not say its version", name)
	}
	return string(info[1]), nil
}

// ended is how it has to end: all is well, nothing is lost, nobody is alarmed.
func (c *country) ended(t *testing.T, prometheus *alerts, kept *deposits) {
	t.Helper()
	c.well(t)
	within(t, 2*time.Minute, func(ctx context.Context) error { return kept.kept(ctx, c) })
	if err := kept.whole(t.Context(), c); err != nil {
		t.Error(err)
	}
	c.did(t, "every deposit is in Ceph", "%d, each compared byte by byte", len(kept.all))
	within(t, time.Minute, func(ctx context.Context) error { return prometheus.calm(ctx, len(c.All())) })
	c.did(t, "no alert is firing or about to", "%d processes are read", len(c.All()))
}

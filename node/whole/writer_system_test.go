//go:build system && linux

package whole_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/control"
)

// thing is one file of a client, and what the region has said of it.
type thing struct {
	file    string
	content []byte
	url, id string
	state   string // "", "published", "purged", or "unsure" after no answer
	pin     string // its pin, if it was confirmed
}

// writer is a client that publishes, purges and pins, one after another. Each
// has its own files.
type writer struct {
	w          *world
	rng        *rand.Rand
	collection string
	things     []*thing
	done       map[string]int // confirmed, by what it was
	unsure     int
	errs       []error
}

// pause is how long a client rests between two commands, on average.
const pause = 250 * time.Millisecond

// work goes on until stop is closed.
func (c *writer) work(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		var err error
		switch n := c.rng.IntN(10); {
		case len(c.things) < 3 || n < 4:
			err = c.publishNew()
		case n < 6:
			err = c.purge(c.any())
		case n < 7:
			err = c.publish(c.any())
		case n < 9:
			err = c.pin(c.any())
		default:
			err = c.unpin(c.any())
		}
		if err != nil {
			c.errs = append(c.errs, err)
		}
		// People pause, and each command is a process: without this they would
		// leave the servers little of a small machine.
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(c.rng.IntN(int(2 * pause)))):
		}
	}
}

func (c *writer) any() *thing { return c.things[c.rng.IntN(len(c.things))] }

func (c *writer) publishNew() error {
	size := 1 + c.rng.IntN(200<<10)
	if c.rng.IntN(5) == 0 {
		size = 1 + c.rng.IntN(5<<20)
	}
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(c.rng.Uint32())
	}
	x := &thing{file: filepath.Join(c.w.dir, fmt.Sprintf("%s-%d.bin", c.collection, len(c.things))), content: content}
	if err := os.WriteFile(x.file, content, 0o600); err != nil {
		return err
	}
	c.things = append(c.things, x)
	return c.publish(x)
}

// ask gives a command once, and says whether it was confirmed.
func (c *writer) ask(x *thing, into any, state string, args ...string) (confirmed bool, err error) {
	a := c.w.ask(append(args, "--timeout", "20s")...)
	switch {
	case a.code == 0:
		if state != "" {
			x.state = state
		}
		c.done[args[0]]++
		return true, decode(a, into)
	case again(a):
		if state != "" {
			x.state = "unsure"
		}
		c.unsure++
		return false, nil
	}
	if state != "" {
		x.state = "unsure"
	}
	return false, fmt.Errorf("%v: %w", args, a)
}

func (c *writer) publish(x *thing) error {
	var all []published
	ok, err := c.ask(x, &all, "published", "publish", x.file, "--collection", c.collection)
	if err == nil && ok && len(all) != 1 {
		err = fmt.Errorf("%+v", all)
	}
	if err == nil && ok {
		x.url, x.id = all[0].URL, all[0].ID
	}
	return err
}

func (c *writer) purge(x *thing) error {
	if x.id == "" || x.state != "published" {
		return nil
	}
	_, err := c.ask(x, &struct{}{}, "purged", "purge", "--resource", x.id, "--no-wait")
	if a := (answer{}); errors.As(err, &a) && a.code == 4 && strings.Contains(a.err, "there is no resource") {
		// Asked twice by the client, of which the first was heard: it was there.
		x.state, err = "purged", nil
	}
	if x.state != "published" {
		x.pin = "" // nobody's promise, of what is gone
	}
	return err
}

func (c *writer) pin(x *thing) error {
	if x.state != "published" || x.pin != "" {
		return nil
	}
	var done control.Done
	ok, err := c.ask(x, &done, "", "pin", "--resource", x.id)
	if ok {
		x.pin = done.ID
	}
	return err
}

func (c *writer) unpin(x *thing) error {
	if x.pin == "" {
		return nil
	}
	_, err := c.ask(x, &struct{}{}, "", "unpin", x.pin)
	x.pin = "" // or it is not known whether it is there
	return err
}

// settle has the region decide what it has left open.
func (c *writer) settle(t *testing.T) {
	t.Helper()
	for _, x := range c.things {
		if x.state == "unsure" {
			within(t, 60*time.Second, func() error {
				if err := c.publish(x); err != nil {
					t.Fatal(err)
				}
				if x.state != "published" {
					return errors.New("the region does not decide")
				}
				return nil
			})
		}
	}
}

// writing has clients publish, purge and pin until the returned function is
// called, which compares the world with what was confirmed. The region has three
// servers by then.
func (w *world) writing(t *testing.T) (settle func()) {
	t.Helper()
	stop := make(chan struct{})
	var writers []*writer
	var group sync.WaitGroup
	for i := range 2 {
		c := &writer{
			w: w, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 0)), collection: fmt.Sprintf("c%d", i), done: map[string]int{},
		}
		writers = append(writers, c)
		group.Go(func() { c.work(stop) })
	}
	end := sync.OnceFunc(func() { close(stop); group.Wait() })
	t.Cleanup(end)
	return func() {
		t.Helper()
		end()
		w.healthy(t, 3)
		for _, c := range writers {
			for _, err := range c.errs {
				t.Error(err)
			}
			c.settle(t)
			t.Logf("confirmed %v, undecided %d", c.done, c.unsure)
			if c.done["publish"] == 0 {
				t.Error("nothing was published meanwhile")
			}
		}
		for _, m := range append(w.servers, w.boxes...) {
			m.alive(t)
		}
		w.agree(t, w.servers...)
		held := w.pins(t)
		for _, c := range writers {
			for _, x := range c.things {
				c.check(t, x, held)
			}
		}
	}
}

// pins are those that the region has.
func (w *world) pins(t *testing.T) map[string]bool {
	t.Helper()
	var pins []control.Record
	w.insist(t, &pins, "list", "pins", "--consistent")
	held := map[string]bool{}
	for _, p := range pins {
		held[p.ID] = true
	}
	return held
}

// check compares the world with what was confirmed of a file.
func (c *writer) check(t *testing.T, x *thing, pins map[string]bool) {
	t.Helper()
	name := filepath.Base(x.file)
	if x.pin != "" && x.state == "published" && !pins[x.pin] {
		t.Errorf("%s: its pin %s is lost", name, x.pin)
	}
	switch x.state {
	case "published":
		for _, b := range c.w.boxes {
			within(t, 60*time.Second, func() error { return c.w.has(b, x.url, x.content) })
		}
		for _, s := range c.w.servers {
			within(t, 60*time.Second, func() error { return holds(s, x.content) })
		}
	case "purged":
		for _, b := range c.w.boxes {
			within(t, 10*time.Second, func() error { return c.w.lacks(b, x.url) })
		}
	default:
		t.Errorf("%s is %q", name, x.state)
	}
}

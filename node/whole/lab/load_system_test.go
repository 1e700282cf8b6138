//go:build system && linux

package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/whole/ministry"
)

// load is what people go on doing while a region is upgraded: operators decide,
// devices download, schools deposit.
type load struct {
	c    *country
	stop chan struct{}
	wg   sync.WaitGroup

	mu        sync.Mutex
	errs      []error
	decided   map[string]bool // schools whose subscription was acknowledged
	downloads int
	longest   time.Duration // that a decision took
}

const (
	writers   = 5
	perSecond = 50 // decisions, of all writers
)

// begin has them all work until end. The files are what devices download.
func (c *country) begin(t *testing.T, kept *deposits, files map[string]*file) *load {
	t.Helper()
	l := &load{c: c, stop: make(chan struct{}), decided: map[string]bool{}}
	for n := range writers {
		operator, err := control.Open(c.Ministry.Operator, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.wg.Go(func() {
			defer func() { _ = operator.Close() }() // only connections
			l.write(t.Context(), n, operator)
		})
	}
	for i, s := range c.schools {
		for n := range 2 {
			l.wg.Go(func() { l.download(t.Context(), s, 10+n, s.boxes[n%each], files) })
		}
		l.wg.Go(func() { l.deposit(t.Context(), kept, s, s.boxes[i%each]) })
	}
	return l
}

func (l *load) failed(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

// rest waits for a moment, unless it is the end.
func (l *load) rest(d time.Duration) bool {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-l.stop:
		return false
	case <-pause.C:
		return true
	}
}

// write decides things that can be told apart: made-up schools subscribe to the
// lessons. The operator's client asks again by itself.
func (l *load) write(ctx context.Context, n int, operator *control.Client) {
	const turn = time.Second * writers / perSecond
	due := time.Now()
	for i := 0; ; i++ {
		// What was late is made up for, but for what a long wait has piled up.
		if due = due.Add(turn); time.Since(due) > time.Second {
			due = time.Now()
		}
		if !l.rest(time.Until(due)) {
			return
		}
		school := fmt.Sprintf("9%d%05dZ", n, i)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		began := time.Now()
		_, err := operator.Subscribe(ctx, school, collection)
		took := time.Since(began)
		cancel()
		if err != nil {
			l.failed("the subscription of %s, after %v: %w", school, took, err)
			continue
		}
		l.mu.Lock()
		l.decided[school] = true
		l.longest = max(l.longest, took)
		l.mu.Unlock()
	}
}

func (l *load) download(ctx context.Context, s *school, n int, b *ministry.Box, files map[string]*file) {
	client := s.device(l.c, n)
	defer client.CloseIdleConnections()
	for {
		for path, f := range files {
			if !l.rest(100 * time.Millisecond) {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			_, err := f.download(ctx, client, b, path)
			cancel()
			if err != nil {
				l.failed("a download: %w", err)
				continue
			}
			l.mu.Lock()
			l.downloads++
			l.mu.Unlock()
		}
	}
}

func (l *load) deposit(ctx context.Context, kept *deposits, s *school, b *ministry.Box) {
	client := s.device(l.c, 20)
	defer client.CloseIdleConnections()
	for i := 0; l.rest(500 * time.Millisecond); i++ {
		if err := kept.add(ctx, client, b, newFile(fmt.Sprintf("copie-%d.odt", i), 60_000)); err != nil {
			l.failed("a deposit: %w", err)
		}
	}
}

// end ends the load, and compares what was decided with what is.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	for i, err := range l.errs {
		if i == 10 {
			t.Errorf("and %d more", len(l.errs)-i)
			break
		}
		t.Error(err)
	}
	if len(l.decided) == 0 || l.downloads == 0 {
		t.Errorf("%d decisions and %d downloads: there was no load", len(l.decided), l.downloads)
	}
	within(t, time.Minute, func(ctx context.Context) error {
		lacks := make(map[string]bool, len(l.decided))
		for school := range l.decided {
			lacks[school] = true
		}
		for rec, err := range l.c.Centre.Operator.Records(ctx, "subscriptions") {
			if err != nil {
				return err
			}
			if value, ok := rec.Value.(map[string]any); ok {
				school, _ := value["school"].(string)
				delete(lacks, school)
			}
		}
		if len(lacks) > 0 {
			return fmt.Errorf("of %d decisions that were acknowledged the region lacks %d", len(l.decided), len(lacks))
		}
		return nil
	})
}

// deposits are those that a box has acknowledged.
type deposits struct {
	mu  sync.Mutex
	all []deposited
}

type deposited struct {
	box  *ministry.Box
	file *file
}

func (d *deposits) add(ctx context.Context, client *http.Client, b *ministry.Box, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := b.Deposit(ctx, client, f.name, f.content); err != nil {
		return fmt.Errorf("%s at %s: %w", f.name, b.Name, err)
	}
	d.note(b, f)
	return nil
}

func (d *deposits) note(b *ministry.Box, f *file) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, deposited{b, f})
}

// kept is nil once each of them is in Ceph.
func (d *deposits) kept(ctx context.Context, c *country) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, err := c.Deposited(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(keys))
	for _, k := range keys {
		there[k] = true
	}
	for i, x := range d.all {
		if !there[x.box.Key(x.file.sum, x.file.name)] {
			return fmt.Errorf("deposit %d of %d, %s of %s, is not in Ceph (which has %d)", i+1, len(d.all), x.file.name, x.box.Name, len(keys))
		}
	}
	return nil
}

// whole reports whether Ceph gives the bytes of each of them.
func (d *deposits) whole(ctx context.Context, c *country) error {
	for _, x := range d.all {
		got, err := c.Object(ctx, ministry.Deposits, x.box.Key(x.file.sum, x.file.name))
		if err != nil {
			return err
		}
		if string(got) != string(x.file.content) {
			return fmt.Errorf("%s of %s has other bytes in Ceph", x.file.name, x.box.Name)
		}
	}
	return nil
}

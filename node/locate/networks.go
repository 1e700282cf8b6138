package locate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"preau/replication/identity"
)

const (
	// nobody stands in IT's list where a school would.
	nobody = "-"
	// maxLine bounds a line of IT's list.
	maxLine = 16 << 10
	// lookEvery is how often the file is looked at.
	lookEvery = 10 * time.Second
)

// ReadNetworks reads IT's list: a line for each school, its code and then its
// public addresses or ranges, with blanks or commas between them. A code of -
// means that nobody from there is sent to a box. What follows a # is for people.
func ReadNetworks(r io.Reader) ([]Network, error) {
	var out []Network
	var errs []error
	at := map[netip.Prefix]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == ';' || r == '\r' })
		if len(words) == 0 {
			continue
		}
		school := ""
		if words[0] != nobody {
			code, err := identity.ParseSchool(words[0])
			if err != nil {
				errs = append(errs, fmt.Errorf("line %d: %w; write - where nobody is to be sent to a box", n, err))
				continue
			}
			school = string(code)
		}
		if len(words) == 1 {
			errs = append(errs, fmt.Errorf("line %d: no address follows %s", n, words[0]))
		}
		for _, word := range words[1:] {
			p, err := prefixOf(word)
			if err == nil && badPrefix(p) {
				err = errors.New("it covers too much")
			}
			if other, twice := at[p]; err == nil && twice && other != school {
				err = fmt.Errorf("it is %s's already", other)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("line %d: %.60q is no address or range like 192.0.2.8/29: %w", n, word, err))
				continue
			}
			at[p] = school
			out = append(out, Network{Prefix: p, School: school})
		}
		if len(out) > maxLists {
			return nil, fmt.Errorf("more than %d ranges", maxLists)
		}
	}
	if err := errors.Join(append(errs, lines.Err())...); err != nil {
		return nil, err
	}
	return out, nil
}

func prefixOf(word string) (netip.Prefix, error) {
	if strings.Contains(word, "/") {
		p, err := netip.ParsePrefix(word)
		if err == nil && p != p.Masked() {
			err = fmt.Errorf("write %s", p.Masked())
		}
		return p, err
	}
	a, err := netip.ParseAddr(word)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Zone() != "" {
		return netip.Prefix{}, errors.New("it has a zone")
	}
	return a.Prefix(a.BitLen())
}

// Networks is IT's list in a file. A change is seen within seconds; a file that
// makes no sense leaves the list as it was.
type Networks struct {
	path string
	log  *slog.Logger
	now  atomic.Pointer[[]Network]
	seen stamp
}

type stamp struct {
	at   time.Time
	size int64
}

// OpenNetworks reads the list. An empty path is an empty list.
func OpenNetworks(path string, log *slog.Logger) (*Networks, error) {
	n := &Networks{path: path, log: log}
	n.now.Store(&[]Network{})
	if path == "" {
		return n, nil
	}
	_, err := n.refresh()
	if err != nil {
		return nil, fmt.Errorf("the list of the schools' networks: %w", err)
	}
	return n, nil
}

// List is the list as it is now. It must not be changed.
func (n *Networks) List() []Network { return *n.now.Load() }

func (n *Networks) refresh() (changed bool, err error) {
	f, err := os.Open(n.path)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	now := stamp{info.ModTime(), info.Size()}
	if now == n.seen {
		return false, nil
	}
	n.seen = now
	list, err := ReadNetworks(f)
	if err != nil {
		return true, fmt.Errorf("%s: %w", n.path, err)
	}
	n.now.Store(&list)
	return true, nil
}

// Run looks at the file until ctx ends.
func (n *Networks) Run(ctx context.Context) error {
	if n.path == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	missing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := n.refresh()
		switch {
		case err != nil && (changed || !missing):
			n.log.ErrorContext(ctx, "the list of the schools' networks can't be used, and the one before stays", "err", err)
		case err == nil && changed:
			n.log.InfoContext(ctx, "the list of the schools' networks was read again", "ranges", len(n.List()))
		}
		missing = err != nil
	}
}

package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"

	"preau/cache/object"
)

const (
	// ledgerKeeps is how long a purge is remembered: what a parent answers with
	// is seldom older, and records beside bodies are seldom read at all.
	ledgerKeeps = 30 * 24 * time.Hour
	// ledgerMarks and ledgerBytes bound it in memory and on disk; beyond them a
	// site is remembered as purged whole, which spares nothing that was asked
	// for since.
	ledgerMarks = 20_000
	ledgerBytes = 4 << 20
	entryBytes  = 1 << 20
	// purgeLately is for how long other caches are told of a purge, and purgeAny
	// of one that only may mean what they are asked for.
	purgeLately = time.Hour
	purgeAny    = time.Minute
)

// ledger remembers the purges that were carried out: nothing older than they
// are may be stored again, be it from a fetch that was under way, from a parent
// that has not heard of them, or from the records beside the bodies.
type ledger struct {
	path string

	// storing is held for reading while a response is looked at and put: a
	// purge sees it stored, or it sees the purge.
	storing sync.RWMutex

	mu     sync.Mutex
	sites  map[string]*target
	epochs map[string]uint64
	marks  int
	size   int64
}

// entry is one purge as it lies in the file.
type entry struct {
	Accepted time.Time   `cbor:"1,keyasint"`
	Specs    []PurgeSpec `cbor:"2,keyasint"`
}

var ledgerDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 100_000, MaxMapPairs: 64}.DecMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

// openLedger reads what is remembered. What can't be read is left out.
func openLedger(path string, now time.Time) *ledger {
	l := &ledger{path: path, sites: map[string]*target{}, epochs: map[string]uint64{}}
	f, err := os.Open(path)
	if err != nil {
		return l
	}
	defer func() { _ = f.Close() }() //nolint:errcheck // only read
	var kept []entry
	l.size = readEntries(f, func(e entry) {
		if e.Accepted.After(now) {
			e.Accepted = now // by a clock that has been put back: else nothing could be stored until then
		}
		if e.Accepted.After(now.Add(-ledgerKeeps)) {
			kept = append(kept, e)
			l.remember(e.Specs, e.Accepted)
		}
	})
	if info, err := f.Stat(); err != nil || info.Size() != l.size || l.size > ledgerBytes {
		l.rewrite(kept)
	}
	return l
}

// readEntries calls fn for each sound entry and returns where the sound part
// of the file ends.
func readEntries(r io.Reader, fn func(entry)) (size int64) {
	in := bufio.NewReader(r)
	for {
		var head [12]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return size
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > entryBytes {
			return size
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil || xxhash.Sum64(b) != binary.BigEndian.Uint64(head[4:]) {
			return size
		}
		var e entry
		if err := ledgerDecoder.Unmarshal(b, &e); err != nil {
			return size
		}
		fn(e)
		size += int64(len(head)) + int64(n)
	}
}

func encodeEntry(e entry) ([]byte, error) {
	m, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return nil, err
	}
	b, err := m.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode purge: %w", err)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	out = binary.BigEndian.AppendUint64(out, xxhash.Sum64(b))
	return append(out, b...), nil
}

// accept puts specs in force. The marks are of key where specs don't say.
func (l *ledger) accept(specs []PurgeSpec, key object.MarkKeyID) error {
	own := make([]PurgeSpec, len(specs))
	for i, sp := range specs {
		if sp.KeyID == 0 {
			sp.KeyID = key
		}
		own[i] = sp
	}
	now := time.Now()
	l.storing.Lock() // who is storing has stored
	l.mu.Lock()
	l.remember(own, now)
	seen := map[string]bool{}
	for _, sp := range own {
		if !seen[sp.Site] {
			seen[sp.Site] = true
			l.epochs[sp.Site]++
		}
	}
	l.mu.Unlock()
	l.storing.Unlock()
	return l.write(own, now)
}

// remember adds specs, as accepted at that time. Callers hold l.mu, or nobody
// else has l yet.
func (l *ledger) remember(specs []PurgeSpec, accepted time.Time) {
	for _, sp := range specs {
		t := l.sites[sp.Site]
		if t == nil {
			t = &target{marks: map[object.MarkKeyID]map[object.Mark]reach{}}
			l.sites[sp.Site] = t
		}
		if l.marks += len(sp.Marks); l.marks > ledgerMarks {
			l.marks = 0
			for _, t := range l.sites {
				// What was asked for before the latest purge is not trusted.
				t.all, t.marks = t.any, map[object.MarkKeyID]map[object.Mark]reach{}
			}
		}
		t.add(sp, sp.KeyID, accepted)
	}
}

// write appends one entry, on the disk when it returns.
func (l *ledger) write(specs []PurgeSpec, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > ledgerBytes {
		l.shrink(now)
	}
	b, err := encodeEntry(entry{now, specs})
	if err != nil {
		return err
	}
	if len(b) > entryBytes { // so many marks: each site whole
		if b, err = encodeEntry(entry{now, wholeSites(specs)}); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// At the end of what is sound: the last write may have been cut.
	if _, err = f.WriteAt(b, l.size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		l.size += int64(len(b))
	}
	return err
}

// shrink writes down one entry for each site in place of all. Callers hold l.mu.
func (l *ledger) shrink(now time.Time) {
	var specs []PurgeSpec
	for site, t := range l.sites {
		specs = append(specs, PurgeSpec{Site: site})
		t.all, t.marks = t.any.join(now), map[object.MarkKeyID]map[object.Mark]reach{}
		t.any = t.all
	}
	l.marks = 0
	l.rewrite([]entry{{now, specs}})
}

// rewrite replaces the file. One that can't be replaced goes on growing.
func (l *ledger) rewrite(entries []entry) {
	var all []byte
	for _, e := range entries {
		b, err := encodeEntry(e)
		if err != nil {
			return
		}
		all = append(all, b...)
	}
	if err := writeFile(l.path, func(f *os.File) error { _, err := f.Write(all); return err }); err == nil {
		l.size = int64(len(all))
	}
}

func wholeSites(specs []PurgeSpec) []PurgeSpec {
	seen := map[string]bool{}
	var out []PurgeSpec
	for _, sp := range specs {
		if !seen[sp.Site] {
			seen[sp.Site] = true
			out = append(out, PurgeSpec{Site: sp.Site})
		}
	}
	return out
}

// epoch counts the purges for a site.
func (l *ledger) epoch(site string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs[site]
}

// lately is when the last purge of the last hour was accepted that means o, or
// that may: what tags an answer will have is not known before it comes, so for
// a minute any purge for its site counts.
func (l *ledger) lately(o *object.Object, now time.Time) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sites[o.Site]
	if t == nil || !t.any.before.After(now.Add(-purgeLately)) {
		return at, false
	}
	if t.any.before.After(now.Add(-purgeAny)) {
		return t.any.before, true
	}
	at = t.all.before
	for key, marks := range t.marks {
		o.HasMark(key, func(m object.Mark) bool {
			if b := marks[m].before; b.After(at) {
				at = b
			}
			return false
		})
	}
	return at, at.After(now.Add(-purgeLately))
}

// knows reports whether there is any purge for a site.
func (l *ledger) knows(site string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sites[site] != nil
}

// forbids reports whether a purge in force means o. What counts is when the
// authority made the answer, as far as is known: a parent may have had it for
// some time (RFC 9111 §5.1).
func (l *ledger) forbids(o *object.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sites[o.Site]
	if t == nil {
		return false
	}
	now := time.Now()
	made := o.RequestTime
	if made.After(now) {
		made = now // told by a clock that was put back since
	}
	if age, err := strconv.ParseInt(strings.TrimSpace(o.Header.Get("Age")), 10, 64); err == nil && age > 0 {
		made = made.Add(-time.Duration(min(age, int64(ledgerKeeps/time.Second))) * time.Second)
	}
	return t.hits(o, made, now)
}

package catalogue_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"preau/replication/catalogue"
	"preau/replication/kv/kvtest"
)

func TestEncodeRefusesWhatCanNotBe(t *testing.T) {
	good := catalogue.NewCommand("operator/anne", noon, put(t, collection("c")))
	if _, err := catalogue.Encode(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*catalogue.Command){
		"no id":           func(c *catalogue.Command) { c.ID = catalogue.CommandID{} },
		"no time":         func(c *catalogue.Command) { c.At = time.Time{} },
		"year 10000":      func(c *catalogue.Command) { c.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"nobody":          func(c *catalogue.Command) { c.By = "" },
		"nothing":         func(c *catalogue.Command) { c.Ops = nil },
		"an empty one":    func(c *catalogue.Command) { c.Ops = append(c.Ops, catalogue.Op{}) },
		"two in one":      func(c *catalogue.Command) { c.Ops = []catalogue.Op{{Put: c.Ops[0].Put, Delete: &catalogue.Delete{}}} },
		"too many":        func(c *catalogue.Command) { c.Ops = make([]catalogue.Op, catalogue.MaxOps+1) },
		"prune and more":  func(c *catalogue.Command) { c.Ops = append(c.Ops, prune(noon)) },
		"too many bytes":  func(c *catalogue.Command) { c.Ops[0].Put.Body = make([]byte, catalogue.MaxCommandBytes) },
		"bad name":        func(c *catalogue.Command) { c.By = "a\nb" },
		"not even UTF-8":  func(c *catalogue.Command) { c.By = "a\xff" },
		"a very long one": func(c *catalogue.Command) { c.By = strings.Repeat("a", 1000) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			p := *good.Ops[0].Put
			c.Ops = []catalogue.Op{{Put: &p}}
			change(&c)
			if _, err := catalogue.Encode(c); err == nil {
				t.Error("encoded")
			}
		})
	}
}

func TestThereIsOneForm(t *testing.T) {
	good, err := catalogue.Encode(catalogue.Command{ID: catalogue.CommandID{1}, At: noon, By: "x", Ops: []catalogue.Op{put(t, collection("c"))}})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, now string) []byte {
		p := bytes.Replace(good, []byte(old), []byte(now), 1)
		if bytes.Equal(p, good) {
			t.Fatalf("%x is not in %x", old, good)
		}
		return p
	}
	tests := map[string][]byte{
		"empty":              {},
		"version 0":          append([]byte{0}, good[1:]...),
		"cut short":          good[:len(good)-1],
		"one byte more":      append(bytes.Clone(good), 0),
		"unknown field":      replace("\x01\xa4", "\x01\xa5\x05\x00"),
		"long integer":       replace("\x03\x61x", "\x18\x03\x61x"),
		"short id":           replace("\x01\x50\x01\x00", "\x01\x4f\x01"),
		"time with an hour":  replace("\x74"+"2026-11-22T12:00:00Z", "\x78\x19"+"2026-11-22T13:00:00+01:00"),
		"time as a number":   replace("\x74"+"2026-11-22T12:00:00Z", "\x1a\x69\x00\x00\x00"),
		"time to the micro":  replace("\x74"+"2026-11-22T12:00:00Z", "\x78\x1b"+"2026-11-22T12:00:00.000001Z"),
		"indefinite length":  replace("\x04\x81", "\x04\x9f"),
		"tag":                replace("\x03\x61x", "\x03\xc0\x61x"),
		"field given twice":  replace("\x03\x61x", "\x03\x61x\x03\x61x"),
		"text for the bytes": replace("\x01\x50\x01", "\x01\x70\x01"),
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			if c, err := catalogue.Decode(p); err == nil {
				t.Errorf("decoded: %+v", c)
			}
			w := newWorld(t)
			if len(p) == 0 {
				return // nothing at all is no command, and no mistake
			}
			if r := w.entry(p); r.Code != catalogue.CodeInvalid || r.Detail == "" {
				t.Errorf("applied: %+v", r)
			}
			if index, _ := w.s.Applied(); index != 1 {
				t.Errorf("applied = %d, want 1: the log must go on", index)
			}
		})
	}
}

func TestTwoVersionsSideBySide(t *testing.T) {
	entry := func(index uint64, encode func(catalogue.Command) ([]byte, error), id string) catalogue.Entry {
		c := catalogue.Command{ID: catalogue.CommandID{byte(index)}, At: noon, By: "x", Ops: []catalogue.Op{put(t, collection(id))}}
		p, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		return catalogue.Entry{Index: index, Term: 1, Data: p}
	}
	log := []catalogue.Entry{
		entry(1, catalogue.Encode, "one"),
		entry(2, catalogue.Encode, "two"),
		entry(3, catalogue.EncodeNewer, "three"),
		entry(4, catalogue.Encode, "four"),
	}
	store := kvtest.NewMemory()
	older := open(t, store)
	newer, err := catalogue.OpenNewer(kvtest.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	apply := func(s *catalogue.State, e []catalogue.Entry) {
		t.Helper()
		if results, _, err := s.Apply(e); err != nil || results[0].Code != "" {
			t.Fatal(results, err)
		}
	}
	apply(older, log[:1])
	apply(newer, log[:1])
	if !bytes.Equal(snapshot(t, older), snapshot(t, newer)) {
		t.Error("two versions make two states of an old log")
	}
	// The newer entry stops the older program, and nothing of the batch is done.
	if _, _, err := older.Apply(log[1:]); !errors.Is(err, catalogue.ErrNewer) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("err = %v", err)
	}
	if index, _ := older.Applied(); index != 1 {
		t.Errorf("applied = %d, want 1", index)
	}
	if got := len(changes(t, older, 0)); got != 1 {
		t.Errorf("%d records, want 1", got)
	}
	apply(newer, log[1:])
	if older.Level() != 1 || newer.Level() != 2 {
		t.Errorf("levels %d and %d, want 1 and 2", older.Level(), newer.Level())
	}
	// Its successor goes on from there.
	upgraded, err := catalogue.OpenNewer(store)
	if err != nil {
		t.Fatal(err)
	}
	apply(upgraded, log[1:])
	if !bytes.Equal(snapshot(t, upgraded), snapshot(t, newer)) {
		t.Error("the upgraded server has another state")
	}
	// There is no way back, neither by the store nor by a snapshot.
	if _, err := catalogue.Open(store); !errors.Is(err, catalogue.ErrNewer) {
		t.Errorf("open: %v", err)
	}
	fresh := open(t, kvtest.NewMemory())
	if err := fresh.Restore(bytes.NewReader(snapshot(t, newer))); !errors.Is(err, catalogue.ErrNewer) {
		t.Errorf("restore: %v", err)
	}
}

func TestNobodyWritesWhatAnotherCanNotRead(t *testing.T) {
	w := newWorld(t)
	for i, reads := range []uint8{7, 0, 9} {
		w.must(put(t, catalogue.Server{Name: "s" + string(rune('1'+i)), Address: "h:1", Reads: reads}))
	}
	if got, err := w.view().ReadByAll(); got != 1 || err != nil {
		t.Errorf("read by all = %d, %v", got, err)
	}
}

func TestAVersionThatNobodyKnowsIsNotWritten(t *testing.T) {
	c := newWorld(t).command(put(t, collection("c")))
	for _, v := range []uint8{0, catalogue.MaxVersion + 1} {
		if _, err := catalogue.EncodeAs(v, c); !errors.Is(err, catalogue.ErrNewer) {
			t.Errorf("version %d: %v", v, err)
		}
	}
	first, err := catalogue.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := catalogue.EncodeAs(1, c); err != nil || !bytes.Equal(got, first) {
		t.Errorf("version 1: %x, %v, want %x", got, err, first)
	}
}

func TestEntriesInDisorderAreRefused(t *testing.T) {
	w := newWorld(t)
	p, err := catalogue.Encode(w.command(put(t, collection("c"))))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.s.Apply([]catalogue.Entry{{Index: 2, Term: 1, Data: p}, {Index: 1, Term: 1, Data: p}})
	if err == nil {
		t.Error("applied")
	}
	if index, _ := w.s.Applied(); index != 0 {
		t.Errorf("applied = %d", index)
	}
}

func TestAnEmptyEntryMovesTheIndex(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.s.Apply([]catalogue.Entry{{Index: 5, Term: 2}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*catalogue.State{w.s, open(t, w.store.Crash())} {
		if index, term := s.Applied(); index != 5 || term != 2 {
			t.Errorf("applied = %d, %d", index, term)
		}
	}
}

func TestAFailingStoreChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.must(put(t, collection("c")))
	c := w.command(put(t, collection("d")))
	p, err := catalogue.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no room")
	w.store.Fail(broken)
	entry := []catalogue.Entry{{Index: 2, Term: 1, Data: p}}
	if _, _, err := w.s.Apply(entry); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	if index, _ := w.s.Applied(); index != 1 {
		t.Errorf("applied = %d", index)
	}
	w.store.Fail(nil)
	results, _, err := w.s.Apply(entry)
	if err != nil || results[0].Repeat || results[0].Code != "" {
		t.Errorf("once there is room: %+v, %v", results, err)
	}
}

func FuzzDecode(f *testing.F) {
	p, err := catalogue.Encode(catalogue.NewCommand("x", noon, catalogue.NewDelete(catalogue.KindPin, "p")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte{1})
	f.Add([]byte{2, 0xa0})
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := catalogue.Decode(p)
		if err == nil {
			again, err := catalogue.Encode(c)
			if err != nil || !bytes.Equal(p, again) {
				t.Fatalf("%x decodes to %+v, which encodes to %x, %v", p, c, again, err)
			}
		}
		s := open(t, kvtest.NewMemory())
		_, _, applied := s.Apply([]catalogue.Entry{{Index: 1, Term: 1, Data: p}})
		if newer := len(p) > 0 && p[0] > catalogue.MaxVersion; (applied != nil) != newer || newer != errors.Is(err, catalogue.ErrNewer) {
			t.Fatalf("apply: %v, decode: %v", applied, err)
		}
	})
}

func FuzzPut(f *testing.F) {
	for _, fact := range facts() {
		body, err := catalogue.EncodeAny(fact)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(fact.Kind()), fact.RecordID(), body)
	}
	f.Fuzz(func(t *testing.T, k uint8, id string, body []byte) {
		w := newWorld(t)
		c := w.command(catalogue.Op{Put: &catalogue.Put{Kind: catalogue.Kind(k), ID: id, Body: body}})
		p, err := catalogue.Encode(c)
		if err != nil {
			return
		}
		r := w.entry(p)
		if _, err := w.view().Get(catalogue.Kind(k), id); (err == nil) != (r.Code == "") {
			t.Fatalf("result %+v, get: %v", r, err)
		}
	})
}

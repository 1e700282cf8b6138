package catalogue_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

// quickKinds are those that there is a quick reader for.
var quickKinds = []catalogue.Kind{
	catalogue.KindBox, catalogue.KindRevocation, catalogue.KindCollection, catalogue.KindResource,
	catalogue.KindSubscription, catalogue.KindPin, catalogue.KindPurge, catalogue.KindContact,
}

// agree fails if a quick reader takes what the slow one refuses, or makes
// something else of it. It reports whether anything was taken.
func agree(tb testing.TB, p []byte) (taken bool) {
	tb.Helper()
	if quick, ok := catalogue.QuickCommand(p); ok {
		taken = true
		slow, err := catalogue.SlowCommand(p)
		if err != nil {
			tb.Fatalf("the command %x is taken quickly; slowly: %v", p, err)
		}
		if !reflect.DeepEqual(slow, quick) {
			diff := cmp.Diff(slow, quick)
			tb.Fatalf("the command %x is read otherwise (-slow +quick):\n%s", p, diff)
		}
	}
	for _, k := range quickKinds {
		quick, ok := catalogue.QuickFact(k, p)
		if !ok {
			continue
		}
		taken = true
		slow, err := slowFact(k, p)
		if err != nil {
			tb.Fatalf("the %s %x is taken quickly; slowly: %v", k, p, err)
		}
		if !reflect.DeepEqual(slow, quick) {
			diff := cmp.Diff(slow, quick)
			tb.Fatalf("the %s %x is read otherwise (-slow +quick):\n%s", k, p, diff)
		}
	}
	return taken
}

// slowFact reads contacts too, which are never put.
func slowFact(k catalogue.Kind, p []byte) (catalogue.Fact, error) {
	if k != catalogue.KindContact {
		return catalogue.SlowFact(k, p)
	}
	c, err := catalogue.SlowContact(p)
	return c, err
}

func TestQuickReadersTakeWhatIsCommon(t *testing.T) {
	for name, f := range facts() {
		p, err := catalogue.EncodeAny(catalogue.Normal(f))
		if err != nil {
			t.Fatal(err)
		}
		agree(t, p)
		if _, ok := catalogue.QuickFact(f.Kind(), p); ok != slices.Contains(quickKinds, f.Kind()) {
			t.Errorf("%s: taken quickly = %v", name, ok)
		}
	}
	for name, c := range commands(t) {
		p, err := catalogue.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, p[1:])
		want := strings.HasPrefix(name, "put-") || name == "delete" || name == "count"
		if _, ok := catalogue.QuickCommand(p[1:]); ok != want {
			t.Errorf("%s: taken quickly = %v, want %v", name, ok, want)
		}
	}
}

// TestQuickReadersAreNotLenient changes every byte of every encoding there is,
// in all ways if there is time for it.
func TestQuickReadersAreNotLenient(t *testing.T) {
	values := []byte{0x00, 0x18, 0x60, 0xf6}
	if !testing.Short() {
		values = values[:0]
		for v := range 256 {
			values = append(values, byte(v))
		}
	}
	taken := 0
	try := func(p []byte) {
		if agree(t, p) {
			taken++
		}
	}
	for _, p := range encodings(t) {
		for i := range p {
			was := p[i]
			for _, v := range values {
				p[i] = v
				try(p)
			}
			for bit := range 8 {
				p[i] = was ^ 1<<bit
				try(p)
			}
			p[i] = was
			try(p[:i])
			try(append(bytes.Clone(p[:i]), p[i+1:]...))
			for _, v := range values[:min(len(values), 32)] {
				try(append(append(bytes.Clone(p[:i]), v), p[i:]...))
			}
		}
	}
	if taken == 0 {
		t.Error("none was taken: this compares nothing")
	}
}

func encodings(tb testing.TB) (list [][]byte) {
	tb.Helper()
	for _, f := range facts() {
		p, err := catalogue.EncodeAny(catalogue.Normal(f))
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, p)
	}
	n := uint64(70_000)
	for _, op := range []catalogue.Op{
		{Put: &catalogue.Put{Kind: catalogue.KindPin, ID: "p", Body: []byte{1, 2, 3}, If: &n}},
		{Delete: &catalogue.Delete{Kind: catalogue.KindPin, ID: "p", If: &n, Missing: true}},
		counts("library-1", 1<<40, catalogue.Tally{Key: "r/pi", N: 500}),
	} {
		p, err := catalogue.Encode(catalogue.Command{ID: catalogue.CommandID{1}, At: noon.Add(120 * time.Millisecond), By: "x", Ops: []catalogue.Op{op}})
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, p[1:])
	}
	return list
}

func TestQuickReadersKnowTheCalendar(t *testing.T) {
	for _, at := range []string{
		"2026-11-22T12:00:00Z", "2026-11-22T12:00:00.5Z", "2026-11-22T12:00:00.50Z", "2026-11-22T12:00:00.0Z", "2026-11-22T12:00:00.Z",
		"2026-11-22T12:00:00.001Z", "2026-11-22T12:00:00.0001Z", "2026-11-22T12:00:00,5Z", "2026-02-29T12:00:00Z", "2028-02-29T12:00:00Z",
		"2026-13-01T12:00:00Z", "2026-00-01T12:00:00Z", "2026-01-00T12:00:00Z", "2026-01-32T12:00:00Z", "2026-11-22T24:00:00Z",
		"2026-11-22T12:60:00Z", "2026-11-22T12:00:60Z", "2026-11-22t12:00:00z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z",
		"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-22T12:00:00+00:00", "2026-11-22 12:00:00Z", "+026-11-22T12:00:00Z",
	} {
		p, err := catalogue.EncodeAny(map[int]any{1: "p", 3: "c", 5: at})
		if err != nil {
			t.Fatal(err)
		}
		agree(t, p)
	}
}

func TestQuickWritersWriteWhatTheLibraryWrites(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	lengths := []int{1, 2, 23, 24, 255, 256, 70_000}
	numbers := []uint64{0, 1, 23, 24, 255, 256, math.MaxUint16, math.MaxUint16 + 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64}
	for range 500 {
		pick := func() int { return lengths[random.IntN(len(lengths)-1)] }
		n := numbers[random.IntN(len(numbers))]
		r := catalogue.Result{Index: n}
		if random.IntN(2) == 0 {
			r.Code, r.Detail = catalogue.CodeConflict, strings.Repeat("é", pick())
		}
		if random.IntN(2) == 0 {
			r.School, r.Role = lyon, identity.Box
		}
		want, err := catalogue.EncodeAny(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := catalogue.QuickResult(r); !bytes.Equal(got, want) {
			t.Fatalf("%+v is written as %x, not %x", r, got, want)
		}
		c := catalogue.Command{ID: catalogue.NewCommandID(), At: time.UnixMilli(random.Int64N(250_000_000_000_000)).UTC(), By: strings.Repeat("b", min(128, pick()))}
		for range 1 + random.IntN(30) {
			p := catalogue.Put{Kind: catalogue.Kind(random.IntN(256)), ID: strings.Repeat("i", pick()), Body: []byte(block.Sum(nil).String()[:1+random.IntN(60)])}
			if random.IntN(2) == 0 {
				p.If = &n
			}
			c.Ops = append(c.Ops, catalogue.Op{Put: &p})
		}
		if want, err = catalogue.EncodeAny(c); err != nil {
			t.Fatal(err)
		}
		got, ok := catalogue.QuickEncode(c)
		if !ok || !bytes.Equal(got, append([]byte{1}, want...)) {
			t.Fatalf("%+v is written as %x, not 01%x", c, got, want)
		}
		agree(t, want)
	}
}

func FuzzQuick(f *testing.F) {
	for _, p := range encodings(f) {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) { agree(t, p) })
}

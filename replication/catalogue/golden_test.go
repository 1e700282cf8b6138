package catalogue_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

var update = flag.Bool("update", false, "write the golden files anew: only for what was never released")

// facts has one of each kind with every field set, and some with few.
func facts() map[string]catalogue.Fact {
	long := resource("film", "maths", lyon, brest)
	long.Description, long.Language, long.Level, long.Licence = "Un film\nsur pi", "fr", "6e", "CC BY 4.0"
	long.Length, long.Blocks, long.Manifest = 20*block.Size+5, nil, block.Digest{9, 9}
	long.Expires = noon.Add(1500 * time.Millisecond)
	listed := resource("atlas", "maths")
	listed.Length, listed.Blocks, listed.Manifest, listed.Listed = 700_000, nil, block.Digest{9, 9}, true
	listed.Bucket, listed.Key, listed.ETag = "lecons", "6e/atlas é.pdf", "d41d8cd98f00b204e9800998ecf8427e-2"
	keptDeposit := deposit("d-2", brest)
	keptDeposit.Kept, keptDeposit.Bucket, keptDeposit.Key, keptDeposit.KeptAt = true, "deposits", "0290001B/abc/x.pdf", noon
	keptDeposit.Waiting = ""
	return map[string]catalogue.Fact{
		"region":            catalogue.Region{ID: "0123456789abcdef", Name: "Rhône", Epoch: 3, CA: []byte("-----BEGIN"), MarkKey: keyA},
		"server":            catalogue.Server{Name: "s1", Address: "[2001:db8::1]:4433", Sites: []string{"nuage", "tubes"}, Reads: 2},
		"server-least":      catalogue.Server{Name: "s1", Address: "s1.example.org:4433"},
		"school":            catalogue.SchoolEntry{Code: lyon, Name: "Collège Jean Moulin"},
		"box":               catalogue.Box{Name: "library-1", School: lyon, SPKI: keyA, Enrolled: noon, MayRejoin: true},
		"revocation":        catalogue.Revocation{Role: identity.Box, Name: "library-1", School: lyon, Reason: "stolen"},
		"policy":            catalogue.Policy{School: lyon, PrefetchRate: 1 << 20, PrefetchHours: []catalogue.Hours{{From: 1320, To: 360}}, LeaseSeconds: 604800, KAnonymity: 5, AllowLapsed: true, PrefetchPopular: 1 << 33},
		"policy-of-all":     catalogue.Policy{},
		"collection":        collection("maths", brest, lyon),
		"resource":          resource("pi", "maths"),
		"resource-long":     long,
		"subscription":      catalogue.Subscription{ID: "s-1", School: lyon, Collection: "maths"},
		"pin":               catalogue.Pin{ID: "p-1", Resource: "pi", Schools: []identity.School{lyon}, From: noon, Until: noon.Add(time.Hour)},
		"pin-of-collection": catalogue.Pin{ID: "p-2", Collection: "maths"},
		"purge":             catalogue.Purge{ID: "u-1", Scope: catalogue.ScopePrefix, Site: "nuage", Mark: [8]byte{1, 2}, Reason: "wrong", By: "operator/anne"},
		"purge-of-resource": catalogue.Purge{ID: "u-2", Scope: catalogue.ScopeResource, Target: "pi"},
		"hints":             catalogue.Hints{Keys: []catalogue.Hint{{Key: "r/pi", Sum: 314159}, {Key: "m/0102030405060708", Sum: 2}}},
		"authority":         catalogue.Authority{CA: []byte("-----BEGIN"), Sealed: []byte{1, 2, 3}},
		"token":             token("t-1", lyon),
		"token-of-server":   catalogue.Token{ID: "t-2", SecretHash: hash, Role: identity.Server, NotAfter: noon},
		"popularity":        catalogue.Popularity{Key: "o/nuage/Accueil", Sum: 12345, At: noon},
		"resource-listed":   listed,
		"deposit":           deposit("d-1", lyon),
		"deposit-kept":      keptDeposit,
		"source":            catalogue.Source{Bucket: "lecons", Epoch: "a1b2", Seq: 1 << 40},
		"contact":           catalogue.Contact{Box: "library-1", At: noon, Index: 77, Version: "1.2.3", Counted: 5},
	}
}

func deposit(id string, school identity.School) catalogue.Deposit {
	return catalogue.Deposit{
		ID: id, School: school, Box: "library-1", Filename: "leçon.pdf", ContentType: "application/pdf", Title: "Leçon",
		Description: "pour lundi", Collection: "6e B", At: noon, Length: 5, SHA256: block.Digest{1}, Blocks: []block.Digest{{1}},
		Waiting: "the centre is full",
	}
}

func commands(t *testing.T) map[string]catalogue.Command {
	t.Helper()
	n := uint64(7)
	conditional := put(t, collection("maths"))
	conditional.Put.If = &n
	ops := map[string][]catalogue.Op{
		"put-if": {conditional},
		"delete": {catalogue.NewDelete(catalogue.KindPin, "p-1"), {Delete: &catalogue.Delete{Kind: catalogue.KindResource, ID: "pi", If: &n, Missing: true}}},
		"redeem": {redeem("t-1", "library-1", keyA)},
		"count":  {counts("library-1", 12, catalogue.Tally{Key: "r/pi", N: 5}, catalogue.Tally{Key: "m/0102030405060708", N: 500})},
		"seen":   {seen(catalogue.Contact{Box: "library-1", At: noon, Index: 7, Version: "1.2.3"})},
		"prune":  {prune(noon.Add(-time.Hour))},
		"rekey":  {{Rekey: &catalogue.Rekey{Box: "library-1", Role: identity.Box, SPKI: keyB}}},
	}
	for name, f := range facts() {
		if k := f.Kind(); k != catalogue.KindPopularity && k != catalogue.KindContact {
			ops["put-"+name] = []catalogue.Op{put(t, f)}
		}
	}
	m := map[string]catalogue.Command{}
	for name, o := range ops {
		m[name] = catalogue.Command{ID: catalogue.CommandID{0xc0, 0xff, 0xee}, At: noon.Add(7 * time.Millisecond), By: "operator/anne", Ops: o}
	}
	return m
}

// golden compares bytes with those in a file, in hexadecimal lines.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file+".hex")
	var text strings.Builder
	for p := range slicesOf(got, 32) {
		fmt.Fprintln(&text, hex.EncodeToString(p))
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("%s is encoded otherwise than it was (-then +now); logs are for ever:\n%s", file, diff)
	}
}

func slicesOf(p []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(p) > 0 {
			m := min(n, len(p))
			if !yield(p[:m]) {
				return
			}
			p = p[m:]
		}
	}
}

func TestEncodingIsForEver(t *testing.T) {
	for name, f := range facts() {
		t.Run("record/"+name, func(t *testing.T) {
			p, err := catalogue.EncodeAny(f)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "record/"+name, p)
		})
	}
	for name, c := range commands(t) {
		t.Run("command/"+name, func(t *testing.T) {
			p, err := catalogue.Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "command/"+name, p)
			back, err := catalogue.Decode(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, back); diff != "" {
				t.Errorf("decoded (-encoded +decoded):\n%s", diff)
			}
		})
	}
}

// TestOutcomeIsForEver has one log with all that can happen, also what is
// refused and how that is said, and the whole state that comes of it.
func TestOutcomeIsForEver(t *testing.T) {
	w := newWorld(t)
	all := commands(t)
	var results bytes.Buffer
	id := byte(0)
	for _, name := range []string{
		"put-region", "put-server", "put-token", "redeem", "put-collection", "put-resource", "put-resource-long",
		"put-subscription", "put-pin", "put-pin-of-collection", "put-if", "count", "seen", "rekey", "put-revocation",
		"redeem", "put-policy", "put-hints", "put-authority", "put-token-of-server", "put-purge-of-resource",
		"put-purge", "delete", "put-pin", "prune", "redeem",
	} {
		c := all[name]
		id++
		c.ID = catalogue.CommandID{id}
		r := w.send(c)
		fmt.Fprintf(&results, "%s: %d %q %q %q %q\n", name, r.Index, r.Code, r.Detail, r.School, r.Role)
	}
	r := w.entry([]byte{1, 2, 3})
	fmt.Fprintf(&results, "garbage: %d %q %q\n", r.Index, r.Code, r.Detail)
	golden(t, "outcome/results", results.Bytes())
	golden(t, "outcome/snapshot", snapshot(t, w.s))
}

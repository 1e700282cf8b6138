package catalogue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

func TestARepeatedCommandIsAnsweredLikeTheFirst(t *testing.T) {
	w := newWorld(t)
	c := w.command(put(t, collection("maths")))
	first := w.send(c)
	w.must(put(t, catalogue.Collection{ID: "maths", Title: "Other"}))
	again := w.send(c)
	if !again.Repeat || again.Index != first.Index {
		t.Errorf("again = %+v, want a repeat of %d", again, first.Index)
	}
	if got := fetch[catalogue.Collection](w, "maths").Title; got != "Other" {
		t.Errorf("title = %q: the repeat was carried out", got)
	}
	no := w.command(put(t, resource("r", "nowhere")))
	refused := w.send(no)
	w.must(put(t, collection("nowhere")))
	again = w.send(no)
	refused.Repeat = true
	if diff := cmp.Diff(refused, again); diff != "" || again.Code != catalogue.CodeNotFound {
		t.Errorf("a refusal repeated (-first +again):\n%s", diff)
	}
}

func TestOnlySoManyCommandsAreRemembered(t *testing.T) {
	for _, size := range []int{1, 3, 100} {
		w := newWorld(t)
		s, err := catalogue.OpenOlder(w.store, 4)
		if err != nil {
			t.Fatal(err)
		}
		var entries []catalogue.Entry
		ids := []int{0, 1, 2, 3, 0, 4, 0, 1, 5, 6, 7, 8, 0}
		// The second 0 is a repeat; so is none after four others were carried out.
		want := []bool{4: true, 12: false}
		for i, n := range ids {
			c := w.command(put(t, catalogue.Collection{ID: "c", Title: fmt.Sprint(i)}))
			c.ID = catalogue.CommandID{1, byte(n)}
			p, err := catalogue.Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, catalogue.Entry{Index: uint64(i) + 1, Term: 1, Data: p})
		}
		for at := 0; at < len(entries); at += size {
			results, _, err := s.Apply(entries[at:min(at+size, len(entries))])
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				if r.Repeat != want[at+i] {
					t.Errorf("batches of %d: entry %d: repeat = %v", size, at+i, r.Repeat)
				}
			}
			if s, err = catalogue.OpenOlder(w.store, 4); err != nil { // what is in memory is what is on disk
				t.Fatal(err)
			}
		}
	}
}

func TestACommandIsCarriedOutWholeOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	w.enrol("box-1", lyon, keyA)
	w.must(put(t, collection("maths")), put(t, resource("r1", "maths")))
	count := catalogue.Op{Count: &catalogue.Count{Box: "box-1", Number: 1, Counts: []catalogue.Tally{{Key: "r/r1", N: 9}}}}
	w.refused(catalogue.CodeNotFound,
		put(t, collection("physics")), count, catalogue.NewDelete(catalogue.KindResource, "r1"),
		catalogue.NewDelete(catalogue.KindCollection, "none"))
	if w.alive(catalogue.KindPopularity, "r/r1") || w.alive(catalogue.KindContact, "box-1") {
		t.Error("a count of a refused command was kept")
	}
	w.must(catalogue.NewDelete(catalogue.KindResource, "r1"), catalogue.NewDelete(catalogue.KindCollection, "maths"))
	if w.alive(catalogue.KindCollection, "maths") {
		t.Error("operations of a command don't see one another")
	}
}

func TestWhatIsPutAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	first := w.must(put(t, collection("maths", lyon, brest)))
	w.must(put(t, collection("maths", brest, lyon, brest)))
	if len(w.last) != 0 {
		t.Errorf("records changed: %v", w.last)
	}
	if r, _ := w.record(catalogue.KindCollection, "maths"); r.Index != first.Index {
		t.Errorf("index = %d, want %d", r.Index, first.Index)
	}
	w.must(put(t, collection("maths")), put(t, collection("maths", lyon, brest)))
	w.must(put(t, collection("x")), catalogue.NewDelete(catalogue.KindCollection, "x"))
	if r, _ := w.record(catalogue.KindCollection, "maths"); r.Index != first.Index || r.AllFormer {
		t.Errorf("what was only in between counts: %+v", r)
	}
	if _, ok := w.record(catalogue.KindCollection, "x"); ok {
		t.Error("a mark is left of what nobody ever saw")
	}
}

func TestConditions(t *testing.T) {
	w := newWorld(t)
	at := func(op catalogue.Op, n uint64) catalogue.Op {
		if op.Put != nil {
			op.Put.If = &n
		} else {
			op.Delete.If = &n
		}
		return op
	}
	n := w.must(at(put(t, collection("a")), 0)).Index
	w.refused(catalogue.CodeConflict, at(put(t, collection("a", lyon)), 0))
	w.refused(catalogue.CodeConflict, at(put(t, collection("a", lyon)), n+1))
	m := w.must(at(put(t, collection("a", lyon)), n)).Index
	w.refused(catalogue.CodeConflict, at(catalogue.NewDelete(catalogue.KindCollection, "a"), n))
	w.must(at(catalogue.NewDelete(catalogue.KindCollection, "a"), m))
	w.refused(catalogue.CodeNotFound, catalogue.NewDelete(catalogue.KindCollection, "a"))
	w.must(catalogue.Op{Delete: &catalogue.Delete{Kind: catalogue.KindCollection, ID: "a", Missing: true}})
	w.must(at(put(t, collection("a")), 0))
}

func TestWhatCanNotBePut(t *testing.T) {
	box := catalogue.Box{Name: "box-1", School: lyon, SPKI: keyA, Enrolled: noon}
	good := resource("r", "c")
	with := func(change func(*catalogue.Resource)) catalogue.Fact {
		r := good
		change(&r)
		return r
	}
	many := make([]identity.School, catalogue.MaxAudience+1)
	for i := range many {
		many[i] = identity.School(fmt.Sprintf("%07dA", i))
	}
	nine := make([]block.Digest, 9)
	for i := range nine {
		nine[i] = block.Digest{byte(i + 1)}
	}
	tests := map[string]catalogue.Fact{
		"id with a slash":      collection("a/b"),
		"no id":                collection(""),
		"long id":              collection(strings.Repeat("a", catalogue.MaxIDBytes+1)),
		"long title":           catalogue.Collection{ID: "a", Title: strings.Repeat("a", catalogue.MaxTextBytes+1)},
		"line break in title":  catalogue.Collection{ID: "a", Title: "a\nb"},
		"school in small":      collection("a", "0690001a"),
		"no school's code":     collection("a", "lyon"),
		"too many schools":     collection("a", many...),
		"folder for filename":  with(func(r *catalogue.Resource) { r.Filename = ".." }),
		"slash in filename":    with(func(r *catalogue.Resource) { r.Filename = "../a" }),
		"backslash":            with(func(r *catalogue.Resource) { r.Filename = `a\b` }),
		"bell in filename":     with(func(r *catalogue.Resource) { r.Filename = "a\ab" }),
		"no filename":          with(func(r *catalogue.Resource) { r.Filename = "" }),
		"header in type":       with(func(r *catalogue.Resource) { r.ContentType = "a/b\r\nSet-Cookie: x" }),
		"no type":              with(func(r *catalogue.Resource) { r.ContentType = "pdf" }),
		"length below zero":    with(func(r *catalogue.Resource) { r.Length = -1 }),
		"absurd length":        with(func(r *catalogue.Resource) { r.Length = 1 << 62 }),
		"no digest":            with(func(r *catalogue.Resource) { r.SHA256 = block.Digest{} }),
		"a block too few":      with(func(r *catalogue.Resource) { r.Length = block.Size + 1 }),
		"other block":          with(func(r *catalogue.Resource) { r.Blocks = []block.Digest{{1}} }),
		"zero block":           with(func(r *catalogue.Resource) { r.Length = 2 * block.Size; r.Blocks = make([]block.Digest, 2) }),
		"manifest of little":   with(func(r *catalogue.Resource) { r.Manifest = block.Digest{1} }),
		"many blocks inline":   with(func(r *catalogue.Resource) { r.Length, r.Blocks = 9*block.Size, nine }),
		"no manifest":          with(func(r *catalogue.Resource) { r.Length, r.Blocks = 9*block.Size, nil }),
		"pin of nothing":       catalogue.Pin{ID: "p"},
		"pin of both":          catalogue.Pin{ID: "p", Resource: "a", Collection: "b"},
		"pin ends first":       catalogue.Pin{ID: "p", Resource: "a", From: noon, Until: noon},
		"purge of no scope":    catalogue.Purge{ID: "p", Site: "s"},
		"purge without mark":   catalogue.Purge{ID: "p", Scope: catalogue.ScopeExact, Site: "s"},
		"purge of too much":    catalogue.Purge{ID: "p", Scope: catalogue.ScopeSite, Site: "s", Target: "t"},
		"purge of no target":   catalogue.Purge{ID: "p", Scope: catalogue.ScopeResource},
		"box in capitals":      catalogue.Box{Name: "BOX", School: lyon, SPKI: keyA, Enrolled: noon},
		"box without key":      catalogue.Box{Name: "box", School: lyon, Enrolled: noon},
		"box without school":   catalogue.Box{Name: "box", SPKI: keyA, Enrolled: noon},
		"server without port":  catalogue.Server{Name: "s1", Address: "host"},
		"server on port 0":     catalogue.Server{Name: "s1", Address: "host:0"},
		"server on port 65536": catalogue.Server{Name: "s1", Address: "host:65536"},
		"half an IPv6":         catalogue.Server{Name: "s1", Address: "[::1:443"},
		"unknown role":         catalogue.Revocation{Role: "king", Name: "a"},
		"rate below zero":      catalogue.Policy{PrefetchRate: -1},
		"hour 25":              catalogue.Policy{PrefetchHours: []catalogue.Hours{{From: 0, To: 1441}}},
		"hint of nothing":      catalogue.Hints{Keys: []catalogue.Hint{{Key: "x"}}},
		"unsealed authority":   catalogue.Authority{CA: []byte("ca")},
		"box token, no school": catalogue.Token{ID: "t", SecretHash: hash, Role: identity.Box, NotAfter: noon},
		"server token, school": catalogue.Token{ID: "t", SecretHash: hash, Role: identity.Server, School: lyon, NotAfter: noon},
		"token without end":    catalogue.Token{ID: "t", SecretHash: hash, Role: identity.Server},
		"used token":           catalogue.Token{ID: "t", SecretHash: hash, Role: identity.Server, NotAfter: noon, UsedBy: "me"},
		"popularity":           catalogue.Popularity{Key: "r/a", Sum: 1},
		"contact":              catalogue.Contact{Box: "box-1", At: noon},
		"region without id":    catalogue.Region{Name: "x"},
	}
	w := newWorld(t)
	w.must(put(t, collection("c")), put(t, box), put(t, good))
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.refused(catalogue.CodeInvalid, put(t, f))
			if _, err := catalogue.NewPut(f); err == nil && name != "used token" {
				t.Error("NewPut lets it through")
			}
		})
	}
	w.t = t
	other := put(t, good)
	other.Put.ID = "other"
	w.refused(catalogue.CodeInvalid, other)
	unknown := put(t, good)
	unknown.Put.Kind = 99
	w.refused(catalogue.CodeInvalid, unknown)
	long := put(t, good)
	long.Put.Body = append(long.Put.Body, 0)
	w.refused(catalogue.CodeInvalid, long)
	for _, f := range []catalogue.Fact{collection("c", lyon, brest), collection("c", lyon, lyon), with(func(r *catalogue.Resource) { r.Modified = noon.Add(1) })} {
		body, err := catalogue.EncodeAny(f)
		if err != nil {
			t.Fatal(err)
		}
		w.refused(catalogue.CodeInvalid, catalogue.Op{Put: &catalogue.Put{Kind: f.Kind(), ID: f.RecordID(), Body: body}})
	}
	huge := put(t, good)
	huge.Put.Body = make([]byte, catalogue.MaxRecordBytes+1)
	w.refused(catalogue.CodeInvalid, huge)
}

func TestWhatIsNamedMustBeThere(t *testing.T) {
	w := newWorld(t)
	for _, f := range []catalogue.Fact{
		resource("r", "none"),
		catalogue.Subscription{ID: "s", Collection: "none"},
		catalogue.Pin{ID: "p", Resource: "none"},
		catalogue.Pin{ID: "p", Collection: "none"},
	} {
		w.refused(catalogue.CodeNotFound, put(t, f))
	}
}

func TestARegionStaysWhatItIs(t *testing.T) {
	w := newWorld(t)
	if _, ok, err := w.view().Region(); ok || err != nil {
		t.Errorf("a region before there is one: %v, %v", ok, err)
	}
	region := catalogue.Region{ID: "0123456789abcdef", Name: "Rhône", Epoch: 2}
	w.must(put(t, region))
	other := region
	other.ID = "fedcba9876543210"
	w.refused(catalogue.CodeConflict, put(t, other))
	region.Epoch = 1
	w.refused(catalogue.CodeConflict, put(t, region))
	region.Epoch = 3
	w.must(put(t, region))
	w.refused(catalogue.CodeInvalid, catalogue.NewDelete(catalogue.KindRegion, catalogue.RegionID))
	if got, ok, err := w.view().Region(); !ok || err != nil || got.Epoch != 3 {
		t.Errorf("region = %+v, %v, %v", got, ok, err)
	}
}

func TestAudience(t *testing.T) {
	const vis, gone, hid = catalogue.Visible, catalogue.Gone, catalogue.Hidden
	w := newWorld(t)
	see := func(k catalogue.Kind, id string, want ...catalogue.Sight) {
		t.Helper()
		for i, s := range []identity.School{lyon, brest, nantes} {
			if got := w.sight(k, id, s); got != want[i] {
				t.Errorf("%s sees of %s %s: %d, want %d", s, k, id, got, want[i])
			}
		}
	}
	const c, r = catalogue.KindCollection, catalogue.KindResource
	w.must(put(t, collection("c", lyon, brest)), put(t, resource("own", "c", nantes)), put(t, resource("inherits", "c")))
	see(c, "c", vis, vis, hid)
	see(r, "own", hid, hid, vis)
	see(r, "inherits", vis, vis, hid)
	w.must(put(t, collection("c", brest)))
	if len(w.last) != 2 || w.last[0].ID != "c" || w.last[1].ID != "inherits" {
		t.Errorf("changed: %+v", w.last)
	}
	see(r, "inherits", gone, vis, hid)
	see(r, "own", hid, hid, vis)
	w.must(put(t, collection("c", nantes)))
	see(r, "inherits", gone, gone, vis)
	w.must(put(t, collection("c")))
	see(r, "inherits", vis, vis, vis)
	w.must(put(t, collection("c", nantes)))
	see(r, "inherits", gone, gone, vis)
	w.must(catalogue.NewDelete(r, "own"))
	see(r, "own", hid, hid, gone)
	w.must(put(t, resource("own", "c", lyon)))
	see(r, "own", vis, hid, gone)

	w.must(put(t, collection("d", lyon)))
	w.must(put(t, resource("inherits", "d")))
	see(r, "inherits", vis, gone, gone)
	w.must(put(t, collection("c", lyon)))
	if len(w.last) != 1 {
		t.Errorf("a resource that left its collection follows it still: %+v", w.last)
	}

	w.enrol("box-1", lyon, keyA)
	see(catalogue.KindBox, "box-1", vis, hid, hid)
	see(catalogue.KindToken, "t-box-1", hid, hid, hid)
	w.must(put(t, catalogue.Revocation{Role: identity.Box, Name: "box-1"}))
	see(catalogue.KindRevocation, catalogue.RevocationID(identity.Box, "box-1"), vis, hid, hid)
	w.must(put(t, catalogue.Revocation{Role: identity.Server, Name: "s1"}))
	see(catalogue.KindRevocation, catalogue.RevocationID(identity.Server, "s1"), vis, vis, vis)
	w.must(put(t, catalogue.Policy{School: brest}), put(t, catalogue.Policy{}))
	see(catalogue.KindPolicy, string(brest), hid, vis, hid)
	see(catalogue.KindPolicy, "", vis, vis, vis)
	w.must(put(t, catalogue.Pin{ID: "p", Resource: "own", Schools: []identity.School{nantes}}))
	see(catalogue.KindPin, "p", hid, hid, vis)
	w.must(put(t, catalogue.Subscription{ID: "s", School: lyon, Collection: "c"}))
	see(catalogue.KindSubscription, "s", vis, hid, hid)
}

func TestFormerSchoolsAreBounded(t *testing.T) {
	w := newWorld(t)
	batch := func(from int) []identity.School {
		s := make([]identity.School, catalogue.MaxAudience)
		for i := range s {
			s[i] = identity.School(fmt.Sprintf("%07dA", from+i))
		}
		return s
	}
	w.must(put(t, collection("c", batch(0)...)))
	w.must(put(t, collection("c", batch(5000)...)))
	if r, _ := w.record(catalogue.KindCollection, "c"); len(r.Former) != catalogue.MaxAudience || r.AllFormer {
		t.Errorf("former = %d, all = %v", len(r.Former), r.AllFormer)
	}
	w.must(put(t, collection("c", lyon)))
	if r, _ := w.record(catalogue.KindCollection, "c"); len(r.Former) != 0 || !r.AllFormer {
		t.Errorf("former = %d, all = %v", len(r.Former), r.AllFormer)
	}
}

func TestDeletingTakesAlongWhatCanNotBeWithout(t *testing.T) {
	w := newWorld(t)
	w.must(put(t, collection("c")), put(t, resource("r1", "c")), put(t, resource("r2", "c")))
	w.must(put(t, catalogue.Pin{ID: "p1", Resource: "r1"}), put(t, catalogue.Pin{ID: "p2", Resource: "r2"}),
		put(t, catalogue.Pin{ID: "pc", Collection: "c"}), put(t, catalogue.Subscription{ID: "s", Collection: "c"}))
	r := w.refused(catalogue.CodeConflict, catalogue.NewDelete(catalogue.KindCollection, "c"))
	if !strings.Contains(r.Detail, "2 resources") {
		t.Errorf("detail = %q", r.Detail)
	}
	n := w.must(catalogue.NewDelete(catalogue.KindResource, "r1")).Index
	if len(w.last) != 2 || w.last[0].Index != n || w.last[1].Index != n || w.last[1].ID != "p1" {
		t.Errorf("changed: %+v", w.last)
	}
	w.must(catalogue.NewDelete(catalogue.KindResource, "r2"), catalogue.NewDelete(catalogue.KindCollection, "c"))
	if got := w.view().Counts(); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	if got := len(w.changes(0)); got != 7 {
		t.Errorf("%d marks, want 7", got)
	}
}

func TestPurges(t *testing.T) {
	w := newWorld(t)
	w.must(put(t, collection("c")), put(t, resource("r1", "c")), put(t, resource("r2", "c")), put(t, resource("r3", "c")))
	w.must(put(t, catalogue.Purge{ID: "p1", Scope: catalogue.ScopeResource, Target: "r1"}))
	if w.alive(catalogue.KindResource, "r1") || !w.alive(catalogue.KindResource, "r2") {
		t.Error("the purge of a resource does not delete that one alone")
	}
	if by := fetch[catalogue.Purge](w, "p1").By; by != "operator/anne" {
		t.Errorf("by = %q", by)
	}
	w.must(put(t, resource("r1", "c")))
	w.must(put(t, catalogue.Purge{ID: "p1", Scope: catalogue.ScopeResource, Target: "r1"}))
	if !w.alive(catalogue.KindResource, "r1") {
		t.Error("a purge put again purges again")
	}
	w.must(put(t, catalogue.Purge{ID: "p2", Scope: catalogue.ScopeCollection, Target: "c", By: "operator/bob"}))
	if got, want := w.view().Counts(), (map[catalogue.Kind]uint64{catalogue.KindPurge: 2}); !cmp.Equal(got, want) {
		t.Errorf("counts = %v, want %v", got, want)
	}
	if by := fetch[catalogue.Purge](w, "p2").By; by != "operator/bob" {
		t.Errorf("by = %q", by)
	}
	w.must(put(t, catalogue.Purge{ID: "p3", Scope: catalogue.ScopeTag, Site: "wiki", Mark: [8]byte{1}}))
	w.must(put(t, catalogue.Purge{ID: "p4", Scope: catalogue.ScopeResource, Target: "gone-long-ago"}))
}

func TestRedeem(t *testing.T) {
	w := newWorld(t)
	w.must(put(t, token("t1", lyon)), put(t, token("t2", lyon)), put(t, token("t3", lyon)))
	w.refused(catalogue.CodeTokenUnknown, redeem("t9", "box-1", keyA))
	wrong := redeem("t1", "box-1", keyA)
	wrong.Redeem.SecretHash[0]++
	w.refused(catalogue.CodeTokenUnknown, wrong)
	w.refused(catalogue.CodeInvalid, redeem("t1", "Box 1", keyA))
	w.refused(catalogue.CodeInvalid, redeem("t1", "box-1", [32]byte{}))
	r := w.must(redeem("t1", "box-1", keyA))
	if r.School != lyon || r.Role != identity.Box {
		t.Errorf("result = %+v", r)
	}
	want := catalogue.Box{Name: "box-1", School: lyon, SPKI: keyA, Enrolled: noon}
	if diff := cmp.Diff(want, fetch[catalogue.Box](w, "box-1")); diff != "" {
		t.Error(diff)
	}
	if !w.alive(catalogue.KindSchool, string(lyon)) {
		t.Error("the school was not entered")
	}
	w.refused(catalogue.CodeTokenUsed, put(t, token("t1", lyon)))
	w.refused(catalogue.CodeTokenUsed, redeem("t1", "box-1", keyB))
	w.refused(catalogue.CodeTokenUsed, redeem("t1", "box-2", keyA))
	w.refused(catalogue.CodeNameTaken, redeem("t2", "box-1", keyB))

	w.now = noon.Add(time.Hour)
	if again := w.must(redeem("t1", "box-1", keyA)); again.School != lyon || again.Role != identity.Box || len(w.last) != 0 {
		t.Errorf("the same again: %+v, changed %+v", again, w.last)
	}
	w.refused(catalogue.CodeTokenExpired, redeem("t2", "box-2", keyB))
	w.now = noon

	w.must(put(t, catalogue.Revocation{Role: identity.Box, Name: "box-1"}))
	w.refused(catalogue.CodeRevoked, redeem("t1", "box-1", keyA))
	w.refused(catalogue.CodeRevoked, redeem("t2", "box-1", keyA))
	w.refused(catalogue.CodeRevoked, catalogue.Op{Rekey: &catalogue.Rekey{Box: "box-1", Role: identity.Box, SPKI: keyB}})
	w.must(catalogue.NewDelete(catalogue.KindRevocation, catalogue.RevocationID(identity.Box, "box-1")))
	w.must(redeem("t1", "box-1", keyA))
	w.must(redeem("t2", "box-1", keyA))
	w.must(catalogue.NewDelete(catalogue.KindBox, "box-1"))
	w.refused(catalogue.CodeTokenUsed, redeem("t1", "box-1", keyA))
	w.must(redeem("t3", "box-1", keyB))
}

func TestRedeemingServersAndOperators(t *testing.T) {
	w := newWorld(t)
	server := catalogue.Token{ID: "ts", SecretHash: hash, Role: identity.Server, NotAfter: noon.Add(time.Hour)}
	operator := server
	operator.ID, operator.Role = "to", identity.Operator
	w.must(put(t, server), put(t, operator))
	if r := w.must(redeem("ts", "s1", keyA)); r.Role != identity.Server || r.School != "" {
		t.Errorf("result = %+v", r)
	}
	w.must(put(t, catalogue.Server{Name: "s1", Address: "s1.example.org:4433"}))
	w.must(redeem("ts", "s1", keyA))
	server.ID = "ts2"
	w.must(put(t, server))
	w.refused(catalogue.CodeNameTaken, redeem("ts2", "s1", keyB))
	w.must(redeem("ts2", "s2", keyB))
	if r := w.must(redeem("to", "anne", keyA)); r.Role != identity.Operator {
		t.Errorf("result = %+v", r)
	}
	if n := w.view().Counts()[catalogue.KindBox]; n != 0 {
		t.Errorf("%d boxes", n)
	}
}

func TestRekey(t *testing.T) {
	w := newWorld(t)
	w.refused(catalogue.CodeNotFound, catalogue.Op{Rekey: &catalogue.Rekey{Box: "box-1", Role: identity.Box, SPKI: keyB}})
	w.enrol("box-1", lyon, keyA)
	r := w.must(catalogue.Op{Rekey: &catalogue.Rekey{Box: "box-1", Role: identity.Box, SPKI: keyB}})
	if got := fetch[catalogue.Box](w, "box-1").SPKI; got != keyB || r.School != lyon || r.Role != identity.Box {
		t.Errorf("key = %x, result = %+v", got, r)
	}
	w.refused(catalogue.CodeTokenUsed, redeem("t-box-1", "box-1", keyA))
	w.must(catalogue.Op{Rekey: &catalogue.Rekey{Box: "s1", Role: identity.Server, SPKI: keyB}})
	w.must(put(t, catalogue.Revocation{Role: identity.Server, Name: "s1"}))
	w.refused(catalogue.CodeRevoked, catalogue.Op{Rekey: &catalogue.Rekey{Box: "s1", Role: identity.Server, SPKI: keyB}})
}

package outbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/block"
	"preau/replication/hold"
)

func offered(t interface{ Fatal(...any) }, body []byte) []byte {
	d, err := describe(Words{Filename: "leçon.pdf", Title: "T", Collection: "6e B"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := hold.EncodeList([]hold.Entry{{Digest: block.Sum(body), Length: len(body)}})
	if err != nil {
		t.Fatal(err)
	}
	d.Length, d.SHA256, d.List, d.Nonce = int64(len(body)), block.Sum(body), block.Sum(list), 7
	d.ID = idOf(&d)
	raw, err := EncodeOffer(d, list)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What another box offers never does more than be refused, and what is taken is
// what it calls itself.
func FuzzOffer(f *testing.F) {
	whole := offered(f, []byte("abc"))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{0xa2, 1, 0xa0, 2, 0x40})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, list, err := DecodeOffer(raw)
		if err != nil {
			return
		}
		entries, err := checkOffer(&d, list)
		if err != nil {
			return
		}
		sum := int64(0)
		for _, e := range entries {
			sum += int64(e.Length)
		}
		if id, err := hex.DecodeString(d.ID[len(idPrefix):]); err != nil || len(id) != idBytes || sum != d.Length || d.State != OnBox || d.From != "" || d.As != "" || d.Held != nil || d.Bucket != "" {
			t.Errorf("%+v of %d bytes", d, sum)
		}
		again, err := EncodeOffer(d, list)
		if err != nil {
			t.Fatal(err)
		}
		e, second, err := DecodeOffer(again)
		if err != nil || !e.Same(&d) || e.ID != d.ID || !bytes.Equal(second, list) {
			t.Errorf("%+v is read as %+v, %v", d, e, err)
		}
	})
}

// What is known of guests is read from a disk that may lie.
func FuzzGuest(f *testing.F) {
	d, list, err := DecodeOffer(offered(f, []byte("abc")))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := checkOffer(&d, list); err != nil {
		f.Fatal(err)
	}
	raw, err := encode(guest{Deposit: d})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte{0xa1, 1, 0xa0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := decodeGuest(raw)
		if err != nil {
			return
		}
		if g.Deposit.State != OnBox || !g.Deposit.Here || g.Deposit.Length < 0 || g.Deposit.Filename == "" {
			t.Errorf("%+v", g)
		}
		if _, err := decodeDeposit(raw); err != nil {
			return // never a panic
		}
	})
}

func TestAnIDIsMadeOfAllThatIsSaid(t *testing.T) {
	d, _, err := DecodeOffer(offered(t, []byte("abc")))
	if err != nil || !bound(&d) {
		t.Fatalf("%+v, %v", d, err)
	}
	for name, change := range map[string]func(d *Deposit){
		"name": func(d *Deposit) { d.Filename += "x" }, "type": func(d *Deposit) { d.ContentType = "text/html" },
		"title": func(d *Deposit) { d.Title = "" }, "description": func(d *Deposit) { d.Description = "x" },
		"collection": func(d *Deposit) { d.Collection = "6e" }, "time": func(d *Deposit) { d.At = d.At.Add(1e6) },
		"length": func(d *Deposit) { d.Length++ }, "sum": func(d *Deposit) { d.SHA256[3]++ }, "list": func(d *Deposit) { d.List[3]++ },
		"nonce": func(d *Deposit) { d.Nonce++ }, "no nonce": func(d *Deposit) { d.Nonce = 0 },
		"what goes where": func(d *Deposit) { d.Title, d.Description = "", "T" },
	} {
		e := d
		if change(&e); bound(&e) {
			t.Errorf("another %s has the same id", name)
		}
	}
}

// A name that is made of nonsense is still nonsense.
func TestAnOfferMustMakeSense(t *testing.T) {
	whole, list, err := DecodeOffer(offered(t, []byte("abc")))
	if err != nil {
		t.Fatal(err)
	}
	if d := whole; len(list) == 0 {
		t.Error("no list")
	} else if entries, err := checkOffer(&d, list); err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	other := func(d *Deposit, entries ...hold.Entry) []byte {
		list, err := hold.EncodeList(entries)
		if err != nil {
			t.Fatal(err)
		}
		d.List = block.Sum(list)
		return list
	}
	for name, change := range map[string]func(d *Deposit) []byte{
		"a path for a name":   func(d *Deposit) []byte { d.Filename = "../x"; return list },
		"no name":             func(d *Deposit) []byte { d.Filename = ""; return list },
		"no media type":       func(d *Deposit) []byte { d.ContentType = ""; return list },
		"a field for a type":  func(d *Deposit) []byte { d.ContentType = "text/html; a=\"\r\nX: y\""; return list },
		"a line in the title": func(d *Deposit) []byte { d.Title = "a\nb"; return list },
		"a long collection":   func(d *Deposit) []byte { d.Collection = strings.Repeat("a", maxCollection+1); return list },
		"no letters":          func(d *Deposit) []byte { d.Description = "\xff"; return list },
		"less than nothing":   func(d *Deposit) []byte { d.Length = -1; return list },
		"too much":            func(d *Deposit) []byte { d.Length = MaxSize + 1; return list },
		"a time before all":   func(d *Deposit) []byte { d.At = time.Unix(-1, 0); return list },
		"blocks of nothing":   func(d *Deposit) []byte { d.Length, d.SHA256 = 0, block.Sum(nil); return list },
		"another list":        func(*Deposit) []byte { return append(bytes.Clone(list), 1) },
		"more than its blocks": func(d *Deposit) []byte {
			return other(d, hold.Entry{Digest: block.Digest{1}, Length: block.Size}, hold.Entry{Digest: block.Digest{2}, Length: 2})
		},
		"two lengths of one": func(d *Deposit) []byte {
			return other(d, hold.Entry{Digest: block.Digest{1}, Length: 1}, hold.Entry{Digest: block.Digest{1}, Length: 2})
		},
	} {
		d := whole
		list := change(&d)
		d.ID = idOf(&d)
		if _, err := checkOffer(&d, list); !errors.Is(err, ErrOffer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetricsAreAsTheyShouldBe(t *testing.T) {
	reg := prometheus.NewRegistry()
	o, err := Open(Config{Dir: t.TempDir(), ReserveBytes: 1}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	problems, err := testutil.GatherAndLint(reg, "preau_outbox_alone", "preau_outbox_copies_total", "preau_outbox_copied_bytes_total",
		"preau_outbox_guests", "preau_outbox_guest_bytes", "preau_outbox_taken_over_total", "preau_outbox_bytes")
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg, "preau_outbox_copies_total"); err != nil || n != 3 {
		t.Errorf("%d results of copies are told from the start, %v", n, err)
	}
}

package message_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns/message"
)

// wire puts bytes together: numbers below 256 and texts.
func wire(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			out = append(out, byte(p))
		case string:
			out = append(out, p...)
		case []byte:
			out = append(out, p...)
		}
	}
	return out
}

func header(response bool, counts ...int) []byte {
	out := make([]byte, 12)
	if response {
		out[2] = 0x84
	}
	for i, n := range counts {
		out[4+2*i], out[5+2*i] = byte(n>>8), byte(n)
	}
	return out
}

func TestAMessageIsRead(t *testing.T) {
	b := wire(header(true, 1, 2, 0, 1),
		5, "preau", 5, "local", 0, 0, 1, 0x80, 1, // at 12: A, unicast wanted
		// A printer with a dot in its name is no reason to be deaf to the rest.
		7, "L1.2\\ü", 6, "_preau", 4, "_tcp", 0xc0, 18, 0, 33, 0x80, 1, 0, 0, 0, 120, 0, 10, 0, 0, 0, 0, 0x11, 0x51, 1, "h", 0xc0, 18,
		0xc0, 29+8, 0, 16, 0, 1, 0, 0, 0, 0, 0, 5, 3, "a=b", 0,
		1, "h", 0xc0, 18, 0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 10, 1, 2, 3)
	m, err := message.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if q := m.Questions[0]; !m.Response || q.Name != "preau.local" || !q.Unicast || q.Class != message.IN || q.Type != message.A {
		t.Errorf("question is %+v", q)
	}
	srv := m.Answers[0]
	if srv.Name != `L1\.2\\ü._preau._tcp.local` || srv.Target != "h.local" || srv.Port != 4433 || !srv.Flush || srv.TTL != 120 {
		t.Errorf("SRV is %+v", srv)
	}
	if got, ok := message.Below(srv.Name, "_Preau._tcp.local"); !ok || got != `L1.2\ü` {
		t.Errorf("instance is %q, %v", got, ok)
	}
	if got := m.Answers[1].Text; !slices.Equal(got, []string{"a=b", ""}) {
		t.Errorf("TXT is %q", got)
	}
	if a, ok := m.Additional[0].Addr(); !ok || a.String() != "10.1.2.3" {
		t.Errorf("A is %v", a)
	}
}

func TestWhatIsNoMessageIsAnError(t *testing.T) {
	long := wire(header(false, 1))
	for range 5 {
		long = wire(long, 63, strings.Repeat("x", 63))
	}
	opcode := header(false)
	opcode[2] = 0x08
	rcode := header(true)
	rcode[3] = 3
	tests := map[string][]byte{
		"nothing":                    nil,
		"half a header":              make([]byte, 11),
		"too long":                   make([]byte, message.MaxSize+1),
		"another opcode":             opcode,
		"a response code":            rcode,
		"no question":                header(false, 1),
		"too many records":           header(false, 300, 300),
		"a label beyond the end":     wire(header(false, 1), 9, "preau"),
		"no end of the name":         wire(header(false, 1), 5, "preau"),
		"half a question":            wire(header(false, 1), 5, "preau", 0, 0, 1),
		"a pointer to itself":        wire(header(false, 1), 0xc0, 12, 0, 1, 0, 1),
		"a pointer forward":          wire(header(false, 1), 0xc0, 14, 0, 0, 1, 0, 1),
		"a pointer into the header":  wire(header(false, 1), 0xc0, 4, 0, 1, 0, 1),
		"half a pointer":             wire(header(false, 1), 0xc0),
		"two pointers in a circle":   wire(header(false, 2), 1, "a", 0xc0, 16, 0xc0, 12, 0, 1, 0, 1),
		"a label of another kind":    wire(header(false, 1), 0x41, "x", 0, 0, 1, 0, 1),
		"a name of 320 bytes":        wire(long, 0, 0, 1, 0, 1),
		"an A of 3 bytes":            wire(header(true, 0, 1), 1, "h", 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 3, 1, 2, 3),
		"an AAAA of 4 bytes":         wire(header(true, 0, 1), 1, "h", 0, 0, 28, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4),
		"data beyond the end":        wire(header(true, 0, 1), 1, "h", 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3),
		"a text beyond its record":   wire(header(true, 0, 1), 1, "h", 0, 0, 16, 0, 1, 0, 0, 0, 1, 0, 2, 5, "x", "yyyyy"),
		"more data than a PTR's":     wire(header(true, 0, 1), 1, "h", 0, 0, 12, 0, 1, 0, 0, 0, 1, 0, 3, 0, 0, 0),
		"an SRV without a host":      wire(header(true, 0, 1), 1, "h", 0, 0, 33, 0, 1, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 1, 1),
		"a target beyond its record": wire(header(true, 0, 1), 1, "h", 0, 0, 12, 0, 1, 0, 0, 0, 1, 0, 2, 3, "abc", 0),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if m, err := message.Parse(b); !errors.Is(err, message.ErrMalformed) {
				t.Errorf("Parse = %+v, %v", m, err)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	tests := []struct {
		name, parent, want string
		ok                 bool
	}{
		{"preau.local", "local", "preau", true},
		{"PREAU.LOCAL", "local", "PREAU", true},
		{"a.preau.local", "local", "", false},
		{`a\.preau.local`, "local", "a.preau", true},
		{`a\.local`, "local", "", false},
		{`a\\.local`, "local", `a\`, true},
		{"local", "local", "", false},
		{".local", "local", "", false},
		{"xlocal", "local", "", false},
		{"", "local", "", false},
	}
	for _, tt := range tests {
		if got, ok := message.Below(tt.name, tt.parent); got != tt.want || ok != tt.ok {
			t.Errorf("Below(%q, %q) = %q, %v", tt.name, tt.parent, got, ok)
		}
	}
}

func TestOnlyLettersOfASCIIHaveTwoForms(t *testing.T) {
	if !message.Same("Préau.LOCAL", "préau.local") {
		t.Error("case matters")
	}
	if message.Same("PRÉAU", "préau") || message.Same("\u212a", "k") {
		t.Error("letters outside ASCII were folded")
	}
}

// FuzzParse holds what is read against another reader, where both can read it.
func FuzzParse(f *testing.F) {
	f.Add(wire(header(false, 1), 5, "preau", 5, "local", 0, 0, 1, 0x80, 1))
	f.Add(wire(header(true, 0, 1), 1, "h", 0, 0, 33, 0x80, 1, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0, 1, 1, 1, "x", 0))
	f.Add(wire(header(true, 0, 2), 1, "h", 0, 0, 12, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, 2, 1, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := message.Parse(b)
		if err != nil {
			if !errors.Is(err, message.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		var other dnsmessage.Message
		if other.Unpack(b) != nil {
			return
		}
		if len(other.Questions) != len(m.Questions) || len(other.Answers) != len(m.Answers) ||
			len(other.Authorities) != len(m.Authority) || len(other.Additionals) != len(m.Additional) {
			t.Fatalf("%+v is not %+v", m, other)
		}
		same := func(ours string, theirs dnsmessage.Name) {
			// Ours has backslashes before backslashes, and no dot at the end.
			if ours+"." != strings.ReplaceAll(theirs.String(), `\`, `\\`) && (ours != "" || theirs.String() != ".") {
				t.Fatalf("name %q is not %q", ours, theirs)
			}
		}
		for i, q := range other.Questions {
			same(m.Questions[i].Name, q.Name)
		}
		for i, section := range [][]dnsmessage.Resource{other.Answers, other.Authorities, other.Additionals} {
			for j, rr := range section {
				ours := [][]message.Record{m.Answers, m.Authority, m.Additional}[i][j]
				same(ours.Name, rr.Header.Name)
				switch body := rr.Body.(type) {
				case *dnsmessage.PTRResource:
					same(ours.Target, body.PTR)
				case *dnsmessage.SRVResource:
					same(ours.Target, body.Target)
					if ours.Port != body.Port {
						t.Fatalf("port %d is not %d", ours.Port, body.Port)
					}
				case *dnsmessage.TXTResource:
					if !slices.Equal(ours.Text, body.TXT) {
						t.Fatalf("text %q is not %q", ours.Text, body.TXT)
					}
				}
			}
		}
	})
}

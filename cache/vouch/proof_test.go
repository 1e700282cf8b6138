package vouch_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/vouch"
)

// seal signs with the digest of what it signs, and believes that.
type seal struct{ err error }

func (s seal) Sign(text []byte) ([]byte, error) {
	sum := sha256.Sum256(text)
	return sum[:], s.err
}

func (s seal) Check(text, sig []byte, at time.Time) error {
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], sig) || at.IsZero() {
		return vouch.ErrForged
	}
	return s.err
}

func statement(change ...func(*vouch.Statement)) vouch.Statement {
	s := vouch.Statement{
		Site: "wiki", Name: [32]byte{1}, KeyID: 2, VaryNames: []string{"Accept"}, VaryKey: "Accept -\n", Status: 200,
		Header: http.Header{"Etag": {`"é"`}}, Length: 3<<20 + 1, List: [32]byte{3}, At: 1_800_000_000,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func TestWhatIsProvenIsRead(t *testing.T) {
	want := statement()
	b, err := vouch.Prove(want, seal{})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	vouch.SetProof(h, b)
	if !vouch.AskedProof(h) || vouch.Asked(h) {
		t.Errorf("the head is %v", h)
	}
	got, err := vouch.Proven(vouch.ProofOf(h), seal{})
	got.Purpose = ""
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || got.Time().Year() != 2027 {
		t.Errorf("%+v, %v", got, err)
	}
	vouch.Strip(h)
	if len(h) > 0 || vouch.ProofOf(h) != nil {
		t.Errorf("left: %v", h)
	}
}

func TestWhatCannotBeProven(t *testing.T) {
	broken := errors.New("broken")
	if _, err := vouch.Prove(statement(), seal{broken}); !errors.Is(err, broken) {
		t.Errorf("a signer that fails: %v", err)
	}
	for name, change := range map[string]func(*vouch.Statement){
		"a long body":   func(s *vouch.Statement) { s.Length = vouch.MaxProvenBlocks*block.Size + 1 },
		"a large head":  func(s *vouch.Statement) { s.Header.Set("X", strings.Repeat("x", vouch.MaxProof)) },
		"a large place": func(s *vouch.Statement) { s.VaryKey = strings.Repeat("x", vouch.MaxProof) },
	} {
		if _, err := vouch.Prove(statement(change), seal{}); !errors.Is(err, vouch.ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoProofIsRefused(t *testing.T) {
	for name, change := range map[string]func(*vouch.Statement){
		"no status":   func(s *vouch.Statement) { s.Status = 99 },
		"no length":   func(s *vouch.Statement) { s.Length = -1 },
		"no header":   func(s *vouch.Statement) { s.Header = nil },
		"far too big": func(s *vouch.Statement) { s.Status = 600 },
	} {
		b, err := vouch.Prove(statement(change), seal{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vouch.Proven(b, seal{}); !errors.Is(err, vouch.ErrOther) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := vouch.Prove(statement(), seal{})
	if err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	if _, err := vouch.Proven(b, seal{mine}); !errors.Is(err, mine) {
		t.Errorf("the checker's error: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "a number": {1}, "no statement": {0xa1, 2, 0x41, 0}, "too much": make([]byte, vouch.MaxProof+1), "the end is missing": b[:len(b)-1],
	} {
		if _, err := vouch.Proven(b, seal{}); !errors.Is(err, vouch.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "not encoded": "!", "too long": strings.Repeat("A", 3*vouch.MaxProof)} {
		if b := vouch.ProofOf(http.Header{vouch.Body: {vouch.Proof}, vouch.Signed: {text}}); b != nil {
			t.Errorf("a field that is %s is read as %d bytes", name, len(b))
		}
	}
}

func TestAPartOfAList(t *testing.T) {
	const length = 3*block.Size + 5
	digests := []block.Digest{{1}, {2}, {3}, {4}}
	list, err := vouch.List(length, digests)
	if err != nil || len(list) != vouch.ListLen(length) {
		t.Fatalf("%d bytes, %v", len(list), err)
	}
	s := statement(func(s *vouch.Statement) { s.Length, s.List = length, sha256.Sum256(list) })
	if !s.Lists(list) || s.Lists(list[:len(list)-36]) || s.Lists(append([]byte{1}, list[1:]...)) {
		t.Error("the list that is meant is not told from others")
	}
	for _, n := range []int{0, 3} {
		if _, err := vouch.List(length, digests[:n]); err == nil {
			t.Errorf("a list of %d digests", n)
		}
	}
	for _, tt := range []struct {
		from, to int64
		want     []block.Digest
	}{
		{0, length, digests},
		{0, 1, digests[:1]},
		{block.Size, 2 * block.Size, digests[1:2]},
		{block.Size, 2*block.Size + 1, digests[1:3]},
		{3 * block.Size, length, digests[3:]},
		{0, 0, nil},
		{9 * block.Size, 10 * block.Size, nil},
	} {
		r := vouch.Part(list, tt.from, tt.to)
		var got []block.Digest
		for {
			e, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
			got = append(got, e.Digest)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%d to %d: %v", tt.from, tt.to, got)
		}
	}
}

func FuzzProven(f *testing.F) {
	b, err := vouch.Prove(statement(), seal{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xa2, 1, 0x41, 0, 2, 0x41, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := vouch.Proven(b, seal{})
		if err == nil && (s.Length < 0 || s.Header == nil) {
			t.Errorf("%+v", s)
		}
	})
}

package consensus

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func framed(tb testing.TB, p position, parts ...[]byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := newFrameWriter(&b, p)
	if err != nil {
		tb.Fatal(err)
	}
	for _, part := range parts {
		if n, err := w.Write(part); n != len(part) || err != nil {
			tb.Fatal(n, err)
		}
	}
	if err := w.finish(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func unframe(b []byte) (position, []byte, error) {
	r, err := newFrameReader(bytes.NewReader(b))
	if err != nil {
		return position{}, nil, err
	}
	out, err := io.ReadAll(r)
	return r.position, out, err
}

func TestFrameGivesBackWhatWasWritten(t *testing.T) {
	at := position{cluster: "lyon", index: 7, term: 2, reached: 9}
	big := bytes.Repeat([]byte("0123456789"), 30_000)
	for name, parts := range map[string][][]byte{
		"nothing": nil, "a little": {[]byte("ab"), []byte("c")}, "much": {big, nil, big[:1]},
	} {
		p, out, err := unframe(framed(t, at, parts...))
		if err != nil || p != at || !bytes.Equal(out, slices.Concat(parts...)) {
			t.Errorf("%s: %+v, %d bytes, %v", name, p, len(out), err)
		}
	}
}

func TestFrameNoticesAnyChange(t *testing.T) {
	whole := framed(t, position{cluster: "lyon", index: 7, term: 2, reached: 9}, []byte("some state"), []byte("and more"))
	for i := range whole {
		if _, _, err := unframe(whole[:i]); !errors.Is(err, errFrame) {
			t.Errorf("cut at %d: %v", i, err)
		}
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, _, err := unframe(b); !errors.Is(err, errFrame) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(framed(f, position{cluster: "lyon", index: 1, term: 1, reached: 1}, []byte("x")))
	f.Add([]byte(frameMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, out, err := unframe(b)
		if err == nil {
			again := framed(t, p, out)
			if q, o, err := unframe(again); err != nil || q != p || !bytes.Equal(o, out) {
				t.Errorf("%+v %q became %+v %q, %v", p, out, q, o, err)
			}
		} else if !errors.Is(err, errFrame) {
			t.Errorf("error of another kind: %v", err)
		}
	})
}

func FuzzGreeting(f *testing.F) {
	f.Add(putGreeting("lyon", past("lyon", "", nil)))
	f.Add(putGreeting("", ""))
	f.Add([]byte(greeting + "\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		cluster, past, err := readGreeting(r)
		if err != nil {
			return
		}
		if read := b[:len(b)-r.Len()]; !bytes.Equal(putGreeting(cluster, past), read) {
			t.Errorf("%q and %q do not make %q", cluster, past, read)
		}
	})
}

func TestPromotionsLeaveAnOddNumber(t *testing.T) {
	ids := []ServerID{"d", "a", "c", "b"}
	for voters := range 6 {
		for n := range len(ids) + 1 {
			got := promotions(voters, ids[:n])
			if len(got) > 0 && (voters+len(got))%2 == 0 {
				t.Errorf("%d voters and %v make an even number", voters, got)
			}
			if n-len(got) > 1 || !slices.IsSorted(got) {
				t.Errorf("%d voters, %d ready: %v", voters, n, got)
			}
		}
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (Config{}).Validate(); err == nil {
		t.Fatal("the zero value passed")
	} else {
		for _, key := range []string{"id:", "cluster_id:", "address:", "dir:", "store:", "heartbeat_timeout:", "patience:"} {
			if !strings.Contains(err.Error(), key) {
				t.Errorf("%s is not named in %q", key, err)
			}
		}
	}
	good := DefaultConfig()
	good.ID, good.ClusterID, good.Address, good.Dir = "a", "b", "c", "d"
	for _, patience := range []int{1, 5} {
		good.Patience = patience
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestPastIsTheSameForTheSameList(t *testing.T) {
	a, b := Server{ID: "a", Address: "1", Voter: true}, Server{ID: "b", Address: "2", Voter: true}
	one := past("lyon", "", []Server{a, b})
	if two := past("lyon", "", []Server{b, a}); one != two {
		t.Error("the order of the list counts")
	}
	for name, other := range map[string]string{
		"region": past("paris", "", []Server{a, b}), "list": past("lyon", "", []Server{a}), "before": past("lyon", one, []Server{a, b}),
	} {
		if other == one {
			t.Errorf("another %s makes the same past", name)
		}
	}
}

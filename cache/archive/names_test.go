package archive_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"preau/cache/archive"
)

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "/", "//", "/a", "a//b", "a//", ".", "..", "./a", "../a", "a/..", "a/../b", "a/./b", "a/../", "../",
		"a\x00b", "a\xffb", "\xc0\xae\xc0\xae/a", strings.Repeat("a", 4097), strings.Repeat("a/", 33) + "b",
	} {
		if _, err := archive.New(entries(name)); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

func TestTwoOfANameAreRefused(t *testing.T) {
	for _, names := range [][]string{
		{"a", "a"},
		{"a/", "a/"},
		{"a", "a/"},
		{"a", "a/b"},
		{"a/b", "a/b/c", "x"},
		{"b", "a", "b"},
	} {
		if _, err := archive.New(entries(names...)); err == nil || strings.Contains(err.Error(), `"`) {
			t.Errorf("the names %q: %v", names, err)
		}
	}
}

func TestNamesUnpackEverywhere(t *testing.T) {
	tests := map[string]struct{ given, want []string }{
		"plain": {
			given: []string{"a", "b/", "b/é ü", "b/c.d.e", "...x", ".profile"},
			want:  []string{"a", "b/", "b/é ü", "b/c.d.e", "...x", ".profile"},
		},
		"what Windows does not allow": {
			given: []string{"Chapitre 3 : les volcans ?.pdf", `..\..\evil`, "C:/x", "a\tb", "<|>*\"\x7f"},
			want:  []string{"Chapitre 3 _ les volcans _.pdf", ".._.._evil", "C_/x", "a_b", "______"},
		},
		"dots and spaces at the end": {
			given: []string{"Chapitre 1.", "fin ", "a ./b", "..."},
			want:  []string{"Chapitre 1_", "fin_", "a _/b", ".._"},
		},
		"devices": {
			given: []string{"aux.txt", "NUL", "com1.tar.gz", "con/x", "Com¹", "lpt9 .x", "auxiliaire.txt", "com10", "COM"},
			want:  []string{"_aux.txt", "_NUL", "_com1.tar.gz", "_con/x", "_Com¹", "_lpt9 .x", "auxiliaire.txt", "com10", "COM"},
		},
		"letter case": {
			given: []string{"notes.txt", "Notes.txt", "NOTES.txt", "notes (2).txt", "été", "ÉTÉ"},
			want:  []string{"notes (3).txt", "Notes (2).txt", "NOTES.txt", "notes (2) (2).txt", "été (2)", "ÉTÉ"},
		},
		"folders that differ in letter case": {
			given: []string{"A/x", "a/x", "a/X", "a/", "a.d/y", "A.D/y"},
			want:  []string{"A/x", "a (2)/x (2)", "a (2)/X", "a (2)/", "a.d (2)/y", "A.D/y"},
		},
		"a file and a folder": {
			given: []string{"a/x", "A"},
			want:  []string{"a (2)/x", "A"},
		},
		"made the same by what is replaced": {
			given: []string{"a?", "a:", "a_", "b:/x", "b?/x"},
			want:  []string{"a_ (2)", "a_", "a_ (3)", "b_/x", "b_ (2)/x"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if got := namesOf(mustNew(t, entries(tt.given...)), len(tt.given)); !slices.Equal(got, tt.want) {
					t.Errorf("%q are called %q, want %q", tt.given, got, tt.want)
				}
				slices.Reverse(tt.given)
				slices.Reverse(tt.want)
			}
		})
	}
}

// A listing that was made to cost much costs little.
func TestManyNamesThatClashTakeNoLong(t *testing.T) {
	var names []string
	for i := range 1 << 12 {
		b := []byte("aaaaaaaaaaaaaaa.txt")
		for bit := range 12 {
			if i>>bit&1 == 1 {
				b[bit] = 'A'
			}
		}
		names = append(names, string(b))
	}
	seen := map[string]bool{}
	for _, name := range namesOf(mustNew(t, entries(names...)), len(names)) {
		if folded := strings.ToLower(name); seen[folded] {
			t.Fatalf("%q is there twice", name)
		} else {
			seen[folded] = true
		}
	}
}

func TestAnArchiveOfNamesAloneIsBounded(t *testing.T) {
	var e []archive.Entry
	for i := range 2100 {
		e = append(e, archive.Entry{Name: strings.Repeat("x", 4000) + strconv.Itoa(i)})
	}
	if _, err := archive.New(e); err == nil {
		t.Error("more than 8 MiB of names are taken")
	}
	if _, err := archive.New(e[:10]); err != nil {
		t.Error(err)
	}
}

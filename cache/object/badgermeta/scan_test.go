package badgermeta

import (
	"testing"

	"preau/cache/object"
)

func TestScanAfterBeginsBehindItsKey(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	var batch []object.Change
	for _, k := range []string{"a", "pa", "pb", "pb1", "pc", "q"} {
		batch = append(batch, object.Change{Key: []byte(k), Value: []byte(k)})
	}
	if err := s.Write(batch); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		prefix, after string
		most          int
		want          string
	}{
		"all of a prefix":    {prefix: "p", most: 9, want: "pa pb pb1 pc "},
		"after a key":        {prefix: "p", after: "pb", most: 9, want: "pb1 pc "},
		"after what is gone": {prefix: "p", after: "pb0", most: 9, want: "pb1 pc "},
		"after the last":     {prefix: "p", after: "pc", most: 9},
		"until told":         {prefix: "p", most: 2, want: "pa pb "},
		"everything":         {most: 9, want: "a pa pb pb1 pc q "},
	}
	for name, tt := range tests {
		var after []byte
		if tt.after != "" {
			after = []byte(tt.after)
		}
		got, n := "", 0
		err := s.ScanAfter([]byte(tt.prefix), after, func(k, v []byte) bool {
			if string(k) != string(v) {
				t.Errorf("%s: %q has the value %q", name, k, v)
			}
			got += string(k) + " "
			n++
			return n < tt.most
		})
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

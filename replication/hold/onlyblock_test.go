package hold_test

import (
	"testing"

	"preau/cache/block"
	"preau/replication/hold"
)

func TestTheListOfOneBlockNeedsNoAsking(t *testing.T) {
	p := []byte("short")
	sum := block.Sum(p)
	list, err := hold.EncodeList([]hold.Entry{{Digest: sum, Length: len(p)}})
	if err != nil {
		t.Fatal(err)
	}
	named := block.Sum(list)
	raw, entries, ok := hold.OnlyBlock(sum, named, int64(len(p)))
	if !ok || string(raw) != string(list) || len(entries) != 1 || entries[0] != (hold.Entry{Digest: sum, Length: len(p)}) {
		t.Errorf("%x, %v, %v", raw, entries, ok)
	}
	for name, is := range map[string]bool{
		"another list": isOne(hold.OnlyBlock(sum, sum, int64(len(p)))),
		"another file": isOne(hold.OnlyBlock(named, named, int64(len(p)))),
		"empty":        isOne(hold.OnlyBlock(sum, named, 0)),
		"too long":     isOne(hold.OnlyBlock(sum, named, block.Size+1)),
		"no digest":    isOne(hold.OnlyBlock(block.Digest{}, named, int64(len(p)))),
	} {
		if is {
			t.Errorf("%s is taken for a list of one block", name)
		}
	}
}

func isOne(_ []byte, _ []hold.Entry, ok bool) bool { return ok }

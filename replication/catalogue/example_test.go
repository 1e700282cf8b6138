package catalogue_test

import (
	"bytes"
	"fmt"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/kv/kvtest"
)

// What is proposed, agreed on and carried out, and how a follower reads it.
func Example() {
	s, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	body := []byte("a document")
	maths, err := catalogue.NewPut(catalogue.Collection{ID: "maths", Title: "Mathématiques"})
	if err != nil {
		fmt.Println(err)
		return
	}
	pi, err := catalogue.NewPut(catalogue.Resource{
		ID: "pi", Collection: "maths", Title: "Pi", Filename: "pi.txt", ContentType: "text/plain",
		Length: int64(len(body)), SHA256: block.Sum(body), Blocks: []block.Digest{block.Sum(body)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Whoever takes the command encodes it for the log...
	entry, err := catalogue.Encode(catalogue.NewCommand("operator/anne", time.Now(), maths, pi))
	if err != nil {
		fmt.Println(err)
		return
	}
	// ...and every server carries it out once it is agreed on.
	results, records, err := s.Apply([]catalogue.Entry{{Index: 1, Term: 1, Data: entry}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(results[0].Index, results[0].Code == "", len(records))

	v, err := s.View()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()
	err = v.Changes(0, 1, func(r catalogue.Record) bool {
		fmt.Println(r.Index, r.Kind, r.ID, r.SeenBy("0690001A") == catalogue.Visible)
		return true
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 true 2
	// 1 collection maths true
	// 1 resource pi true
}

func ExampleFetch() {
	s, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := s.View()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()
	_, _, err = catalogue.Fetch[catalogue.Box](v, "library-1")
	fmt.Println(err)
	// Output: get box "library-1": no such record
}

// A server that is new, or was away for long, begins with another's state.
func ExampleState_Restore() {
	old, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, _, err := old.Apply([]catalogue.Entry{{Index: 7, Term: 2}}); err != nil {
		fmt.Println(err)
		return
	}
	snap, err := old.Snapshot()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer snap.Close()
	var wire bytes.Buffer
	if _, err := snap.WriteTo(&wire); err != nil {
		fmt.Println(err)
		return
	}
	fresh, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := fresh.Restore(&wire); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(fresh.Applied())
	// Output: 7 2
}

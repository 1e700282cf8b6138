package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"preau/replication/central/store"
)

func listOrder(t *testing.T, s shop) {
	if page, err := s.List(t.Context(), s.bucket, "", "", 1); err != nil || len(page.Objects) != 0 || page.Next != "" {
		t.Errorf("List of an empty bucket = %+v, %v", page, err)
	}
	keys := []string{"A", "B", "Z", "a", "a-", "a.b", "a/", "a/b", "a0", "aa", "b", "z", "é", "ét", "б", "日", "😀"}
	shuffled := slices.Clone(keys)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, key := range shuffled {
		s.put(t, key, []byte(key), store.Options{ContentType: "text/plain", Meta: map[string]string{"a": "b"}})
	}
	all := s.list(t, "")
	var listed []string
	for _, o := range all {
		listed = append(listed, o.Key)
		if o.ETag != ETag([]byte(o.Key)) || o.Size != int64(len(o.Key)) || o.Modified.IsZero() {
			t.Errorf("listed is %+v, want ETag %s", o, ETag([]byte(o.Key)))
		}
		if o.ContentType != "" || o.Meta != nil {
			t.Errorf("a listing tells %+v, more than listings do", o)
		}
	}
	if diff := cmp.Diff(keys, listed); diff != "" {
		t.Errorf("order of a listing (-want +got):\n%s", diff)
	}
}

// many puts n small objects, several at a time, and returns their keys in order.
func (s shop) many(t *testing.T, n int) []string {
	t.Helper()
	keys := make([]string, n)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := w; i < n; i += 8 {
				keys[i] = fmt.Sprintf("é/%04d", i)
				if err := s.putIf(t, keys[i], nil, store.Condition{}); err != nil {
					t.Errorf("Put %q: %v", keys[i], err)
					return
				}
			}
		})
	}
	writers.Wait()
	return keys
}

func listPages(t *testing.T, s shop) {
	const n = 23
	keys := s.many(t, n)
	for _, limit := range []int{1, 2, n - 1, n, n + 1, store.MaxPage} {
		var listed []string
		after, pages := "", 0
		for {
			page, err := s.List(t.Context(), s.bucket, "", after, limit)
			if err != nil {
				t.Fatalf("List after %q: %v", after, err)
			}
			pages++
			if len(page.Objects) > limit {
				t.Fatalf("a page of %d objects, limit %d", len(page.Objects), limit)
			}
			for _, o := range page.Objects {
				listed = append(listed, o.Key)
			}
			if page.Next == "" {
				break
			}
			if pages > n {
				t.Fatalf("limit %d: more pages than objects", limit)
			}
			after = page.Next
		}
		if diff := cmp.Diff(keys, listed); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
		if want := (n + limit - 1) / limit; pages != want {
			t.Errorf("limit %d: %d pages, want %d", limit, pages, want)
		}
	}
	// A place between two keys, before and after all of them.
	for _, tt := range []struct {
		after string
		want  int
	}{{"é/0010x", 12}, {"a", n}, {"é/0022", 0}, {"é/9", 0}, {"é", n}} {
		page, err := s.List(t.Context(), s.bucket, "", tt.after, store.MaxPage)
		if err != nil || len(page.Objects) != tt.want || page.Next != "" {
			t.Errorf("List after %q: %d objects, next %q, %v; want %d", tt.after, len(page.Objects), page.Next, err, tt.want)
		}
	}
	if testing.Short() {
		return
	}
	keys = s.many(t, store.MaxPage+50)
	page, err := s.List(t.Context(), s.bucket, "é/", "", store.MaxPage)
	if err != nil || len(page.Objects) != store.MaxPage || page.Next == "" {
		t.Fatalf("the first full page: %d objects, next %q, %v", len(page.Objects), page.Next, err)
	}
	if all := s.list(t, ""); len(all) != len(keys) {
		t.Errorf("%d objects listed, want %d", len(all), len(keys))
	}
}

func listPrefix(t *testing.T, s shop) {
	for _, key := range []string{"a", "a/1", "a/2", "a/2/x", "ab", "b/1", "é/1", "é/2"} {
		s.put(t, key, nil, store.Options{})
	}
	for _, tt := range []struct {
		prefix, after string
		want          []string
	}{
		{"a/", "", []string{"a/1", "a/2", "a/2/x"}},
		{"a/", "a/1", []string{"a/2", "a/2/x"}},
		{"a/", "a", []string{"a/1", "a/2", "a/2/x"}},
		{"a/", "b", nil},
		{"a", "", []string{"a", "a/1", "a/2", "a/2/x", "ab"}},
		{"a/2", "", []string{"a/2", "a/2/x"}},
		{"é", "", []string{"é/1", "é/2"}},
		{"é/", "é/1", []string{"é/2"}},
		{"c", "", nil},
	} {
		page, err := s.List(t.Context(), s.bucket, tt.prefix, tt.after, 100)
		if err != nil {
			t.Errorf("List %q after %q: %v", tt.prefix, tt.after, err)
			continue
		}
		var got []string
		for _, o := range page.Objects {
			got = append(got, o.Key)
		}
		if !slices.Equal(got, tt.want) || page.Next != "" {
			t.Errorf("List %q after %q = %q, next %q, want %q", tt.prefix, tt.after, got, page.Next, tt.want)
		}
	}
	page, err := s.List(t.Context(), s.bucket, "a/", "", 3)
	if err != nil || len(page.Objects) != 3 || page.Next != "" {
		t.Errorf("List of just as many as there are = %d objects, next %q, %v; want no next page", len(page.Objects), page.Next, err)
	}
}

func listFresh(t *testing.T, s shop) {
	for i := range 5 {
		s.put(t, "k", Bytes(uint64(i), 10+i), store.Options{})
		all := s.list(t, "")
		if len(all) != 1 || all[0].Size != int64(10+i) || all[0].ETag != ETag(Bytes(uint64(i), 10+i)) {
			t.Fatalf("listed after Put %d: %+v", i, all)
		}
		if err := s.Delete(t.Context(), s.bucket, "k"); err != nil {
			t.Fatal(err)
		}
		if all := s.list(t, ""); len(all) != 0 {
			t.Fatalf("listed after Delete %d: %+v", i, all)
		}
	}
}

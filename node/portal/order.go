package portal

import (
	"cmp"
	"slices"
	"strings"

	"preau/node/portal/find"
)

// arrange puts the library in order anew.
func (l *library) arrange(read bool) {
	l.ordering.Lock()
	defer l.ordering.Unlock()
	v := &shelves{byName: map[string]*collection{}, read: read || l.view.Load().read}
	l.mu.Lock()
	every := make([]*Entry, 0, len(l.things))
	for _, e := range l.things {
		every = append(every, e)
	}
	for _, over := range l.over {
		v.more = v.more || over
	}
	l.mu.Unlock() // pages look things up meanwhile
	before := l.view.Load().byName
	for _, e := range every {
		c := v.byName[e.Collection]
		if c == nil {
			c = &collection{Name: e.Collection}
			v.byName[e.Collection] = c
			v.collections = append(v.collections, c)
		}
		if strings.HasSuffix(e.Filename, captionsEnd) {
			c.captions = append(c.captions, e)
			continue
		}
		v.total++
		c.Entries = append(c.Entries, e)
		c.Bytes += e.Bytes
		if e.Whole() {
			c.Here++
			v.here++
		}
		v.recent = among(v.recent, e)
	}
	for _, c := range v.collections {
		if was := before[c.Name]; was != nil {
			c.Entries = again(was.Entries, c.Entries)
		} else {
			inOrder(c.Entries)
		}
		inOrder(c.captions)
	}
	v.collections = slices.DeleteFunc(v.collections, func(c *collection) bool { return len(c.Entries) == 0 })
	slices.SortFunc(v.collections, func(a, b *collection) int {
		// What belongs nowhere comes last.
		return cmp.Or(cmp.Compare(btoi(a.Name == ""), btoi(b.Name == "")), natural(find.Plain(a.Name), find.Plain(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	l.view.Store(v)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// among puts an entry among the latest, if it is one of them.
func among(recent []*Entry, e *Entry) []*Entry {
	later := func(a, b *Entry) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID)) }
	at, _ := slices.BinarySearchFunc(recent, e, later)
	if at == mostRecent {
		return recent
	}
	return slices.Insert(recent[:min(len(recent), mostRecent-1)], at, e)
}

// again puts entries in order where most of them were in order before: what is new
// is put in between, since to compare all costs a good part of a second.
func again(before, entries []*Entry) []*Entry {
	left := make(map[*Entry]bool, len(entries))
	for _, e := range entries {
		left[e] = true
	}
	out := make([]*Entry, 0, len(entries))
	for _, e := range before {
		if left[e] {
			delete(left, e)
			out = append(out, e)
		}
	}
	if len(left) > len(out)/8 {
		inOrder(entries)
		return entries
	}
	for e := range left {
		plain := find.Plain(e.Name())
		at, _ := slices.BinarySearchFunc(out, e, func(o, e *Entry) int {
			return cmp.Or(natural(find.Plain(o.Name()), plain), cmp.Compare(o.ID, e.ID))
		})
		out = slices.Insert(out, at, e)
	}
	return out
}

// inOrder sorts entries as people look for them: by name, chapter 2 before
// chapter 10.
func inOrder(entries []*Entry) {
	type named struct {
		plain string
		e     *Entry
	}
	all := make([]named, len(entries))
	for i, e := range entries {
		all[i] = named{find.Plain(e.Name()), e}
	}
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Or(natural(a.plain, b.plain), cmp.Compare(a.e.ID, b.e.ID))
	})
	for i := range all {
		entries[i] = all[i].e
	}
}

// natural compares texts, with numbers in them by what they are worth.
func natural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := trimZeros(a[:na]), trimZeros(b[:nb])
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}

package sim

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Request asks for one object.
type Request struct {
	Object int // numbered from 0 in the order of first appearance
	Size   int64
}

// Trace is requests in their order. An object has the same size throughout.
type Trace struct {
	Requests  []Request
	Sizes     []int64 // by object
	Footprint int64   // bytes of all objects, each once
}

// Builder makes a Trace of requests for objects with names of type K.
type Builder[K comparable] struct {
	trace Trace
	ids   map[K]int
}

// Add appends a request. The size an object came with first holds: in logs a
// later one usually tells of a broken transfer, not of a new version.
func (b *Builder[K]) Add(name K, size int64) {
	id, ok := b.ids[name]
	if !ok {
		if b.ids == nil {
			b.ids = make(map[K]int)
		}
		id = len(b.trace.Sizes)
		b.ids[name] = id
		b.trace.Sizes = append(b.trace.Sizes, size)
		b.trace.Footprint += size
	}
	b.trace.Requests = append(b.trace.Requests, Request{Object: id, Size: b.trace.Sizes[id]})
}

// Trace returns what was added so far.
func (b *Builder[K]) Trace() Trace { return b.trace }

// Read reads a trace: a request a line, in columns time, object and size, with
// commas, blanks or tabs between them; further columns, blank lines and lines
// that begin with # are ignored. Sizes are multiplied by unit. The time is not
// looked at: the order of lines is the order of requests.
func Read(r io.Reader, unit int64) (Trace, error) {
	if unit < 1 {
		return Trace{}, fmt.Errorf("unit of sizes is %d, want at least 1", unit)
	}
	var b Builder[string]
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.FieldsFunc(line, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
		if len(fields) < 3 {
			return Trace{}, fmt.Errorf("trace line %d: %d columns, want 3", n, len(fields))
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return Trace{}, fmt.Errorf("trace line %d: size: %w", n, err)
		}
		if size < 0 || size > maxSize/unit {
			return Trace{}, fmt.Errorf("trace line %d: size %d is out of range", n, size)
		}
		b.Add(strings.Clone(fields[1]), max(1, size*unit))
	}
	if err := lines.Err(); err != nil {
		return Trace{}, fmt.Errorf("read trace: %w", err)
	}
	return b.Trace(), nil
}

// maxSize keeps the sum over 2^20 objects of the largest size within an int64.
const maxSize = 1 << 43

package config

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// places maps each key of a document, written as in Problem.Key, to its line.
// The document is known to parse. The decoded tree has no positions, which is
// why the document is read once more with the library's own parser.
func places(data []byte) map[string]int {
	where := map[string]int{}
	entries := map[string]int{} // lists of tables: how many so far
	var parser unstable.Parser
	parser.Reset(data)

	table := ""
	for parser.NextExpression() {
		node := parser.Expression()
		key := node.Key()
		base := table
		if node.Kind == unstable.Table || node.Kind == unstable.ArrayTable {
			base = ""
		}
		line := 0
		for key.Next() {
			part := key.Node()
			if line == 0 {
				line = parser.Shape(part.Raw).Start.Line
			}
			base = under(base, string(part.Data))
			if node.Kind == unstable.ArrayTable && key.IsLast() {
				entries[base]++
			}
			if n := entries[base]; n > 0 {
				base = Item(base, n-1)
			}
		}
		if line == 0 {
			continue
		}
		if _, seen := where[base]; !seen {
			where[base] = line
		}
		if node.Kind == unstable.Table || node.Kind == unstable.ArrayTable {
			table = base
		}
	}
	return where
}

// lineOf finds the line of key or, if the key is not in the file, that of the
// nearest table or list around it; 0 if there is none.
func lineOf(key string, where map[string]int) int {
	for key != "" {
		if line, ok := where[key]; ok {
			return line
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

package config

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// checkTable compares a decoded table with the structure it is meant for, and
// notes every key that does not fit. It is stricter than the decoder, which
// ignores case, and unlike the decoder it does not stop at the first mistake.
func (p *Problems) checkTable(path string, t reflect.Type, table map[string]any) {
	known := fields(t)
	for _, key := range slices.Sorted(maps.Keys(table)) {
		field, ok := known[key]
		if !ok {
			p.Addf(under(path, key), "unknown key%s", suggest(key, slices.Sorted(maps.Keys(known))))
			continue
		}
		p.checkValue(under(path, key), field.Type, table[key])
	}
}

func (p *Problems) checkValue(key string, t reflect.Type, value any) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		p.checkText(key, t, value)
		return
	}
	ok := true
	switch t.Kind() {
	case reflect.Struct:
		var table map[string]any
		if table, ok = value.(map[string]any); ok {
			p.checkTable(key, t, table)
		}
	case reflect.Slice:
		var list []any
		if list, ok = value.([]any); ok {
			for i, item := range list {
				p.checkValue(Item(key, i), t.Elem(), item)
			}
		}
	case reflect.String:
		_, ok = value.(string)
	case reflect.Bool:
		_, ok = value.(bool)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		if n, ok = value.(int64); ok && reflect.Zero(t).OverflowInt(n) {
			p.Addf(key, "%d is too large", n)
		}
	case reflect.Float64:
		switch value.(type) {
		case float64, int64:
		default:
			ok = false
		}
	default:
		// The decoder judges the kinds that no role uses so far.
	}
	if !ok {
		p.Addf(key, "is %s, want %s", kindOf(value), wanted(t))
	}
}

// checkText tries the type's own parser on a scratch value, for its words.
func (p *Problems) checkText(key string, t reflect.Type, value any) {
	text, ok := value.(string)
	if !ok {
		if n, isNumber := value.(int64); isNumber && t == reflect.TypeFor[Bytes]() {
			if n < 0 {
				p.Addf(key, "a size cannot be negative: write it like 2GiB or 500MB")
			}
			return
		}
		p.Addf(key, "is %s, want %s", kindOf(value), wanted(t))
		return
	}
	scratch, isText := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(t))
	if !isText {
		return
	}
	if err := scratch.UnmarshalText([]byte(text)); err != nil {
		p.Addf(key, "%v", err)
	}
}

// fields lists a structure's keys. A field without a toml tag is not a key.
func fields(t reflect.Type) map[string]reflect.StructField {
	known := map[string]reflect.StructField{}
	for field := range t.Fields() {
		if key := keyOf(field); key != "" {
			known[key] = field
		}
	}
	return known
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	if key == "-" || !f.IsExported() {
		return ""
	}
	return key
}

func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date"
	}
}

func wanted(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Bytes]():
		return `a size in quotes, like "2GiB"`
	case reflect.TypeFor[Duration]():
		return `a time in quotes with its unit, like "30s", "2h" or "7d"`
	}
	switch t.Kind() {
	case reflect.Struct:
		return "a table: a [header] line with keys below it"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "a list of tables: a [[header]] line with two brackets, once an entry"
		}
		return `a list in brackets, like ["one", "two"]`
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.Float64:
		return "a number like 0.1, without quotes"
	case reflect.String:
		return "text in quotes"
	default:
		return "a whole number, without quotes"
	}
}

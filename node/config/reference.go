package config

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Reference writes a commented file that shows every key of cfg, with the
// values that cfg has: defaults, and one example entry for each list of tables.
// The words come from the doc tags, and a key without words is an error, so
// that no setting can be added in silence.
//
// A field tagged ref:"off" is written commented out, with "#" and no space
// before the key, so that an operator uncomments it by deleting one letter.
func Reference(cfg any, intro string) ([]byte, error) {
	v := reflect.Indirect(reflect.ValueOf(cfg))
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("reference of a %T: want a structure", cfg)
	}
	w := &referenceWriter{}
	w.comment(intro)
	if err := w.table("", v, ""); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

type referenceWriter struct{ bytes.Buffer }

// table writes v's plain keys first and its tables after them, for in TOML a
// key that follows a [header] belongs to it.
func (w *referenceWriter) table(path string, v reflect.Value, off string) error {
	for _, tables := range []bool{false, true} {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			key := keyOf(field)
			if key == "" || isTable(field.Type) != tables {
				continue
			}
			doc := field.Tag.Get("doc")
			if doc == "" {
				return fmt.Errorf("reference: %s has no doc tag", under(path, key))
			}
			fieldOff := off
			if field.Tag.Get("ref") == "off" {
				fieldOff = "#"
			}
			w.WriteString("\n")
			w.comment(doc)
			if err := w.field(under(path, key), key, v.Field(i), fieldOff); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *referenceWriter) field(path, key string, v reflect.Value, off string) error {
	switch {
	case !isTable(v.Type()):
		text, err := literal(v)
		if err != nil {
			return fmt.Errorf("reference: %s: %w", path, err)
		}
		fmt.Fprintf(w, "%s%s = %s\n", off, key, text)
		return nil
	case v.Kind() == reflect.Struct:
		fmt.Fprintf(w, "%s[%s]\n", off, path)
		return w.table(path, v, off)
	case v.Len() == 0:
		return fmt.Errorf("reference: %s has no example entry", path)
	default:
		for i := range v.Len() {
			fmt.Fprintf(w, "%s[[%s]]\n", off, path)
			if err := w.table(path, v.Index(i), off); err != nil {
				return err
			}
		}
		return nil
	}
}

// comment wraps text at 78 columns; an empty line in it starts a paragraph.
func (w *referenceWriter) comment(text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			w.WriteString("#\n")
		}
		line := "#"
		for word := range strings.FieldsSeq(paragraph) {
			if len(line)+1+len(word) > 78 {
				w.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		w.WriteString(line + "\n")
	}
}

func isTable(t reflect.Type) bool {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func literal(v reflect.Value) (string, error) {
	if text, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		b, err := text.MarshalText()
		return strconv.Quote(string(b)), err
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String()), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Float64:
		text := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text, nil
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			item, err := literal(v.Index(i))
			if err != nil {
				return "", err
			}
			items = append(items, item)
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	default:
		return "", fmt.Errorf("cannot write a %s", v.Type())
	}
}

package config

import "reflect"

// fillLists gives the entries of lists of tables the defaults for the keys that
// the file does not have. The top of the file needs no such care: it is decoded
// onto defaults, whereas the decoder makes each list entry from nothing.
func fillLists(v reflect.Value, table map[string]any) {
	for i := range v.NumField() {
		value, present := table[keyOf(v.Type().Field(i))]
		if !present {
			continue
		}
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			if inner, ok := value.(map[string]any); ok {
				fillLists(field, inner)
			}
		case reflect.Slice:
			fillList(field, value)
		default:
		}
	}
}

func fillList(list reflect.Value, value any) {
	entries, ok := value.([]any)
	if !ok || list.Type().Elem().Kind() != reflect.Struct {
		return
	}
	for i := range min(list.Len(), len(entries)) {
		table, isTable := entries[i].(map[string]any)
		if !isTable {
			continue
		}
		fresh := reflect.New(list.Type().Elem())
		if d, has := reflect.TypeAssert[Defaulter](fresh); has {
			d.SetDefaults()
			fillAbsent(list.Index(i), fresh.Elem(), table)
		}
		fillLists(list.Index(i), table)
	}
}

// fillAbsent copies from defaults the fields whose key the table lacks.
func fillAbsent(v, defaults reflect.Value, table map[string]any) {
	for i := range v.NumField() {
		key := keyOf(v.Type().Field(i))
		if key == "" {
			continue
		}
		value, present := table[key]
		if !present {
			v.Field(i).Set(defaults.Field(i))
			continue
		}
		if inner, ok := value.(map[string]any); ok && v.Field(i).Kind() == reflect.Struct {
			fillAbsent(v.Field(i), defaults.Field(i), inner)
		}
	}
}

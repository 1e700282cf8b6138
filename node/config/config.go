// Package config reads strict TOML files and explains their mistakes.
//
// A file is decoded onto defaults that the caller has filled in. A key that
// nobody reads is refused, for a key that is silently ignored costs an operator
// an afternoon. Every mistake of the file is reported at once, with its line,
// its key, what is wrong and what to write instead.
//
// The package knows nothing of any setting: roles declare their own structures
// with the tags toml (the key) and doc (a sentence for the reference file).
// Files are not watched and nothing is ever reloaded here: a configuration is a
// value, and a change is a restart.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/pelletier/go-toml/v2"
)

// Defaulter is implemented by (pointers to) the element types of lists, such
// as one [[site]], whose absent keys have defaults other than zero. SetDefaults
// is called on a fresh zero value; what the file says then replaces it.
type Defaulter interface{ SetDefaults() }

// Load decodes the file at path onto into, a pointer to a structure that
// already holds its defaults. The checks run only if the file itself is sound,
// and the Problems they return are given their place in the file.
//
// The error, if any, joins *Problem values; errors of reading the file are
// returned as the os package makes them.
func Load(path string, into any, checks ...func() error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, into, checks...)
}

// Parse is Load for a file that has already been read; name is what the errors
// call it.
func Parse(name string, data []byte, into any, checks ...func() error) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("configuration %s: cannot decode into a %T", name, into)
	}

	var document map[string]any
	if err := toml.Unmarshal(data, &document); err != nil {
		return syntaxProblem(name, err)
	}
	where := places(data)

	var found Problems
	found.checkTable("", target.Elem().Type(), document)
	if err := found.Err(); err != nil {
		return locate(err, name, where)
	}

	// Everything is known to fit by now; the strict decoder has the last word.
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return syntaxProblem(name, err)
	}
	fillLists(target.Elem(), document)

	var failed []error
	for _, check := range checks {
		failed = append(failed, check())
	}
	return locate(errors.Join(failed...), name, where)
}

// syntaxProblem turns the library's own error into a Problem. Of mistakes in
// the syntax only the first can be told: what follows it cannot be understood.
func syntaxProblem(name string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		err = &strict.Errors[0]
	}
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	line, _ := decode.Position()
	return &Problem{File: name, Line: line, Key: joinKey(decode.Key()), What: trimLibrary(decode.Error())}
}

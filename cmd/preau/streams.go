package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// streams is what commands read from and write to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// print writes a result.
func (s streams) print(text string) error {
	if _, err := io.WriteString(s.out, text); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// printf is print with a format.
func (s streams) printf(format string, args ...any) error {
	return s.print(fmt.Sprintf(format, args...))
}

// json writes a result for scripts.
func (s streams) json(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return s.print(string(text) + "\n")
}

// note tells people something beside the result.
func (s streams) note(format string, args ...any) {
	fmt.Fprintf(s.err, "preau: "+format+"\n", args...)
}

// table lays out rows in columns. The first row is the header.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush() //nolint:errcheck // a strings.Builder takes everything
	return b.String()
}

// isTerminal reports whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

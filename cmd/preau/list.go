package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"preau/node/control"
)

// listKinds are what can be listed, in the order in which people count it.
var listKinds = []struct{ one, many string }{
	{"collection", "collections"}, {"resource", "resources"}, {"pin", "pins"}, {"purge", "purges"}, {"subscription", "subscriptions"},
	{"policy", "policies"}, {"school", "schools"}, {"box", "boxes"}, {"server", "servers"}, {"revocation", "revocations"},
	{"deposit", "deposits"}, {"popular thing", "popularity"},
}

type listCmd struct {
	Kind       string `arg:"" enum:"collections,resources,pins,purges,subscriptions,policies,schools,boxes,servers,revocations,deposits,popularity" help:"collections, resources, pins, purges, subscriptions, policies, schools, boxes, servers, revocations, deposits or popularity."`
	Consistent bool   `help:"Include all that was committed when you ask."`

	operatorFlags
}

func (listCmd) Help() string {
	return `    preau list resources
    preau list pins
    preau list purges --json | jq -r '.[].id'

Where a purge names a page, the region has kept a mark of it and not the address, which may be a secret.` + operatorHelp
}

func (c listCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		ask.Consistent = c.Consistent
		all := []control.Record{}
		for r, err := range ask.Records(ctx, c.Kind) {
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		if c.JSON {
			return to.json(all)
		}
		return to.print(listText(c.Kind, all, ask.Index(), time.Now()))
	})
}

func listText(kind string, all []control.Record, index uint64, now time.Time) string {
	if len(all) == 0 {
		return fmt.Sprintf("There are no %s, as of index %s.\n", kind, count(index))
	}
	columns := listColumns[kind]
	header := []string{"ID"}
	for _, c := range columns {
		header = append(header, c.title)
	}
	rows := [][]string{append(header, "CHANGED", "INDEX")}
	for _, r := range all {
		value, ok := r.Value.(map[string]any)
		if !ok {
			value = nil // which has no fields
		}
		row := []string{r.ID}
		for _, c := range columns {
			row = append(row, oneLine(c.cell(value, now)))
		}
		rows = append(rows, append(row, when(r.At, now), count(r.Index)))
	}
	return table(rows) + fmt.Sprintf("\n%s, as of index %s\n", some(len(all), oneOf(kind), kind), count(index))
}

// oneOf is the word for one of a kind.
func oneOf(kind string) string {
	for _, k := range listKinds {
		if k.many == kind {
			return k.one
		}
	}
	return kind
}

// oneLine keeps texts of others from breaking the table, or the terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}

type column struct {
	title string
	cell  func(value map[string]any, now time.Time) string
}

// listColumns is what is shown of each kind.
var listColumns = map[string][]column{
	"collections":   {text("TITLE", "title"), schoolsOf("SCHOOLS", "audience")},
	"resources":     {text("COLLECTION", "collection"), text("TITLE", "title"), text("FILE", "filename"), bytesOf("SIZE", "length"), schoolsOf("SCHOOLS", "audience"), timeOf("EXPIRES", "expires")},
	"pins":          {text("RESOURCE", "resource"), text("COLLECTION", "collection"), schoolsOf("SCHOOLS", "schools"), timeOf("FROM", "from"), timeOf("UNTIL", "until")},
	"purges":        {{"OF", purgeScope}, text("SITE", "site"), text("TARGET", "target"), text("BY", "by"), text("REASON", "reason")},
	"subscriptions": {text("COLLECTION", "collection"), schoolsOf("SCHOOL", "school")},
	"policies":      {schoolsOf("SCHOOL", "school")},
	"schools":       {text("NAME", "name")},
	"boxes":         {text("SCHOOL", "school"), timeOf("ENROLLED", "enrolled")},
	"servers":       {text("ADDRESS", "address"), listOf("SITES", "sites")},
	"deposits":      {text("SCHOOL", "school"), text("BOX", "box"), text("FILE", "filename"), bytesOf("SIZE", "length"), timeOf("ADDED", "at"), text("BUCKET", "bucket"), text("KEY", "key"), text("WAITING", "waiting")},
	"popularity":    {{"REQUESTS", requests}},
	"revocations":   {text("ROLE", "role"), text("NAME", "name"), text("SCHOOL", "school"), text("REASON", "reason")},
}

// stringOf is v if it is a string, or nothing.
func stringOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return ""
}

func text(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		return stringOf(value[name])
	}}
}

func bytesOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		if n, ok := value[name].(float64); ok {
			return size(int64(n))
		}
		return ""
	}}
}

func timeOf(title, name string) column {
	return column{title, func(value map[string]any, now time.Time) string {
		t, err := time.Parse(time.RFC3339, stringOf(value[name]))
		if err != nil || t.IsZero() {
			return ""
		}
		return when(t, now)
	}}
}

// requests is how often something was asked for in all schools, older requests
// counted for less.
func requests(value map[string]any, _ time.Time) string {
	n, _ := value["sum"].(float64) //nolint:errcheck // not there is none
	return fmt.Sprintf("%.0f", n/1000)
}

// strs is one string, or several.
func strs(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			out = append(out, stringOf(one))
		}
		return out
	}
	return nil
}

func listOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string { return strings.Join(strs(value[name]), " ") }}
}

// schoolsOf lists schools, of which none means all.
func schoolsOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		schools := strs(value[name])
		switch {
		case len(schools) == 0:
			return "all"
		case len(schools) > 3:
			return some(len(schools), "school", "schools")
		}
		return strings.Join(schools, " ")
	}}
}

func purgeScope(value map[string]any, _ time.Time) string {
	scopes := []string{1: "a page", "a path", "a tag", "a site", "a resource", "a collection"}
	n, ok := value["scope"].(float64)
	if i := int(n); ok && i > 0 && i < len(scopes) {
		return scopes[i]
	}
	return ""
}

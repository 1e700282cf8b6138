package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"preau/node/control"
)

// listKinds are what can be listed, in the order in which people count it.
var listKinds = []struct{ one, many string }{
	{"collection", "collections"}, {"resource", "resources"}, {"pin", "pins"}, {"purge", "purges"}, {"subscription", "subscriptions"},
	{"policy", "policies"}, {"school", "schools"}, {"box", "boxes"}, {"server", "servers"}, {"revocation", "revocations"},
}

type listCmd struct {
	Kind       string `arg:"" enum:"collections,resources,pins,purges,subscriptions,policies,schools,boxes,servers,revocations" help:"collections, resources, pins, purges, subscriptions, policies, schools, boxes, servers or revocations."`
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
		value, _ := r.Value.(map[string]any) // nil has no fields
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
	"collections":   {text("TITLE", "Title"), schoolsOf("SCHOOLS", "Audience")},
	"resources":     {text("COLLECTION", "Collection"), text("TITLE", "Title"), text("FILE", "Filename"), bytesOf("SIZE", "Length"), schoolsOf("SCHOOLS", "Audience"), timeOf("EXPIRES", "Expires")},
	"pins":          {text("RESOURCE", "Resource"), text("COLLECTION", "Collection"), schoolsOf("SCHOOLS", "Schools"), timeOf("FROM", "From"), timeOf("UNTIL", "Until")},
	"purges":        {{"OF", purgeScope}, text("SITE", "Site"), text("TARGET", "Target"), text("BY", "By"), text("REASON", "Reason")},
	"subscriptions": {text("COLLECTION", "Collection"), schoolsOf("SCHOOL", "School")},
	"policies":      {schoolsOf("SCHOOL", "School")},
	"schools":       {text("NAME", "Name")},
	"boxes":         {text("SCHOOL", "School"), timeOf("ENROLLED", "Enrolled")},
	"servers":       {text("ADDRESS", "Address"), listOf("SITES", "Sites")},
	"revocations":   {text("ROLE", "Role"), text("NAME", "Name"), text("SCHOOL", "School"), text("REASON", "Reason")},
}

// field finds a field of a record by its name, however that is written.
func field(value map[string]any, name string) any {
	if v, ok := value[name]; ok {
		return v
	}
	for k, v := range value {
		if strings.EqualFold(strings.ReplaceAll(k, "_", ""), name) {
			return v
		}
	}
	return nil
}

func text(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		s, _ := field(value, name).(string) // or nothing
		return s
	}}
}

func bytesOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		switch n := field(value, name).(type) {
		case float64:
			return size(int64(n))
		case json.Number:
			return n.String()
		}
		return ""
	}}
}

func timeOf(title, name string) column {
	return column{title, func(value map[string]any, now time.Time) string {
		s, _ := field(value, name).(string) // or nothing
		t, err := time.Parse(time.RFC3339, s)
		if err != nil || t.IsZero() {
			return ""
		}
		return when(t, now)
	}}
}

func strs(v any) []string {
	if s, ok := v.(string); ok && s != "" {
		return []string{s}
	}
	list, _ := v.([]any) // or none
	var out []string
	for _, one := range list {
		if s, ok := one.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func listOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string { return strings.Join(strs(field(value, name)), " ") }}
}

// schoolsOf lists schools, of which none means all.
func schoolsOf(title, name string) column {
	return column{title, func(value map[string]any, _ time.Time) string {
		schools := strs(field(value, name))
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
	n, _ := field(value, "Scope").(float64) // or 0
	scopes := []string{"", "a page", "a path", "a tag", "a site", "a resource", "a collection"}
	if i := int(n); i > 0 && i < len(scopes) {
		return scopes[i]
	}
	return ""
}

//go:build bench

package bench

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table is one section of the results.
type table struct {
	title string
	notes []string
	head  []string
	rows  [][]string
	alone bool // has no peers
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// report collects the tables of a run and writes them as Markdown.
type report struct {
	scale  string
	began  time.Time
	peers  []string // name and version, or why it is missing
	tables []*table
}

func (r *report) table(title string, head ...string) *table {
	t := &table{title: title, head: head}
	r.tables = append(r.tables, t)
	return t
}

func (r *report) note(t *table, format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// stamp says when, where and by which servers t was measured.
func (r *report) stamp(t *table) string {
	with := runtime.Version()
	if !t.alone {
		with = strings.Join(append([]string{with}, r.peers...), "; ")
	}
	return fmt.Sprintf("Measured on %s (%s scale) on %s, %d cores, Linux %s, with %s.",
		r.began.UTC().Format("2 January 2006"), r.scale, cpuModel(), runtime.NumCPU(), kernel(), with)
}

// section is t as Markdown.
func (r *report) section(t *table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n\n", heading, t.title)
	for _, n := range append(slices.Clip(t.notes), r.stamp(t)) {
		fmt.Fprintf(&b, "%s\n\n", n)
	}
	if len(t.rows) == 0 {
		b.WriteString("Not measured: this machine lacks what it needs, or it failed.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

// markdown is the run's results, in the order of titles; sections of old, a
// file that an earlier run wrote, stand for what this one has not measured.
func (r *report) markdown(old string, titles []string) string {
	var b strings.Builder
	b.WriteString("# Results of `make bench`\n\nWritten by `make bench`, as a whole or section by section (`BENCHFLAGS=\"-only …\"`). Do not edit: run it again.\n\n")
	fmt.Fprintf(&b, "All servers of a section ran on one machine in the same run, in turn, over loopback, from their own command line;\n"+
		"clients and origin ran beside them. The line is a simulated %d Mbit/s with %d ms round trip. Every byte of every body was compared with the origin's,\n",
		lineRate/1_000_000, lineRTT.Milliseconds())
	b.WriteString("but for the hit throughput, where whole bodies were compared before and after. Byte counts and outcomes do not depend on the machine; times and CPU do.\n")
	b.WriteString("\nnginx: one worker, `proxy_cache_lock` with timeouts of an hour, `proxy_cache_use_stale` for errors, timeouts, 5xx and `updating`, background update, revalidation,\n" +
		"read timeout 15 s, no access log; the second one with `slice 1m`. Varnish: streaming, `malloc` store, grace of a week, background fetches that end in 5xx abandoned.\n" +
		"Both thus answer with expired copies whether the response allows it or not. The box: `preau box --site … --listen … --data … --budget …`, profile `rfc9111`.\n")
	sections := sectionsOf(old)
	for _, t := range r.tables {
		sections[t.title] = r.section(t)
	}
	for _, title := range titles {
		if s := sections[title]; s != "" {
			b.WriteString("\n" + s)
		}
	}
	return b.String()
}

const heading = "## "

// sectionsOf are the sections of a file of results by their titles.
func sectionsOf(file string) map[string]string {
	out := map[string]string{}
	for i, part := range strings.Split("\n"+file, "\n"+heading) {
		if i == 0 {
			continue // what stands before the first
		}
		title, _, _ := strings.Cut(part, "\n")
		out[title] = heading + strings.TrimRight(part, "\n") + "\n"
	}
	return out
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// kernel is the release's number without what a distributor hangs on to it.
func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "?"
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(b)), "-")
	return release
}

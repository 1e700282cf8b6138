//go:build bench

package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// table is one section of the results.
type table struct {
	title string
	notes []string
	head  []string
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// report collects the tables of a run and writes them as Markdown.
type report struct {
	command string
	scale   string
	began   time.Time
	peers   []string // name and version, or why it is missing
	tables  []*table
}

func (r *report) table(title string, head ...string) *table {
	t := &table{title: title, head: head}
	r.tables = append(r.tables, t)
	return t
}

func (r *report) note(t *table, format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of `make bench`\n\nWritten by `%s` on %s (%s scale, %.0f minutes). Do not edit: run it again.\n\n",
		r.command, r.began.UTC().Format("2 January 2006"), r.scale, time.Since(r.began).Minutes())
	fmt.Fprintf(&b, "Machine: %s, %d cores, Linux %s, %s. All servers ran on it in the same run, in turn, over loopback, from their own command line;\n",
		cpuModel(), runtime.NumCPU(), kernel(), runtime.Version())
	fmt.Fprintf(&b, "clients and origin ran beside them. The line is a simulated %d Mbit/s with %d ms round trip. Every byte of every body was compared with the origin's,\n",
		lineRate/1_000_000, lineRTT.Milliseconds())
	b.WriteString("but for the hit throughput, where whole bodies were compared before and after. Byte counts and outcomes do not depend on the machine; times and CPU do.\n\n")
	for _, p := range r.peers {
		fmt.Fprintf(&b, "- %s\n", p)
	}
	b.WriteString("\nnginx: one worker, `proxy_cache_lock` with timeouts of an hour, `proxy_cache_use_stale` for errors, timeouts, 5xx and `updating`, background update, revalidation,\n" +
		"read timeout 15 s, no access log; the second one with `slice 1m`. Varnish: streaming, `malloc` store, grace of a week, background fetches that end in 5xx abandoned.\n" +
		"Both thus answer with expired copies whether the response allows it or not. The box: `preau box --site … --listen … --data … --budget …`, profile `rfc9111`.\n")
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n## %s\n\n", t.title)
		for _, n := range t.notes {
			fmt.Fprintf(&b, "%s\n\n", n)
		}
		if len(t.rows) == 0 {
			b.WriteString("Not measured: this machine lacks what it needs, or it failed.\n")
			continue
		}
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return b.String()
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

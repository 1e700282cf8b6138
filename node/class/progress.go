package class

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress shows how the class is doing until ended is closed: a table drawn
// over itself on a terminal, now and then a line anywhere else.
func progress(cfg Config, devices []*device, out io.Writer, ended <-chan struct{}) {
	live := !cfg.JSON && isTerminal(out)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	height := 0
	for n := 1; ; n++ {
		last := false
		select {
		case <-ended:
			last = true
		case <-tick.C:
		}
		all := reports(devices)
		if cfg.Watch != nil && !last { // the last view comes with the verdict
			cfg.Watch(all)
		}
		switch {
		case live:
			text := grid(all)
			if height > 0 {
				text = fmt.Sprintf("\x1b[%dA\x1b[J", height) + text
			}
			height = strings.Count(grid(all), "\n")
			io.WriteString(out, text) //nolint:errcheck // a terminal that is gone shows nothing; the report's own write tells
		case !cfg.JSON && n%10 == 0 && !last:
			io.WriteString(out, headline(all)+"\n") //nolint:errcheck // as above
		}
		if last {
			return
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

func headline(all []Device) string {
	var ended int
	var lan int64
	for _, d := range all {
		lan += d.Bytes
		if d.Outcome != Waiting && d.Outcome != Reading {
			ended++
		}
	}
	return fmt.Sprintf("%d of %d devices done, %s read", ended, len(all), Bytes(lan))
}

// grid draws the devices three in a row; a large class is only counted.
func grid(all []Device) string {
	var b strings.Builder
	if len(all) <= 60 {
		rows := (len(all) + 2) / 3
		for row := range rows {
			for col := range 3 {
				if i := col*rows + row; i < len(all) {
					b.WriteString(cell(all[i]))
				}
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString(headline(all) + "\n")
	return b.String()
}

func cell(d Device) string {
	const width = 8
	full := 0
	if d.Length > 0 {
		full = int(d.Have * width / d.Length)
	}
	full = max(0, min(full, width))
	tail := fmt.Sprintf("%5.1fs", d.Seconds)
	switch d.Outcome {
	case Waiting:
		tail = "     –"
	case OK:
		full = width
		tail += " ✓"
	case Left, Truncated, Wrong, Failed:
		tail = string(d.Outcome)
	}
	return fmt.Sprintf("%3d %s%s %-10s", d.N, strings.Repeat("█", full), strings.Repeat("░", width-full), tail)
}

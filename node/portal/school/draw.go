package school

import (
	"fmt"
	"slices"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
	"preau/node/usage"
)

// The diagram's measures, in its own units.
const (
	chartWidth  = 960
	chartHeight = 240
	barGap      = 1.5
	hours       = 24
	quarters    = 4 * hours
)

// Day is how much came over the line on one day, as a diagram and as a table.
type Day struct {
	Date      time.Time
	Today     bool
	Previous  string // a day as a date of the address; empty: none is kept
	Next      string
	Sum       usage.Totals
	Percent   int64 // of what devices got, that did not cross the line
	Width     int
	Height    int
	Bars      []Bar
	Marks     []Mark // of the hours
	Allowed   []Band // when what is fetched ahead may come
	Budget    float64
	HasBudget bool
	Top       string // what the diagram's upper edge stands for
	Rows      []Row
}

// Bar is one quarter of an hour.
type Bar struct{ X, Y, Width, Height float64 }

// Mark is one hour below the diagram.
type Mark struct {
	X     float64
	Label string
}

// Band is a span of the day.
type Band struct{ X, Width float64 }

// Row is one hour of the table.
type Row struct {
	From string
	usage.Totals
}

// draw makes a day of its quarters. A day of 23 or 25 hours is drawn as one of 24
// from its midnight on: the last hour is missing, or is in the table only.
func draw(from, today time.Time, bins []usage.Bin, allow Background, lang page.Lang) Day {
	d := Day{Date: from, Today: from.Equal(today), Width: chartWidth, Height: chartHeight, Sum: usage.Sum(bins)}
	if before := from.AddDate(0, 0, -1); today.Sub(before) < usage.Kept-24*time.Hour {
		d.Previous = before.Format(time.DateOnly)
	}
	if !d.Today {
		d.Next = from.AddDate(0, 0, 1).Format(time.DateOnly)
	}
	if d.Sum.Sent > 0 {
		d.Percent = d.Sum.Saved() * 100 / d.Sum.Sent
	}
	budget := allow.Rate * int64(usage.Quarter/time.Second)
	top := budget
	for _, bin := range bins {
		top = max(top, bin.Line)
	}
	top = max(top, 1)
	const step = float64(chartWidth) / quarters
	for i, bin := range bins[:min(len(bins), quarters)] {
		if height := float64(bin.Line) * chartHeight / float64(top); height > 0 {
			height = max(height, 1) // little is not nothing
			d.Bars = append(d.Bars, Bar{float64(i) * step, chartHeight - height, step - barGap, height})
		}
	}
	for i := 0; i <= hours; i += 3 {
		d.Marks = append(d.Marks, Mark{float64(i) * chartWidth / hours, hour(i, lang)})
	}
	if budget > 0 {
		d.HasBudget, d.Budget = true, chartHeight-float64(budget)*chartHeight/float64(top)
	}
	d.Allowed = bands(allow.Hours)
	d.Top = page.Size(top, lang)
	for i, quarter := range slices.Collect(slices.Chunk(bins, 4)) {
		if sum := usage.Sum(quarter); sum != (usage.Totals{}) {
			d.Rows = append(d.Rows, Row{hour(i, lang) + "–" + hour(i+1, lang), sum})
		}
	}
	return d
}

// bands are spans of the day, one over midnight as two.
func bands(all []Hours) (out []Band) {
	const minute = float64(chartWidth) / (hours * 60)
	add := func(from, to int) {
		if from < to {
			out = append(out, Band{float64(from) * minute, float64(to-from) * minute})
		}
	}
	for _, h := range all {
		if h.From <= h.To {
			add(h.From, h.To)
			continue
		}
		add(h.From, hours*60)
		add(0, h.To)
	}
	return out
}

// hour is an hour of the day in a language.
func hour(h int, lang page.Lang) string {
	if lang == page.French {
		return fmt.Sprintf("%d h", h)
	}
	return fmt.Sprintf("%d:00", h)
}

// Heading is the day in words.
func (d Day) Heading(lang page.Lang) string { return look.Day(d.Date, lang) }

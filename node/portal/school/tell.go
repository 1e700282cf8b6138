package school

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"preau/cache/page"
	"preau/node/portal/look"
)

// Sentence is one thing that is said of a box. Level and Icon are of look's note:
// good, info, warn or bad, which no sentence says by its colour alone.
type Sentence struct{ Level, Icon, Text, Advice string }

// Levels, worst last.
const (
	good = "good"
	info = "info"
	warn = "warn"
	bad  = "bad"
)

var severity = map[string]int{good: 0, info: 1, warn: 2, bad: 3}

// soon is from when a certificate's end is told of. The box renews at half its
// life; later than this it should have, and somebody has to look.
const soon = 21 * 24 * time.Hour

// tell says how a box stands, what is worst first.
func tell(s State, lang page.Lang) []Sentence {
	t := teller{s: s, say: words.In(lang), lang: lang}
	out := slices.DeleteFunc([]Sentence{t.line(), t.region(), t.certificate(), t.disk(), t.memory(), t.version(), t.deposits(), t.neighbours()},
		func(one Sentence) bool { return one.Text == "" })
	slices.SortStableFunc(out, func(a, b Sentence) int { return cmp.Compare(severity[b.Level], severity[a.Level]) })
	return out
}

type teller struct {
	s    State
	say  Words
	lang page.Lang
}

// count puts a number into one of two sentences, that of one or that of many. In
// French none is as one.
func (t teller) count(n int64, forms [2]string) string {
	form := forms[1]
	if n == 1 || n == 0 && t.lang == page.French {
		form = forms[0]
	}
	return fmt.Sprintf(form, n)
}

// when is a moment as people say it: an hour today, else with its day.
func (t teller) when(at time.Time) string {
	at, now := at.Local(), t.s.Now.Local()
	clock := at.Format("15:04")
	if at.Year() == now.Year() && at.YearDay() == now.YearDay() {
		return clock
	}
	return look.Day(at, t.lang) + ", " + clock
}

// down are the sites that can't be reached, and whether it is the line, and not
// they: nothing can be reached at all, the region neither.
func (s State) down() (sites []Site, cut bool) {
	for _, site := range s.Sites {
		if !site.Up {
			sites = append(sites, site)
		}
	}
	return sites, len(sites) > 0 && len(sites) == len(s.Sites) && s.Box.Server == ""
}

func (t teller) line() Sentence {
	down, cut := t.s.down()
	held := t.count(t.s.Held, t.say.Held)
	switch {
	case len(t.s.Sites) == 0 && t.s.Box.Server == "":
		return Sentence{info, "here", t.say.NoSites + " " + held, ""}
	case len(down) == 0:
		return Sentence{good, "check", t.say.LineUp + " " + held, ""}
	case cut:
		first := slices.MinFunc(down, func(a, b Site) int { return a.Since.Compare(b.Since) }).Since
		text := t.say.LineCut
		if !first.IsZero() {
			text = fmt.Sprintf(t.say.LineCutSince, t.when(first))
		}
		return Sentence{bad, "rain", text + " " + held, t.say.LineAdvice}
	}
	names := make([]string, len(down))
	for i, site := range down {
		names[i] = site.Name
	}
	return Sentence{warn, "warning", fmt.Sprintf(t.say.SitesDown, strings.Join(names, ", ")) + " " + held, ""}
}

func (t teller) region() Sentence {
	b := t.s.Box
	_, cut := t.s.down()
	switch {
	case b.Problem != "":
		return Sentence{bad, "warning", t.say.RegionProblem, b.Problem}
	case !b.Enrolled:
		return Sentence{info, "plug", t.say.NoRegion, t.say.NoRegionAdvice}
	case b.Server == "" && cut: // that is said
		return Sentence{}
	case b.Server == "":
		return Sentence{warn, "away", t.say.RegionAway, t.say.RegionAdvice}
	}
	return Sentence{good, "check", fmt.Sprintf(t.say.RegionThere, t.when(b.Since)), ""}
}

func (t teller) certificate() Sentence {
	until := t.s.Box.Certificate
	switch {
	case until.IsZero() || until.Sub(t.s.Now) > soon:
		return Sentence{}
	case until.Before(t.s.Now):
		return Sentence{bad, "key", t.say.Lapsed, t.say.LapsedAdvice}
	}
	return Sentence{warn, "key", fmt.Sprintf(t.say.LapsesSoon, look.Day(until, t.lang)), t.say.LapsedAdvice}
}

func (t teller) disk() Sentence {
	d := t.s.Disk
	used, budget := page.Size(d.Used, t.lang), page.Size(d.Budget, t.lang)
	if d.Full {
		return Sentence{bad, "archive", t.say.DiskFull, t.say.DiskAdvice}
	}
	return Sentence{good, "archive", fmt.Sprintf(t.say.DiskUsed, used, budget), ""}
}

// memory says that the box runs without its disk.
func (t teller) memory() Sentence {
	switch t.s.Box.WithoutDisk {
	case "":
		return Sentence{}
	case "tpm":
		return Sentence{bad, "archive", t.say.DiskLocked, t.say.NoDiskAdvice}
	}
	return Sentence{bad, "archive", t.say.DiskUnread, t.say.NoDiskAdvice}
}

// version says that a newer version was given up.
func (t teller) version() Sentence {
	if len(t.s.Box.GivenUp) == 0 {
		return Sentence{}
	}
	return Sentence{warn, "warning", fmt.Sprintf(t.say.GivenUp, strings.Join(t.s.Box.GivenUp, ", ")), t.say.GivenUpAdvice}
}

func (t teller) deposits() Sentence {
	d := t.s.Deposits
	switch {
	case d.Closed:
		return Sentence{warn, "upload", t.say.DepositsClosed, ""}
	case d.Count == 0:
		return Sentence{good, "upload", t.say.NoDeposits, ""}
	}
	text := fmt.Sprintf(t.count(int64(d.Count), t.say.Deposits), page.Size(d.Bytes, t.lang))
	return Sentence{info, "upload", text, t.say.DepositsSafe}
}

func (t teller) neighbours() Sentence {
	if !t.s.Pooled {
		return Sentence{}
	}
	var there int64
	var trouble []string
	for _, n := range t.s.Neighbours {
		if n.There {
			there++
		}
		if n.Problem != "" {
			trouble = append(trouble, n.Name+": "+n.Problem)
		}
	}
	switch {
	case len(trouble) > 0:
		return Sentence{warn, "people", t.say.NeighbourTrouble, strings.Join(trouble, "; ")}
	case there == 0:
		return Sentence{info, "people", t.say.Alone, ""}
	}
	return Sentence{good, "people", t.count(there, t.say.Others), ""}
}

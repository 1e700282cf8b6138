package class

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Spread is how a figure lies over the class, in seconds.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Report is what came of a class.
type Report struct {
	URL            string   `json:"url"`
	Size           int64    `json:"size"` // of the whole body; 0 if nobody got it
	SHA256         string   `json:"sha256,omitempty"`
	TookSeconds    float64  `json:"took_seconds"`
	Seconds        Spread   `json:"seconds"`    // of those who got the body
	FirstByte      Spread   `json:"first_byte"` // of all who got a byte
	LANBytes       int64    `json:"lan_bytes"`
	WANBytes       *int64   `json:"wan_bytes,omitempty"`
	Ratio          *float64 `json:"wan_ratio,omitempty"` // WAN bytes by size
	OKCount        int      `json:"ok"`
	LeftCount      int      `json:"left"`
	TruncatedCount int      `json:"truncated"`
	WrongCount     int      `json:"wrong"`
	ErrorCount     int      `json:"errors"`
	Devices        []Device `json:"devices"`
}

// summarise compares the bodies with one another and adds up.
func summarise(cfg Config, devices []Device, took time.Duration) Report {
	r := Report{URL: cfg.URL, TookSeconds: took.Seconds(), Devices: devices}
	r.SHA256 = mostCommon(devices)
	var secs, first []float64
	for i := range devices {
		d := &devices[i]
		if d.Outcome == OK && d.SHA256 != r.SHA256 {
			d.Outcome, d.Error = Wrong, fmt.Sprintf("the body's SHA-256 is %s, most others got %s", d.SHA256, r.SHA256)
		}
		r.LANBytes += d.Bytes
		if d.Bytes > 0 {
			first = append(first, d.FirstByte)
		}
		switch d.Outcome {
		case OK:
			r.OKCount++
			r.Size = d.Have
			secs = append(secs, d.Seconds)
		case Left:
			r.LeftCount++
		case Truncated:
			r.TruncatedCount++
		case Wrong:
			r.WrongCount++
		default:
			r.ErrorCount++
		}
	}
	r.Seconds, r.FirstByte = spreadOf(secs), spreadOf(first)
	return r
}

func mostCommon(devices []Device) string {
	count := map[string]int{}
	best := ""
	for _, d := range devices {
		if d.Outcome != OK {
			continue
		}
		count[d.SHA256]++
		if best == "" || count[d.SHA256] > count[best] {
			best = d.SHA256
		}
	}
	return best
}

func spreadOf(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	slices.Sort(v)
	rank := func(q float64) float64 { return v[max(0, int(math.Ceil(q*float64(len(v))))-1)] }
	return Spread{Min: v[0], Median: rank(0.5), P99: rank(0.99), Max: v[len(v)-1]}
}

func (r Report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.table())
	return err
}

func (r Report) table() string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("")
	line("class of %d    %s", len(r.Devices), r.URL)
	if r.Size > 0 {
		line("body          %s  sha256 %.16s…", Bytes(r.Size), r.SHA256)
	}
	line("%-14s%10s%10s%10s%10s", "", "min", "median", "p99", "max")
	for _, row := range []struct {
		name string
		s    Spread
	}{{"seconds", r.Seconds}, {"first byte", r.FirstByte}} {
		line("%-14s%10.2f%10.2f%10.2f%10.2f", row.name, row.s.Min, row.s.Median, row.s.P99, row.s.Max)
	}
	line("%-14s%10s", "LAN bytes", Bytes(r.LANBytes))
	if r.WANBytes != nil {
		more := ""
		if r.Ratio != nil {
			more = fmt.Sprintf("   %.3f times the body", *r.Ratio)
		}
		line("%-14s%10s%s", "WAN bytes", Bytes(*r.WANBytes), more)
	}
	counts := fmt.Sprintf("%d right, %d truncated, %d wrong, %d errors", r.OKCount, r.TruncatedCount, r.WrongCount, r.ErrorCount)
	if r.LeftCount > 0 {
		counts += fmt.Sprintf(", %d left as told", r.LeftCount)
	}
	line("%-14s%s", "bodies", counts)
	shown := 0
	for _, d := range r.Devices {
		if d.Error == "" {
			continue
		}
		if shown++; shown > 10 {
			line("  … and others")
			break
		}
		line("  device %d: %s: %s", d.N, d.Outcome, d.Error)
	}
	return b.String()
}

// Bytes is n in the units people read.
func Bytes(n int64) string {
	switch v := float64(n); {
	case n < 0:
		return "?"
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", v/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", v/1e6)
	default:
		return fmt.Sprintf("%.2f GB", v/1e9)
	}
}

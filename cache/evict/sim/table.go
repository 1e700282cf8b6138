package sim

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Table sets results out as text: a row for each policy, and for each size the
// hit ratio by requests and by bytes and, where a policy writes bytes again,
// how many it writes for each byte fetched.
func Table(results []Result) string {
	type cell struct {
		policy   string
		fraction float64
	}
	var policies []string
	var sizes []Result
	cells := make(map[cell]Result)
	for _, r := range results {
		if !slices.Contains(policies, r.Policy) {
			policies = append(policies, r.Policy)
		}
		if !slices.ContainsFunc(sizes, func(s Result) bool { return s.Fraction == r.Fraction }) {
			sizes = append(sizes, r)
		}
		cells[cell{r.Policy, r.Fraction}] = r
	}

	// Neither a strings.Builder nor a tabwriter over one returns an error.
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "requests/bytes")
	for _, s := range sizes {
		fmt.Fprintf(w, "\t%.3g %% = %s", 100*s.Fraction, megabytes(s.Capacity))
	}
	fmt.Fprintln(w)
	for _, p := range policies {
		fmt.Fprint(w, p)
		for _, s := range sizes {
			r, ok := cells[cell{p, s.Fraction}]
			switch {
			case !ok:
				fmt.Fprint(w, "\t-")
			case r.Carried > 0:
				fmt.Fprintf(w, "\t%.3f/%.3f x%.2f", r.HitRatio(), r.ByteHitRatio(), r.Amplification())
			default:
				fmt.Fprintf(w, "\t%.3f/%.3f", r.HitRatio(), r.ByteHitRatio())
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() //nolint:errcheck // to memory, which takes everything
	return text.String()
}

func megabytes(n int64) string {
	if n >= 10e9 {
		return fmt.Sprintf("%.0f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.3g MB", float64(n)/1e6)
}

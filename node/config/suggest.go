package config

import "strings"

// suggest ends the sentence "unknown key" with the known key nearest to what
// was written or, if none is near, with all of them.
func suggest(key string, known []string) string {
	if len(known) == 0 {
		return ": nothing can be set here, remove it"
	}
	best, bestDistance := "", len(key)/2+1
	for _, candidate := range known {
		if d := distance(fold(key), fold(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	return ": the keys here are " + strings.Join(known, ", ")
}

func fold(key string) string {
	return strings.ReplaceAll(strings.ToLower(key), "-", "_")
}

// distance is Levenshtein's: the fewest letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Package suggest finds the name that was probably meant by a misspelt one. It must not know what the names are for.
//
//	suggest.Closest("storage-acount", flags) // "storage-account"
package suggest

import "github.com/agext/levenshtein"

// Closest returns the one of names that name is most probably a misspelling of, or "" when none is close. Of names that
// are equally close, the first counts.
func Closest(name string, names []string) string {
	best, distance := "", 0
	for _, candidate := range names {
		if d := levenshtein.Distance(name, candidate, nil); best == "" || d < distance {
			best, distance = candidate, d
		}
	}
	if distance > 1+len(name)/4 {
		return ""
	}
	return best
}

package page

import (
	"strconv"
	"strings"
)

// units are those of a thousand, as people's own devices count files.
var units = Both[[4]string]{
	French:  [4]string{"octets", "Ko", "Mo", "Go"},
	English: [4]string{"bytes", "KB", "MB", "GB"},
}

// Size writes a number of bytes as people read it.
func Size(n int64, l Lang) string {
	names := units.In(l)
	if n < 1000 {
		unit := names[0]
		if n == 1 || n == 0 && l == French {
			unit = strings.TrimSuffix(unit, "s")
		}
		return strconv.FormatInt(n, 10) + " " + unit
	}
	unit, v := 1, float64(n)/1000
	for v >= 999.5 && unit < len(names)-1 { // would be written as 1000
		v /= 1000
		unit++
	}
	digits := 0
	if v < 9.95 {
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if l == French {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text + " " + names[unit]
}

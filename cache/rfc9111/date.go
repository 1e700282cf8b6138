package rfc9111

import "time"

// ParseTime reads an HTTP-date in any of the three forms of RFC 9110 section
// 5.6.7: IMF-fixdate, RFC 850 and asctime. Names of days, months and the zone
// match in any case; everything else must be exact. The name of the day is not
// compared with the date.
//
// now settles the century of an RFC 850 date, which has two digits for the
// year: what would lie more than 50 years after now is taken to be past.
func ParseTime(s string, now time.Time) (time.Time, bool) {
	s = trimOWS(s)
	// IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT"
	if len(s) == 29 && s[3] == ',' {
		if !oneOf(s[:3], shortDays[:]) || s[4] != ' ' || s[7] != ' ' || s[11] != ' ' || s[16] != ' ' || !isGMT(s[25:]) {
			return time.Time{}, false
		}
		return clock(digits(s[12:16]), monthOf(s[8:11]), digits(s[5:7]), s[17:25])
	}
	// asctime: "Sun Nov  6 08:49:37 1994"
	if len(s) == 24 && s[3] == ' ' {
		if !oneOf(s[:3], shortDays[:]) || s[7] != ' ' || s[10] != ' ' || s[19] != ' ' {
			return time.Time{}, false
		}
		day := s[8:10]
		if day[0] == ' ' {
			day = day[1:]
		}
		return clock(digits(s[20:]), monthOf(s[4:7]), digits(day), s[11:19])
	}
	return parseRFC850(s, now)
}

// parseRFC850 reads "Sunday, 06-Nov-94 08:49:37 GMT".
func parseRFC850(s string, now time.Time) (time.Time, bool) {
	const rest = len(", 06-Nov-94 08:49:37 GMT")
	n := len(s) - rest
	if n < len("Friday") || !oneOf(s[:n], longDays[:]) {
		return time.Time{}, false
	}
	s = s[n:]
	if s[:2] != ", " || s[4] != '-' || s[8] != '-' || s[11] != ' ' || !isGMT(s[20:]) {
		return time.Time{}, false
	}
	yy := digits(s[9:11])
	if yy < 0 {
		return time.Time{}, false
	}
	year := 1900 + yy
	if now.IsZero() {
		if yy < 69 { // without a clock: the pivot of POSIX
			year += 100
		}
	} else {
		// RFC 9110 section 5.6.7: the year of this century, unless the date
		// then lies more than 50 years ahead.
		year = now.UTC().Year()/100*100 + yy
		limit := now.AddDate(50, 0, 0)
		for {
			t, ok := clock(year, monthOf(s[5:8]), digits(s[2:4]), s[12:20])
			if !ok || !t.After(limit) {
				// A past date may belong to the next century, late in this one.
				later, okLater := clock(year+100, monthOf(s[5:8]), digits(s[2:4]), s[12:20])
				if okLater && !later.After(limit) {
					return later, true
				}
				return t, ok
			}
			year -= 100
		}
	}
	return clock(year, monthOf(s[5:8]), digits(s[2:4]), s[12:20])
}

// clock puts a date and "08:49:37" together, or says that there is no such
// second.
func clock(year int, month time.Month, day int, hms string) (time.Time, bool) {
	if hms[2] != ':' || hms[5] != ':' {
		return time.Time{}, false
	}
	h, m, sec := digits(hms[:2]), digits(hms[3:5]), digits(hms[6:8])
	if year < 0 || month == 0 || day < 1 || h < 0 || h > 23 || m < 0 || m > 59 || sec < 0 || sec > 60 {
		return time.Time{}, false
	}
	d := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if d.Day() != day { // 31 April and its like
		return time.Time{}, false
	}
	return d.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second), true
}

var (
	shortDays = [...]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
	longDays  = [...]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	months    = [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
)

func monthOf(s string) time.Month {
	for i, m := range months {
		if equalFold(s, m) {
			return time.Month(i + 1)
		}
	}
	return 0
}

func isGMT(s string) bool { return s[0] == ' ' && equalFold(s[1:], "GMT") }

func oneOf(s string, names []string) bool {
	for _, n := range names {
		if equalFold(s, n) {
			return true
		}
	}
	return false
}

// digits reads a short run of decimal digits, or returns -1.
func digits(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	if s == "" {
		return -1
	}
	return n
}

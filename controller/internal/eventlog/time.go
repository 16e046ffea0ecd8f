package eventlog

import "time"

// clock turns the times of a file into microseconds since 1970 UTC.
type clock struct {
	layout string         // of the time package; empty for the formats of parseTime
	zone   *time.Location // of times that name none
}

// micros reads one time; ok is false for what is no time.
func (c clock) micros(b []byte) (at int64, ok bool) {
	if c.layout != "" {
		t, err := time.ParseInLocation(c.layout, string(b), c.zone)
		return t.UnixMicro(), err == nil
	}
	return c.parseTime(b)
}

// parseTime reads year, month, day (with - or /) and, after a T or a space, hour and minute, and perhaps second, fraction and zone: RFC 3339
// and what spreadsheets, pandas and process-mining tools write. Formats that begin with the day or the month are ambiguous and need a layout.
// It is written out because it takes a sixth of the time that time.Parse takes for one format, and a log may use any of them, mixed.
func (c clock) parseTime(b []byte) (at int64, ok bool) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if len(b) < 10 || (b[4] != '-' && b[4] != '/') || b[7] != b[4] {
		return 0, false
	}
	year, month, day := number(b[:4]), number(b[5:7]), number(b[8:10])
	if year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || day > daysIn(year, month) {
		return 0, false
	}
	b = b[10:]
	var seconds, micros int64
	if len(b) > 0 {
		if b[0] != 'T' && b[0] != 't' && b[0] != ' ' {
			return 0, false
		}
		if seconds, micros, b, ok = timeOfDay(b[1:]); !ok {
			return 0, false
		}
	}
	if len(b) == 0 {
		if c.zone == time.UTC {
			return (days(year, month, day)*86400+seconds)*1e6 + micros, true
		}
		return time.Date(int(year), time.Month(month), int(day), 0, 0, int(seconds), int(micros)*1000, c.zone).UnixMicro(), true
	}
	offset, ok := zoneOffset(b)
	return (days(year, month, day)*86400+seconds-offset)*1e6 + micros, ok
}

// timeOfDay reads hh:mm[:ss[.fraction]] and gives what follows.
func timeOfDay(b []byte) (seconds, micros int64, rest []byte, ok bool) {
	if len(b) < 5 || b[2] != ':' {
		return 0, 0, nil, false
	}
	hour, minute := number(b[:2]), number(b[3:5])
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, 0, nil, false
	}
	seconds, b = hour*3600+minute*60, b[5:]
	if len(b) < 3 || b[0] != ':' {
		return seconds, 0, b, true
	}
	second := number(b[1:3])
	if second < 0 || second > 59 {
		return 0, 0, nil, false
	}
	seconds, b = seconds+second, b[3:]
	if len(b) == 0 || (b[0] != '.' && b[0] != ',') {
		return seconds, 0, b, true
	}
	n := 1
	for scale := int64(100_000); n < len(b) && b[n] >= '0' && b[n] <= '9'; n++ {
		micros += int64(b[n]-'0') * scale
		scale /= 10
	}
	return seconds, micros, b[n:], n > 1
}

// zoneOffset reads Z, UTC, +hh, +hhmm and +hh:mm, perhaps after a space, in seconds east of UTC.
func zoneOffset(b []byte) (seconds int64, ok bool) {
	if b[0] == ' ' {
		b = b[1:]
	}
	switch string(b) {
	case "Z", "z", "UTC":
		return 0, true
	}
	if len(b) == 6 && b[3] == ':' {
		b = []byte{b[0], b[1], b[2], b[4], b[5]}
	}
	if (len(b) != 3 && len(b) != 5) || (b[0] != '+' && b[0] != '-') {
		return 0, false
	}
	hour, minute := number(b[1:3]), int64(0)
	if len(b) == 5 {
		minute = number(b[3:5])
	}
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, false
	}
	seconds = hour*3600 + minute*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// number reads decimal digits; -1 where there is anything else.
func number(b []byte) int64 {
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

func daysIn(year, month int64) int64 {
	switch {
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	case month != 2:
		return 31
	case year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	}
	return 28
}

// days counts the days since 1970-01-01 in the Gregorian calendar, with the year starting in March so that a leap day comes last.
func days(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400) + (153*(month-3)+2)/5 + day - 719469
}

// floorDiv rounds down, also below zero. d is positive.
func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

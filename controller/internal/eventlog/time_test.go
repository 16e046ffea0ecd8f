package eventlog

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, tt := range []struct {
		in   string
		zone *time.Location
		want string // RFC 3339; empty for no time
	}{
		{"2024-02-29T23:59:59Z", time.UTC, "2024-02-29T23:59:59Z"},
		{"2024-02-29T23:59:59.123456789+05:30", time.UTC, "2024-02-29T18:29:59.123456Z"},
		{"2023-04-20 08:54:34.254000+00:00", time.UTC, "2023-04-20T08:54:34.254Z"},
		{"2012/01/07 09:07:39.782", berlin, "2012-01-07T08:07:39.782Z"},
		{"2012-01-07T09:07:39,7", time.UTC, "2012-01-07T09:07:39.7Z"},
		{" 2012-01-07 09:07 ", time.UTC, "2012-01-07T09:07:00Z"},
		{"2012-01-07 09:07:00 -0330", berlin, "2012-01-07T12:37:00Z"},
		{"2012-01-07 09:07:00+02", berlin, "2012-01-07T07:07:00Z"},
		{"2012-01-07 09:07:00 UTC", berlin, "2012-01-07T09:07:00Z"},
		{"2012-01-07", time.UTC, "2012-01-07T00:00:00Z"},
		{"0001-01-01", time.UTC, "0001-01-01T00:00:00Z"},
		{"1969-12-31T23:59:59.999999Z", time.UTC, "1969-12-31T23:59:59.999999Z"},
		{"1900-02-29", time.UTC, ""},
		{"2023-02-29", time.UTC, ""},
		{"2023-04-31", time.UTC, ""},
		{"2023-13-01", time.UTC, ""},
		{"2023-00-01", time.UTC, ""},
		{"2023-1-1", time.UTC, ""},
		{"2023-01/01", time.UTC, ""},
		{"01/02/2023 10:00", time.UTC, ""},
		{"2023-01-01 24:00", time.UTC, ""},
		{"2023-01-01 10:60", time.UTC, ""},
		{"2023-01-01 10:00:60", time.UTC, ""},
		{"2023-01-01 10:00:00.", time.UTC, ""},
		{"2023-01-01 10:00:00+", time.UTC, ""},
		{"2023-01-01 10:00:00+1:00", time.UTC, ""},
		{"2023-01-01 10:00:00 ", time.UTC, "2023-01-01T10:00:00Z"},
		{"2023-01-01 10:00:00 CET", time.UTC, ""},
		{"2023-01-01x10:00", time.UTC, ""},
		{"1700000000", time.UTC, ""},
		{"", time.UTC, ""},
	} {
		at, ok := clock{zone: tt.zone}.micros([]byte(tt.in))
		if got := time.UnixMicro(at).UTC().Format(time.RFC3339Nano); ok != (tt.want != "") || (ok && got != tt.want) {
			t.Errorf("%q: %s %v, want %q", tt.in, got, ok, tt.want)
		}
	}
}

// TestParseTimeAgainstLibrary: whatever the library writes is read as what it was.
func TestParseTimeAgainstLibrary(t *testing.T) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.000000-07:00", "2006/01/02 15:04:05.000000 -0700", "2006-01-02T15:04:05.999999Z"} {
		for i := range int64(20_000) {
			at := time.UnixMicro(-30_000_000_000_000_000 + i*7_919_123_456_789).UTC()
			got, ok := clock{zone: time.UTC}.micros([]byte(at.Format(layout)))
			if !ok || got != at.UnixMicro() {
				t.Fatalf("%s: %d %v, want %d", at.Format(layout), got, ok, at.UnixMicro())
			}
		}
	}
}

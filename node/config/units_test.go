package config_test

import (
	"testing"
	"time"

	"preau/node/config"
)

func TestParseBytes(t *testing.T) {
	tests := map[string]struct {
		want  config.Bytes
		wrong string
	}{
		"2GiB":      {want: 2 << 30},
		"500 MB":    {want: 500e6},
		"500mb":     {want: 500e6},
		"1.5 KiB":   {want: 1536},
		"12345":     {want: 12345},
		"12345 B":   {want: 12345},
		" 0 ":       {want: 0},
		"1TB":       {want: 1e12},
		"8388608T":  {wrong: `"8388608T" is ambiguous: write TiB (powers of 1024) or TB (powers of 1000)`},
		"2G":        {wrong: `"2G" is ambiguous: write GiB (powers of 1024) or GB (powers of 1000)`},
		"-1GiB":     {wrong: `"-1GiB": a size cannot be negative`},
		"much":      {wrong: `"much" is not a size: write it like 2GiB or 500MB`},
		"":          {wrong: `"" is not a size: write it like 2GiB or 500MB`},
		"1.2.3MB":   {wrong: `"1.2.3MB" is not a size: write it like 2GiB or 500MB`},
		"9000000TB": {want: 9e18},
		"9500000TB": {wrong: `"9500000TB" is more bytes than can be counted`},
		"9.3e9TB":   {wrong: `"9.3e9TB" is not a size: write it like 2GiB or 500MB`},
	}
	for text, tt := range tests {
		t.Run(text, func(t *testing.T) {
			got, err := config.ParseBytes(text)
			if tt.wrong != "" {
				if err == nil || err.Error() != tt.wrong {
					t.Errorf("error = %v, want %s", err, tt.wrong)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

func TestParseDuration(t *testing.T) {
	tests := map[string]struct {
		want  time.Duration
		wrong string
	}{
		"30s":     {want: 30 * time.Second},
		"2h":      {want: 2 * time.Hour},
		"7d":      {want: 7 * config.Day},
		"1d 12h":  {want: 36 * time.Hour},
		"1h30m":   {want: 90 * time.Minute},
		"0":       {want: 0},
		"0s":      {want: 0},
		"30":      {wrong: `"30" lacks its unit: write it like 30s, 30m, 30h or 30d`},
		"-5s":     {wrong: `"-5s": a length of time cannot be negative`},
		"soon":    {wrong: `"soon" is not a length of time: write it like 30s, 2h, 7d or 1h30m`},
		"d":       {wrong: `"d" is not a length of time: write it like 30s, 2h, 7d or 1h30m`},
		"200000d": {wrong: `"200000d" is longer than can be counted`},
	}
	for text, tt := range tests {
		t.Run(text, func(t *testing.T) {
			got, err := config.ParseDuration(text)
			if tt.wrong != "" {
				if err == nil || err.Error() != tt.wrong {
					t.Errorf("error = %v, want %s", err, tt.wrong)
				}
				return
			}
			if err != nil || got.Std() != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestUnitsAreWrittenAsPeopleDo(t *testing.T) {
	for want, b := range map[string]config.Bytes{"2GiB": 2 << 30, "500MB": 500e6, "0": 0, "12345": 12345, "1000KiB": 1024000} {
		if got := b.String(); got != want {
			t.Errorf("%d = %q, want %q", int64(b), got, want)
		}
	}
	for want, d := range map[string]time.Duration{"30d": 30 * config.Day, "0s": 0, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "10s": 10 * time.Second, "1m30s": 90 * time.Second} {
		if got := config.Duration(d).String(); got != want {
			t.Errorf("%v = %q, want %q", d, got, want)
		}
	}
}

func FuzzUnitsComeBack(f *testing.F) {
	f.Add(int64(1 << 40))
	f.Add(int64(90 * time.Minute))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			t.Skip("neither can be negative")
		}
		if got, err := config.ParseBytes(config.Bytes(n).String()); err != nil || got != config.Bytes(n) {
			t.Errorf("%d bytes come back as %d, %v", n, got, err)
		}
		if got, err := config.ParseDuration(config.Duration(n).String()); err != nil || got != config.Duration(n) {
			t.Errorf("%v comes back as %v, %v", time.Duration(n), got, err)
		}
	})
}

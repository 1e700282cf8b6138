package main

import (
	"testing"
	"time"
)

func TestVersionsSortAsTheirReleasesDo(t *testing.T) {
	day := time.Date(2026, 11, 23, 9, 47, 35, 0, time.UTC)
	for version, want := range map[string]string{
		"v1.2.3":                 "1.2.3",
		"1.2.3":                  "1.2.3",
		"v1.2.3-rc1":             "1.2.3~rc1",
		"v1.2.3-4-gabcdef0":      "1.2.3+4.gabcdef0",
		"v1.2.3-rc1-4-gabcdef0":  "1.2.3~rc1+4.gabcdef0",
		"v1.2.3-dirty":           "1.2.3+dirty",
		"v1.2.3-4-gabcdef-dirty": "1.2.3+4.gabcdef+dirty",
		"9fe58e8":                "0~git20261123094735.9fe58e8",
		"9fe58e8-dirty":          "0~git20261123094735.9fe58e8+dirty",
		"1234567":                "0~git20261123094735.1234567",
	} {
		if got, err := debVersion(version, day); err != nil || got != want {
			t.Errorf("%q became %q, %v; want %q", version, got, err, want)
		}
	}
	for _, version := range []string{"", "devel", "v1.2.3-mine", "1.2.3\n", "1:2", "../1", "v1.2.3-1"} {
		if got, err := debVersion(version, day); err == nil {
			t.Errorf("%q became %q", version, got)
		}
	}
}

func TestTagsHaveNoLettersThatImagesRefuse(t *testing.T) {
	if got, want := tagged("0~git1.abc+dirty"), "0-git1.abc-dirty"; got != want {
		t.Errorf("tag %q, want %q", got, want)
	}
}

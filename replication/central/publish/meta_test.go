package publish

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

func TestParseMeta(t *testing.T) {
	type fields = map[string]string
	tests := map[string]struct {
		key, contentType string
		meta             fields
		want             central.Meta
		faults           []string
		held             bool
	}{
		"nothing":       {key: "a.pdf", want: central.Meta{ContentType: "application/pdf"}},
		"unknown end":   {key: "a.xyzzy", want: central.Meta{ContentType: anything}},
		"its own type":  {key: "a.pdf", contentType: "image/png", want: central.Meta{ContentType: "image/png"}},
		"a bad type":    {key: "a.PDF", contentType: "not a type\x01", want: central.Meta{ContentType: "application/pdf"}, faults: []string{"content-type"}},
		"no type given": {key: "a.zim", contentType: "binary/octet-stream", want: central.Meta{ContentType: "application/x-zim"}},
		"all": {key: "a", meta: fields{
			"title": " Été ", "description": "=?UTF-8?Q?d=C3=A9j=C3=A0?= vu", "language": "fr-FR", "level": "6e%20%C3%A9l%C3%A8ve",
			"license": "CC BY-SA 4.0", "collection": "maths.6", "expiry": "2027-06-30", "audience": "0690002b,0690001A, 0690002B", "other": "x",
		}, want: central.Meta{
			Title: "Été", Description: "déjà vu", Language: "fr-FR", Level: "6e élève", Licence: "CC BY-SA 4.0", Collection: "maths.6",
			Expires: time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC), Audience: []identity.School{"0690001A", "0690002B"}, ContentType: anything,
		}},
		"times": {key: "a", meta: fields{"expires": "2027-06-30T18:00:00+02:00"}, want: central.Meta{
			Expires: time.Date(2027, 6, 30, 16, 0, 0, 0, time.UTC), ContentType: anything,
		}},
		"a percent sign": {key: "a", meta: fields{"title": "50% off"}, want: central.Meta{Title: "50% off", ContentType: anything}},
		"a second line":  {key: "a", meta: fields{"title": "a%0Ab", "description": "a%0Ab"}, want: central.Meta{Description: "a\nb", ContentType: anything}, faults: []string{"title"}},
		"not UTF-8":      {key: "a", meta: fields{"title": "\xff"}, want: central.Meta{ContentType: anything}, faults: []string{"title"}},
		"too long":       {key: "a", meta: fields{"title": strings.Repeat("x", central.MaxText+1)}, want: central.Meta{ContentType: anything}, faults: []string{"title"}},
		"other charset":  {key: "a", meta: fields{"title": "=?koi8-r?Q?=C1?="}, want: central.Meta{ContentType: anything}, faults: []string{"title"}},
		"nonsense": {key: "a", meta: fields{"language": "français", "collection": "a/b", "expires": "tomorrow", "level": " "},
			want: central.Meta{ContentType: anything}, faults: []string{"language", "collection", "expires"}},
		"empty audience":   {key: "a", meta: fields{"audience": ""}, held: true},
		"unknown audience": {key: "a", meta: fields{"audience": "*"}, held: true},
		"one bad school":   {key: "a", meta: fields{"audience": "0690001A,069000XX"}, held: true},
		"a stray comma":    {key: "a", meta: fields{"audience": "0690001A,"}, held: true},
		"encoded audience": {key: "a", meta: fields{"audience": "0690001A%2C0690002B"}, want: central.Meta{
			Audience: []identity.School{"0690001A", "0690002B"}, ContentType: anything,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, faults, err := parseMeta(store.Info{Key: tt.key, ContentType: tt.contentType, Meta: tt.meta})
			if (err != nil) != tt.held {
				t.Fatalf("held: %v, want %t", err, tt.held)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			var fields []string
			for _, f := range faults {
				fields = append(fields, f.field)
			}
			if diff := cmp.Diff(tt.faults, fields); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever an object says of itself: what is made of it can be published, and
// an audience is never lost.
func FuzzParseMeta(f *testing.F) {
	f.Add("a.pdf", "text/html", "Été", "=?UTF-8?B?w6k=?=", "fr", "2027-01-01", "0690001A", true)
	f.Add("b", "", "100%", "%C3%A9", "x-y", "Sun, 06 Nov 1994 08:49:37 GMT", "", true)
	f.Fuzz(func(t *testing.T, key, contentType, title, description, language, expires, audience string, limited bool) {
		info := store.Info{Key: key, ContentType: contentType, Meta: map[string]string{
			"title": title, "description": description, "language": language, "expires": expires, "collection": title, "level": language,
		}}
		if limited {
			info.Meta["audience"] = audience
		}
		m, _, err := parseMeta(info)
		if err != nil {
			if !limited {
				t.Errorf("held with no audience: %v", err)
			}
			return
		}
		if limited != (len(m.Audience) > 0) {
			t.Errorf("audience %q becomes %v", audience, m.Audience)
		}
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
		if m.ContentType == "" || !utf8.ValidString(m.ContentType) {
			t.Errorf("content type %q", m.ContentType)
		}
		if _, err := fingerprint(m); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseNotice(f *testing.F) {
	f.Add([]byte(`{"Records":[{"s3":{"bucket":{"name":"maps"},"object":{"key":"a+b%20c"}}}]}`))
	f.Add([]byte(`{"Event":"s3:TestEvent"}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		hints, err := parseNotice(p)
		if err != nil {
			return
		}
		if len(hints) > 2*maxNotices {
			t.Errorf("%d hints", len(hints))
		}
		for _, h := range hints {
			if store.CheckKey(h.key) != nil || store.CheckBucket(h.bucket) != nil {
				t.Errorf("a hint at %q %q", h.bucket, h.key)
			}
		}
	})
}

func FuzzPlace(f *testing.F) {
	p, err := encodePlace(place{Key: "k", ETag: "e", Length: 3}, []byte("list"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		at, list, err := decodePlace(p)
		if err != nil {
			return
		}
		again, err := encodePlace(at, list)
		if err != nil {
			t.Fatal(err)
		}
		if same, rest, err := decodePlace(again); err != nil || same != at || !bytes.Equal(rest, list) {
			t.Errorf("%+v comes back as %+v, %v", at, same, err)
		}
	})
}

func TestPlacesAreForgotten(t *testing.T) {
	var c places
	for i := range maxPlaces + 10 {
		c.put(block.Sum([]byte{byte(i), byte(i >> 8)}), place{Key: "k"})
	}
	if len(c.at) > maxPlaces {
		t.Errorf("%d places are remembered", len(c.at))
	}
}

func TestLoadKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signing.key")
	key, err := LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadKey(file)
	if err != nil || !key.Equal(again) || len(key) != ed25519.PrivateKeySize {
		t.Errorf("the key comes back as another one, %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const rsa = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIFAfHPDhHWqUSqXUTn+u5TXiHyT7XXHEGmBhK8AvjXlk\n-----END PRIVATE KEY-----\n"
	tests := map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by all": {string(good), 0o644, "chmod 600"},
		"empty":           {"", 0o600, "PEM"},
		"two keys":        {string(good) + string(good), 0o600, "PEM"},
		"not a key":       {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "asn1"},
		"another kind":    {rsa, 0o600, "want Ed25519"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "signing.key")
			if err := os.WriteFile(file, []byte(tt.text), tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadKey(file); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("LoadKey: %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "no", "folder")); err == nil {
		t.Error("a key is made in a folder that is not there")
	}
}

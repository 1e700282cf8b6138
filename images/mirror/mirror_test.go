package mirror

import (
	"errors"
	"testing"
)

func TestTheFirstWithDebianItself(t *testing.T) {
	for name, tt := range map[string]struct {
		list, want string
		err        error
	}{
		"security first": {"http://mirror.example/debian-security/\nhttp://mirror.example/debian/\nhttp://other.example/debian/\n", "http://mirror.example/debian", nil},
		"https":          {"https://mirror.example/pub/debian\n", "https://mirror.example/pub/debian", nil},
		"another":        {"http://archive.example/ubuntu/\nfile:/srv/debian/\n", "", errNone},
		"nothing":        {"", "", errNone},
	} {
		if got, err := first(tt.list); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

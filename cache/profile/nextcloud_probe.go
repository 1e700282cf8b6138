package profile

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"strings"
)

// nextcloudProbed reads a share's page. The page is not counted as a download
// or as a guess, and it is the only place where somebody without an account is
// told that downloads are hidden or limited; limits are counted at the platform,
// so a share with one has to be asked there every time.
func nextcloudProbed(plan Plan, status int, h http.Header, body []byte) Ruling {
	own := func(name, why string) Ruling {
		return Ruling{Effect: Own, For: 10 * minute, Groups: shareGroups(plan.Capability), Rule: Rule{name, why}}
	}
	switch {
	case status == http.StatusNotFound || status == http.StatusGone:
		return linkGone("nextcloud-probe", plan.Capability)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status >= 300 && status < 400:
		return own("nextcloud-probe-password", "The link asks for a password or an account: what it opens is for those who have it.")
	case status != http.StatusOK:
		return Ruling{Effect: Next, For: minute, Rule: Rule{"nextcloud-probe-silent", "The share's page could not be had, so it is not known what its owner allows."}}
	case h.Get("Content-Encoding") != "" && h.Get("Content-Encoding") != "identity" || len(body) >= plan.Probe.Limit:
		return own("nextcloud-probe-unread", "The share's page could not be read to its end, so it is not known what its owner allows.")
	}
	said := hiddenInputs(body)
	token, modern := said["sharingToken"], false
	if token == "" {
		modern = state(said["initial-state-files_sharing-sharingToken"], &token)
	}
	switch _, limited := said["initial-state-files_downloadlimit-download_limit"]; {
	case token != plan.Capability:
		return own("nextcloud-probe-unknown", "The page is not a share's as known here: an app may show it in its own way.")
	case limited:
		return own("nextcloud-probe-limit", "The link's downloads are counted, each one at the platform.")
	case !modern && said["hideDownload"] != "false", modern && !offersDownload(said):
		return own("nextcloud-probe-hidden", "The owner hides the download.")
	}
	return Ruling{Effect: Keep, For: 15 * minute, Rule: Rule{"nextcloud-probe-open", "The link's page offers the download to everybody, without a password and without counting."}}
}

// offersDownload looks for the download in the menu of newer pages.
func offersDownload(said map[string]string) bool {
	var menu []struct {
		ID string `json:"id"`
	}
	if !state(said["initial-state-core-public-page-menu"], &menu) {
		return false
	}
	for _, entry := range menu {
		if entry.ID == "download" {
			return true
		}
	}
	return false
}

// state reads a value that the platform hands to its scripts.
func state(value string, into any) bool {
	raw, err := base64.StdEncoding.DecodeString(value)
	return err == nil && json.Unmarshal(raw, into) == nil
}

// hiddenInputs collects the values of a page's hidden inputs by their ids. It
// does not try to understand the page: what it misses counts as not said. Of two
// with one id the first counts, which stands before all that a user may have
// written.
func hiddenInputs(body []byte) map[string]string {
	said := map[string]string{}
	rest := string(body)
	for len(said) < 1000 {
		i := strings.Index(rest, "<input ")
		if i < 0 {
			break
		}
		rest = rest[i+len("<input "):]
		tag := attributes(&rest)
		if id := tag["id"]; id != "" && strings.EqualFold(tag["type"], "hidden") {
			if _, again := said[id]; !again {
				said[id] = tag["value"]
			}
		}
	}
	return said
}

// attributes reads the attributes of a tag and leaves what follows it.
func attributes(rest *string) map[string]string {
	tag := map[string]string{}
	s := *rest
	for len(tag) < 30 {
		s = strings.TrimLeft(s, " \t\r\n/")
		if s == "" || s[0] == '>' {
			break
		}
		end := strings.IndexAny(s, "= \t\r\n/>")
		if end < 0 {
			s = ""
			break
		}
		name := strings.ToLower(s[:end])
		s = s[end:]
		value := ""
		if after, ok := strings.CutPrefix(s, "="); ok {
			if value, s, ok = quoted(after); !ok {
				s = ""
				break
			}
		}
		if _, again := tag[name]; !again && name != "" {
			tag[name] = html.UnescapeString(value)
		}
	}
	*rest = s
	return tag
}

// quoted reads the value of an attribute.
func quoted(s string) (value, rest string, ok bool) {
	if s == "" {
		return "", "", false
	}
	if q := s[0]; q == '"' || q == '\'' {
		i := strings.IndexByte(s[1:], q)
		if i < 0 {
			return "", "", false
		}
		return s[1 : 1+i], s[i+2:], true
	}
	i := strings.IndexAny(s, " \t\r\n>")
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i:], true
}

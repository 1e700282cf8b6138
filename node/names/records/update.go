package records

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// life is how long others may keep a record.
const life = 60

// key signs updates (RFC 8945).
type key struct{ name, algorithm, secret string }

func readKey(file string) (*key, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the key for updates of DNS: %w", err)
	}
	words := strings.Fields(string(raw))
	if len(words) != 3 {
		return nil, fmt.Errorf("%s must have the key's name, its algorithm and its secret in base64, and nothing else", file)
	}
	k := &key{name: dns.CanonicalName(words[0]), algorithm: dns.CanonicalName(words[1]), secret: words[2]}
	switch k.algorithm {
	case dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
		return k, nil
	}
	return nil, fmt.Errorf("%s: algorithm %q is none of hmac-sha256, hmac-sha384 and hmac-sha512", file, words[1])
}

// update replaces or removes a record by a dynamic update (RFC 2136 §2.5). The
// name has one such record at most: what a box left that was cut off goes, too.
func (w *Writer) update(ctx context.Context, r Record) error {
	zone, name := dns.Fqdn(w.hook.Zone), dns.Fqdn(r.Name)
	if !dns.IsSubDomain(zone, name) {
		return fmt.Errorf("%s does not lie in zone %s: acme_dns.zone is not that of locate.domain", r.Name, w.hook.Zone)
	}
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: life}, Txt: []string{r.Value}}
	m := new(dns.Msg)
	m.SetUpdate(zone)
	if r.Remove {
		m.Remove([]dns.RR{txt})
	} else {
		m.RemoveRRset([]dns.RR{txt})
		m.Insert([]dns.RR{txt})
	}
	m.SetTsig(w.key.name, w.key.algorithm, 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", Timeout: within, TsigSecret: map[string]string{w.key.name: w.key.secret}}
	answer, _, err := c.ExchangeContext(ctx, m, w.hook.Server)
	if err != nil {
		return fmt.Errorf("update %s at %s: %w", zone, w.hook.Server, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("update %s: %s answers %s", zone, w.hook.Server, dns.RcodeToString[answer.Rcode])
	}
	return nil
}

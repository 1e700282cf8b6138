package s3store

import (
	"encoding/base64"
	"mime"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"preau/replication/central/store"
)

const metaPrefix = "X-Amz-Meta-"

func putOptions(o store.Options) minio.PutObjectOptions {
	opts := minio.PutObjectOptions{
		ContentType: store.TypeOf(o),
		// Over plain HTTP the body would otherwise be signed piece by piece, and
		// radosgw keeps "Content-Encoding: aws-chunked" as the object's own.
		DisableContentSha256: true,
	}
	if len(o.Meta) > 0 {
		opts.UserMetadata = make(map[string]string, len(o.Meta))
		for name, value := range o.Meta {
			// With its prefix, or a name such as "expires" is taken for the header.
			opts.UserMetadata[metaPrefix+name] = encodeMeta(value)
		}
	}
	return opts
}

// encodeMeta writes what a header can't carry unharmed as an RFC 2047 word:
// anything but plain ASCII, and spaces that the signature's rules would fold.
func encodeMeta(value string) string {
	plain := value == strings.Trim(value, " ") && !strings.Contains(value, "  ")
	for _, c := range []byte(value) {
		plain = plain && c >= ' ' && c <= '~'
	}
	if plain {
		return value
	}
	return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(value)) + "?="
}

// metaOf reads the metadata of any S3 tool's objects.
func metaOf(h http.Header) map[string]string {
	var meta map[string]string
	words := new(mime.WordDecoder)
	for name, values := range h {
		if len(name) <= len(metaPrefix) || !strings.EqualFold(name[:len(metaPrefix)], metaPrefix) || len(values) == 0 {
			continue
		}
		value := values[0]
		// What can't be decoded is what someone has written.
		if decoded, err := words.DecodeHeader(value); err == nil {
			value = decoded
		}
		if meta == nil {
			meta = map[string]string{}
		}
		meta[strings.ToLower(name[len(metaPrefix):])] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return meta
}

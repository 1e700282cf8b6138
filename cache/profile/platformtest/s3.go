package platformtest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// S3 is an object store with a bucket that everybody may read and one that only
// those may who have a key, or an address that was signed with one.
type S3 struct {
	*host
	version int
}

// NewS3 makes one.
func NewS3() *S3 {
	s := &S3{host: newHost()}
	s.serve = s.answer
	for _, u := range known {
		s.secretly(credential("signature", u), credential("key", u))
	}
	return s
}

// Places implements Platform.
func (s *S3) Places(user string) []string {
	return []string{
		"/public/film.mp4", "/public/image.png", "/public/dossier/a%20b.txt", "/public/never.png", "/public/", "/public/?list-type=2", "/private/lettre.pdf", "/private/" + user + ".png",
		"/public/film.mp4?versionId=1", "/private/?list-type=2", "/public/image.png?response-content-type=text%2Fhtml", "/public/film.mp4?partNumber=1", "/public/film.mp4?acl",
	}
}

// Ways implements Platform.
func (s *S3) Ways(user string) []Way {
	signed := way("presigned")
	signed.Query = url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {user + "/20261123/eu/s3/aws4_request"}, "X-Amz-Expires": {"3600"},
		"X-Amz-SignedHeaders": {"host"}, "X-Amz-Signature": {credential("signature", user)},
	}.Encode()
	old := way("presigned as of old")
	old.Query = url.Values{"AWSAccessKeyId": {user}, "Expires": {"1900000000"}, "Signature": {credential("signature", user)}}.Encode()
	return []Way{
		{}, signed, old, way("key", "Authorization", "AWS4-HMAC-SHA256 Credential="+user+"/20261123/eu/s3/aws4_request, SignedHeaders=host, Signature="+credential("signature", user)),
		way("cloud front", "Cookie", "CloudFront-Signature="+credential("signature", user)), way("token", "X-Amz-Security-Token", credential("key", user)),
	}
}

// Happenings implements Platform.
func (s *S3) Happenings() []Happening {
	return []Happening{{"objects replaced", func() { s.do(func() { s.version++ }) }}}
}

func (s *S3) whose(r *http.Request) (user, by string) {
	q := r.URL.Query()
	for _, name := range []string{"X-Amz-Signature", "Signature"} {
		if u := whose("signature", q.Get(name)); u != "" {
			return u, "query"
		}
	}
	if _, sign, ok := strings.Cut(r.Header.Get("Authorization"), "Signature="); ok {
		return whose("signature", sign), "header"
	}
	if u := whose("key", r.Header.Get("X-Amz-Security-Token")); u != "" {
		return u, "header"
	}
	return cookie(r, "CloudFront-Signature", "signature"), "cookie"
}

func (s *S3) answer(a *answer, r *http.Request) {
	a.set("Server", "AmazonS3", "X-Amz-Request-Id", strings.ToUpper(short(s.now().String())))
	user, by := s.whose(r)
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	private := bucket == "private" || name == "" || r.URL.Query().Has("acl")
	if private || r.URL.Query().Has("response-content-type") {
		// Who overrides fields must sign, too.
		if user == "" {
			s.refuse(a, r, http.StatusForbidden, "AccessDenied", "Access Denied")
			return
		}
		a.own(user, by)
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		s.refuse(a, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	case bucket != "public" && bucket != "private":
		s.refuse(a, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	case strings.HasPrefix(name, "never"):
		s.refuse(a, r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	case name == "":
		a.text(http.StatusOK, "application/xml", "<ListBucketResult/>")
	default:
		var version int
		s.do(func() { version = s.version })
		a.set("ETag", strong(r.URL.Path, fmt.Sprint(version), a.as), "Content-Type", "application/octet-stream", "X-Amz-Version-Id", fmt.Sprint(version))
		modified := s.begun.Add(-5*24*time.Hour + time.Duration(version)*time.Second).Truncate(time.Second)
		a.content(r, Noise(20_000, uint64(len(name)+version)), modified, ranges{single: true})
	}
}

func (s *S3) refuse(a *answer, r *http.Request, status int, code, message string) {
	a.set("Content-Type", "application/xml")
	if r.Method == http.MethodHead {
		a.WriteHeader(status)
		return
	}
	a.text(status, "application/xml", `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>"+code+"</Code><Message>"+message+"</Message></Error>")
}

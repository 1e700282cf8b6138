package s3store

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"preau/replication/central/store"
)

// explain says what went wrong with what, by one of store's sentinels.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	// The context is ours to look at: an error that says "cancelled" may be
	// an attempt's.
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%s: %w", what, cause)
	}
	advice, kind := kindOf(err)
	if errors.Is(kind, store.ErrDenied) {
		s.keys.forget()
	}
	if advice != "" {
		return fmt.Errorf("%s: %w: %s: %w", what, kind, advice, err)
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// denials says what to do about a refusal.
var denials = map[string]string{
	"AccessDenied":          "the account may not do this; ask Ceph's administrator to grant it on this bucket",
	"InvalidAccessKeyId":    "the access key is unknown; check the key file",
	"SignatureDoesNotMatch": "the secret key is wrong, or a proxy changes requests; check the key file",
	"ExpiredToken":          "the credentials have expired; put new ones in the key file",
	"InvalidToken":          "the token is wrong; put new credentials in the key file",
	"TokenRefreshRequired":  "the credentials have expired; put new ones in the key file",
	"RequestTimeTooSkewed":  "this machine's clock is wrong; check its time service",
	"UserSuspended":         "the account is suspended; ask Ceph's administrator",
	"AccountProblem":        "something is wrong with the account; ask Ceph's administrator",
}

// kindOf sorts an error of minio-go's or the network's.
func kindOf(err error) (advice string, kind error) {
	var (
		answer    minio.ErrorResponse
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
	)
	switch {
	case errors.Is(err, errKeys):
		return "check the key file", store.ErrDenied
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &name):
		return "its certificate can't be trusted; check the endpoint and the CA file", store.ErrUnavailable
	case !errors.As(err, &answer):
		return "", store.ErrUnavailable
	}
	switch answer.Code {
	case "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion":
		return "", store.ErrNotFound
	case "PreconditionFailed", "ConditionalRequestConflict":
		return "", store.ErrChanged
	case "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "StorageLimitExceeded":
		return "raise the quota or remove something", store.ErrFull
	case "BadDigest", "RequestTimeout", "IncompleteBody", "OperationAborted", "SlowDown", "XMinioServerNotInitialized":
		return "", store.ErrUnavailable
	}
	if advice, ok := denials[answer.Code]; ok {
		return advice, store.ErrDenied
	}
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound:
		return "", store.ErrNotFound
	case code == http.StatusPreconditionFailed:
		return "", store.ErrChanged
	case code == http.StatusInsufficientStorage:
		return "raise the quota or remove something", store.ErrFull
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return denials["AccessDenied"], store.ErrDenied
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code == http.StatusConflict:
		return "", store.ErrUnavailable
	case code >= 400 && code < 500:
		return "", store.ErrInvalid
	case code == 0 && strings.HasPrefix(answer.Code, "Invalid"):
		// minio-go's own checks, before it sends anything.
		return "", store.ErrInvalid
	}
	return "", store.ErrUnavailable
}

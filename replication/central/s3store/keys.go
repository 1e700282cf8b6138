package s3store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// keysFor is how long credentials are used before they are asked for again.
const keysFor = time.Minute

// keys gives minio-go the credentials that ask returns.
type keys struct {
	ask func(context.Context) (Key, error)

	mu    sync.Mutex
	until time.Time
}

var _ credentials.Provider = (*keys)(nil)

// errKeys marks an error of whoever keeps the credentials.
var errKeys = errors.New("read the credentials")

// RetrieveWithCredContext implements credentials.Provider.
func (k *keys) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	if cc == nil || cc.Context == nil {
		return k.Retrieve()
	}
	return k.retrieve(cc.Context)
}

// Retrieve is for callers without a context, of which minio-go has none left.
func (k *keys) Retrieve() (credentials.Value, error) { return k.retrieve(context.Background()) }

func (k *keys) retrieve(ctx context.Context) (credentials.Value, error) {
	// minio-go has taken the context's end away; a key file is not worth more.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	key, err := k.ask(ctx)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("%w: %w", errKeys, err)
	}
	if key.ID == "" || key.Secret == "" {
		return credentials.Value{}, fmt.Errorf("%w: the access key or its secret is empty", errKeys)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = time.Now().Add(keysFor)
	return credentials.Value{
		AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.Token,
		SignerType: credentials.SignatureV4,
	}, nil
}

// IsExpired implements credentials.Provider.
func (k *keys) IsExpired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().After(k.until)
}

// forget has the next request ask again.
func (k *keys) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = time.Time{}
}

package shelf

import (
	"testing"

	"preau/cache/page/pagetest"
)

func TestBothLanguagesAreComplete(t *testing.T) {
	pagetest.Complete(t, listWords)
	pagetest.Complete(t, troubleLinks, Prefix)
	for _, both := range troubles {
		pagetest.Complete(t, both)
	}
}

package look

import (
	"testing"

	"preau/cache/page/pagetest"
)

func TestWordsAreComplete(t *testing.T) {
	pagetest.Complete(t, frameWords)
	pagetest.Complete(t, sortNames, "Document", "Archive")
	pagetest.Complete(t, months)
	pagetest.Complete(t, weekdays)
}

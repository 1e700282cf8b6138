package main

import (
	"encoding/hex"
	"testing"
	"time"
)

// TestAScriptIsWrappedAsMkimageDoes: what mkimage made of this script, of the time
// and with the name that are given here.
func TestAScriptIsWrappedAsMkimageDoes(t *testing.T) {
	const want = "27051956" + "3ec8a1dd" + "6922d350" + "00000018" + "00000000" + "00000000" + "21858f63" + "05160600" +
		"7072656175000000000000000000000000000000000000000000000000000000" +
		"00000010" + "00000000" + "6563686f20226120736372697074220a"
	if got := hex.EncodeToString(ubootScript([]byte("echo \"a script\"\n"), time.Unix(1763890000, 0))); got != want {
		t.Errorf("%s\nand not %s", got, want)
	}
}

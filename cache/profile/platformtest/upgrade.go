package platformtest

import (
	"bufio"
	"crypto/sha1" // RFC 6455 section 4.2.2 wants it
	"encoding/base64"
	"net/http"
	"strings"
)

// upgrade accepts a WebSocket (RFC 6455 section 4.2.2) and sends back whatever
// it is sent, frames and all.
func upgrade(a *answer, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-Websocket-Key") == "" {
		a.text(http.StatusBadRequest, "text/plain", "not a WebSocket")
		return
	}
	conn, both, err := http.NewResponseController(a).Hijack()
	if err != nil {
		a.text(http.StatusInternalServerError, "text/plain", err.Error())
		return
	}
	defer func() { _ = conn.Close() }()
	a.status = http.StatusSwitchingProtocols
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := both.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"); err != nil || both.Flush() != nil {
		return
	}
	echo(both)
}

func echo(both *bufio.ReadWriter) {
	buf := make([]byte, 4096)
	for {
		n, err := both.Read(buf)
		if n > 0 {
			if _, err := both.Write(buf[:n]); err != nil || both.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

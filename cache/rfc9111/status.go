package rfc9111

// heuristicStatus reports whether a status is defined as heuristically
// cacheable (RFC 9110 section 15.1).
func heuristicStatus(code int) bool {
	switch code {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood reports whether this cache knows what a status code demands of a
// cache, which must-understand asks (RFC 9111 section 5.2.2.3): those RFC 9110
// defines and those registered since that add nothing for caches.
func understood(code int) bool {
	switch {
	case code >= 200 && code <= 206, code >= 300 && code <= 303, code == 307, code == 308:
		return true
	case code >= 400 && code <= 417 && code != 402, code == 421, code == 422, code == 426, code == 451:
		return true
	case code >= 500 && code <= 505, code == 511:
		return true
	case code == 423, code == 424, code == 425, code == 428, code == 429, code == 431, code == 507:
		return true
	}
	return false
}

// about reports whether a response is about fields of its one request that no
// Vary names, so that it may never answer another one: a validation, a failed
// precondition, an unsatisfiable range, and the like.
func about(code int) bool {
	switch code {
	case 304, 407, 412, 416, 417:
		return true
	}
	return false
}

//go:build !race

package fill

const raceDivides = 1

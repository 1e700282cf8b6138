// Package images holds what machines are made from: the Debian package with its
// services (debian), the container image (container), the appliance's image
// (appliance), and what watches them (monitoring). The command pack makes them.
//
// It has no code of its own. Its tests install the packages on hosts that really
// boot.
package images

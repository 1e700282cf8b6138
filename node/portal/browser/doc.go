// Package browser holds the tests of the portal's pages in a real browser:
// Chromium, driven by playwright-core, with axe-core looking for what keeps
// people from using a page. It has no code of its own, and does not judge
// whether a page is beautiful: for that it keeps pictures, in the folder that
// PREAU_SCREENSHOTS names or with the test's artifacts.
package browser

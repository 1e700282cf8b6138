// Package browser holds the tests of the portal's pages in a real browser:
// Chromium, driven by playwright-core, with axe-core looking for what keeps
// people from using a page and Lighthouse for what keeps a slow phone from it.
// Whole stories, of the admin, the teacher and the pupil with the line up and cut,
// are told on a box, a region and a provider of accounts that are processes of
// their own.
//
// It has no code of its own, and does not judge whether a page is beautiful: for
// that it keeps pictures of every page, on a wide screen and a phone, in light and
// in the dark, in the folder that PREAU_SCREENSHOTS names. PREAU_UPLOAD_MIB=2048
// sends as large a file as is promised through 20 cuts and 3 deaths of the box;
// without it the file is smaller.
package browser

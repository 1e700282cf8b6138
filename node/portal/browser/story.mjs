// A pupil finds today's lesson, a film and a text, without a mouse where it
// matters; then the line is cut and the page says so by itself.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import assert from "node:assert/strict";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const steps = [];
const step = (what) => steps.push(what);
const c = await chromium.launchPersistentContext(join(job.scratch, "profile"), {
  executablePath: job.chromium, headless: true, locale: "fr-FR", viewport: { width: 1024, height: 768 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
c.setDefaultTimeout(60000);
const page = await c.newPage();
try {
  await page.goto(job.base + "/");
  assert.equal(await page.getAttribute("html", "lang"), "fr");
  step("home");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  assert.ok((await page.locator(".skip").boundingBox()).y >= 0, "the skip link is seen when it has the focus");
  await page.keyboard.press("Enter");
  assert.ok(page.url().endsWith("#main"));
  step("skip");
  await page.getByRole("main").getByRole("searchbox").fill("volcan reveille");
  await page.keyboard.press("Enter");
  await page.waitForURL(/find\?q=/);
  const first = page.locator("ul.items a").first();
  assert.match(await first.textContent(), /Un volcan se réveille/);
  step("search");
  await first.focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/see\/r\/res-001/);
  assert.match(await page.getByRole("link", { name: /Télécharger/ }).textContent(), /84 Mo/);
  assert.equal(await page.locator("video track").count(), 2);
  assert.equal(await page.locator("video track").first().getAttribute("srclang"), "fr");
  step("film");
  await page.getByRole("link", { name: "English" }).click();
  await page.waitForURL(/\/en\/see\/r\/res-001/);
  assert.equal(await page.getAttribute("html", "lang"), "en");
  assert.equal(await page.locator("video track").first().getAttribute("srclang"), "en");
  await page.getByRole("navigation", { name: "Sections" }).getByRole("link", { name: "Home" }).click();
  await page.waitForURL(/\/en\/$/);
  step("language stays");
  await page.getByLabel("A lesson code?").fill("kmr ta");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/en\/l\/KMRTA/);
  assert.equal(await page.getByText("On its way").count(), 1);
  step("lesson");
  await page.getByText("QR code of the lesson").first().click();
  await page.waitForFunction(() => document.querySelector(".qr img").naturalWidth > 0);
  step("code");
  await page.goto(job.base + "/en/");
  await page.getByText("The line works.").waitFor();
  await fetch(job.control + "/cut", { method: "POST" });
  await page.getByText(/The line has been down since/).waitFor();
  step("cut");
  await fetch(job.control + "/mend", { method: "POST" });
  await page.getByText("The line works.").waitFor();
  step("mended");
  assert.deepEqual(await c.cookies(), []);
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
  step("nothing is kept on the device");
} finally {
  await c.close();
}
process.stdout.write(JSON.stringify({ steps }));

// Plays a film that comes in pieces, one whose sound comes apart, and one that is
// not there.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import assert from "node:assert/strict";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const steps = [];
const c = await chromium.launchPersistentContext(join(job.scratch, "profile"), {
  executablePath: job.chromium, headless: true, viewport: { width: 1024, height: 768 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});
c.setDefaultTimeout(90000);
const page = await c.newPage();
const wrong = [];
page.on("console", (m) => { if (m.type() === "error" && !/status of 404/.test(m.text())) wrong.push(m.text()); });
page.on("pageerror", (e) => wrong.push(e.message));
try {
  await page.goto(job.base + "/en/see/o/tube/film.m3u8");
  await page.waitForFunction(() => document.querySelector("video").readyState >= 2);
  assert.ok(await page.evaluate(() => document.querySelector("video").src.startsWith("blob:")), "the library plays it");
  await page.evaluate(() => { const v = document.querySelector("video"); v.muted = true; return v.play(); });
  await page.waitForFunction(() => document.querySelector("video").currentTime > 1);
  assert.ok(await page.isHidden("#sorry"));
  steps.push("plays");
  const fetched = [];
  page.on("response", (r) => { if (r.ok()) fetched.push(new URL(r.url()).pathname); });
  await page.goto(job.base + "/en/see/o/tube/apart.m3u8");
  await page.waitForFunction(() => document.querySelector("video").readyState >= 2);
  await page.evaluate(() => document.querySelector("video").play());
  await page.waitForFunction(() => document.querySelector("video").currentTime > 1);
  // Both are heard and seen by the browser, and came from playlists of their own.
  await page.waitForFunction(() => { const v = document.querySelector("video"); return v.webkitAudioDecodedByteCount > 0 && v.webkitVideoDecodedByteCount > 0; });
  for (const list of ["apart-0.m3u8", "apart-1.m3u8"]) assert.ok(fetched.includes("/o/tube/" + list), `${list} was not asked for: ${fetched}`);
  assert.ok(await page.isHidden("#sorry"));
  steps.push("plays with its sound apart");
  await page.goto(job.base + "/en/see/o/tube/none.m3u8");
  await page.getByText("This video cannot be played here now.").waitFor();
  steps.push("says that it can't");
  assert.deepEqual(wrong, []);
} finally {
  await c.close();
}
process.stdout.write(JSON.stringify({ steps }));

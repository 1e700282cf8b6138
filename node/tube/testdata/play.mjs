// Opens pages that play a film in Chromium, waits until they have played it, and
// prints, as JSON, how it went on each.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(join(job.modules, "x.js"))("playwright-core");
const browser = await chromium.launchPersistentContext(join(job.scratch, "profile"), {
  executablePath: job.chromium, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required", "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"],
});
try {
  const pages = [];
  for (const address of job.pages) {
    const page = await browser.newPage();
    page.on("pageerror", (e) => process.stderr.write(`script: ${e.message}\n`));
    await page.goto(address);
    pages.push(page);
  }
  const said = await Promise.all(pages.map(async (page) => {
    await page.waitForFunction("account.ended || account.errors.some((e) => e.includes('fatal'))", undefined, { timeout: job.patience, polling: 500 }).catch(() => {});
    return page.evaluate(() => ({ ...account, at: video.currentTime, length: video.duration, height: video.videoHeight }));
  }));
  process.stdout.write(JSON.stringify(said));
} finally {
  await browser.close();
}

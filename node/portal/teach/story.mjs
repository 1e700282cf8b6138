// Walks through the teachers' pages in Chromium and prints, as JSON, what is wrong.
import { createRequire } from "node:module";
import { readFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const wrong = [];
let looked = 0, number = 1;
mkdirSync(job.pictures, { recursive: true });

async function open(size, theme) {
  const c = await chromium.launchPersistentContext(join(job.scratch, "profile-" + number++), {
    executablePath: job.chromium, headless: true, colorScheme: theme,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    viewport: { width: size.width, height: size.height }, hasTouch: !!size.touch, isMobile: !!size.touch,
  });
  await c.addCookies([{ name: "who", value: "ada", url: job.base }]);
  const page = await c.newPage();
  const say = (what) => wrong.push(`${page.url()} (${size.name}, ${theme}): ${what}`);
  page.on("console", (m) => { if (m.type() === "error") say("console: " + m.text()); });
  page.on("pageerror", (e) => say("script: " + e.message));
  page.on("request", (r) => { if (/^(https?|wss?):/.test(r.url()) && !r.url().startsWith(job.base)) say("asks " + r.url()); });
  return { c, page, say };
}

const desktop = { name: "desktop", width: 1280, height: 800 };

async function pages() {
  const axe = readFileSync(join(job.modules, "axe-core", "axe.min.js"), "utf8");
  for (const size of [desktop, { name: "phone", width: 390, height: 844, touch: true }]) {
    for (const theme of ["light", "dark"]) {
      const { c, page, say } = await open(size, theme);
      for (const lang of ["fr", "en"]) {
        for (const p of job.pages) {
          await page.goto(job.base + "/" + lang + p.path, { waitUntil: "load" });
          looked++;
          const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          if (over > 0) say(`is ${over} pixels wider than the screen`);
          await page.evaluate(axe);
          const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
          for (const v of found.violations) say(`axe ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160) + " " + n.any.map((a) => a.message).join("; ").slice(0, 200)).join(" | ")}`);
          await page.screenshot({ path: join(job.pictures, `${p.name}-${lang}-${theme}-${size.name}.png`), fullPage: true });
        }
      }
      await c.close();
    }
  }
}

async function upload() {
  const { c, page, say } = await open(desktop, "light");
  const choose = async () => {
    await page.goto(job.base + "/en/teach/files", { waitUntil: "load" });
    await page.setInputFiles("#pick", job.file);
    await page.selectOption(".licence", "CC BY 4.0");
    await page.screenshot({ path: join(job.pictures, "files-chosen.png"), fullPage: true });
    await page.click(".send");
  };
  const progress = (least) => page.waitForFunction((n) => document.querySelector("#chosen progress")?.value >= n, least, { timeout: 120000 });
  await choose();
  await progress(40);
  await page.waitForSelector("#added progress", { timeout: 60000 });
  await page.screenshot({ path: join(job.pictures, "files-sending.png"), fullPage: true });
  // What was sent is not yet what has arrived: that is what counts.
  await page.waitForFunction(() => [...document.querySelectorAll("#added progress")].some((p) => p.value >= 30), null, { timeout: 120000 });
  await choose();
  await page.waitForFunction(() => document.querySelector("#chosen .state")?.textContent === "Arrived on the box", null, { timeout: 120000 });
  await page.waitForFunction(() => [...document.querySelectorAll("#added a")].some((a) => a.textContent === "Le film de la classe"), null, { timeout: 60000 });
  await page.screenshot({ path: join(job.pictures, "files-arrived.png"), fullPage: true });
  if (await page.evaluate(() => localStorage.length)) say("leaves something in the browser");
  looked++;
  await c.close();
}

await (job.story === "pages" ? pages() : upload());
process.stdout.write(JSON.stringify({ looked, wrong }));

// Walks through pages in Chromium and prints, as JSON, what is wrong with them.
import { createRequire } from "node:module";
import { readFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(join(job.modules, "axe-core", "axe.min.js"), "utf8");
const wrong = [];
let looked = 0;

function options(more) {
  return {
    executablePath: job.chromium, headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...more,
  };
}

async function settle(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => Promise.all([...document.images].filter((i) => !i.complete && i.loading !== "lazy").map((i) => new Promise((r) => { i.onload = i.onerror = r; }))));
}

let number = 1;
for (const size of job.sizes) {
  for (const theme of size.axe ? job.themes : job.themes.slice(0, 1)) {
    const c = await chromium.launchPersistentContext(join(job.scratch, "profile-" + number++), options({
      viewport: { width: size.width, height: size.height }, colorScheme: theme, deviceScaleFactor: size.scale || 1,
      hasTouch: !!size.touch, isMobile: !!size.touch,
    }));
    const page = await c.newPage();
    let at = "";
    const say = (what) => wrong.push(`${at} (${size.name}, ${theme}): ${what}`);
    page.on("console", (m) => { if (m.type() === "error" && !/status of (404|410)/.test(m.text())) say("console: " + m.text()); });
    page.on("pageerror", (e) => say("script: " + e.message));
    page.on("request", (r) => { if (/^(https?|wss?):/.test(r.url()) && !r.url().startsWith(job.base)) say("asks " + r.url()); });
    for (const lang of job.langs) {
      for (const p of job.pages) {
        at = "/" + lang + p.path;
        await page.goto(job.base + at, { waitUntil: "load" });
        await settle(page);
        looked++;
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (over > 0) say(`is ${over} pixels wider than the screen`);
        const small = await page.evaluate(() => [...document.querySelectorAll("a.button, button, .places a, input")].filter((e) => {
          const b = e.getBoundingClientRect();
          return b.width > 0 && (b.height < 40 || b.width < 40);
        }).map((e) => e.outerHTML.slice(0, 80)));
        for (const e of small) say("too small to touch: " + e);
        if (size.axe) {
          await page.evaluate(axe);
          const found = await page.evaluate(() => axe.run(document, { iframes: false, resultTypes: ["violations"] }));
          for (const v of found.violations) say(`axe ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160) + " " + n.any.map((a) => a.message).join("; ").slice(0, 200)).join(" | ")}`);
        }
        if (size.picture) {
          mkdirSync(job.pictures, { recursive: true });
          await page.screenshot({ path: join(job.pictures, `${p.name}-${lang}-${theme}-${size.name}.png`), fullPage: true });
        }
      }
    }
    const cookies = await c.cookies();
    if (cookies.length) say("sets cookies: " + cookies.map((k) => k.name));
    await c.close();
  }
}
process.stdout.write(JSON.stringify({ looked, wrong }));

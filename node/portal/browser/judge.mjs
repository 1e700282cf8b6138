// What every page has to stand: seen on a wide screen in light and on a phone in
// the dark, by axe-core both times, and never wider than the screen, not at 200 %
// and on the narrowest screen that has to do (WCAG 1.4.10) either; nothing too small
// to touch, and no request that leaves the box.
import { createRequire } from "node:module";
import { readFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(join(job.modules, "axe-core", "axe.min.js"), "utf8");
const wide = { width: 1280, height: 800 }, phone = { width: 390, height: 844 };
const tight = [["at 200 %", { width: 640, height: 400 }], ["narrow", { width: 320, height: 640 }]];

export const wrong = [];
export const judged = [];

export const browser = await chromium.launch({
  executablePath: job.chromium, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});

// open is somebody with a browser of their own. Animations would have axe judge
// colours half way.
export async function open(more = {}) {
  const c = await browser.newContext({ viewport: wide, locale: "fr-FR", reducedMotion: "reduce", ...more });
  c.setDefaultTimeout(60000);
  const page = await c.newPage();
  watch(page);
  return page;
}

function watch(page) {
  const say = (what) => wrong.push(`${page.url()}: ${what}`);
  // A PDF is shown by a page of the browser's own.
  const ours = (url) => url.startsWith(job.base) || url.startsWith(job.provider) || /^(data|blob|about|chrome|chrome-extension):/.test(url);
  page.on("console", (m) => { if (m.type() === "error" && !/status of (4\d\d|50\d)|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_/.test(m.text())) say("console: " + m.text()); });
  page.on("pageerror", (e) => say("script: " + e.message));
  page.on("request", (r) => { if (!ours(r.url())) say("asks " + r.url()); });
}

async function settle(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => Promise.all([...document.images].filter((i) => !i.complete && i.loading !== "lazy").map((i) => new Promise((r) => { i.onload = i.onerror = r; }))));
}

async function fits(page, say) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) say(`is ${over} pixels wider than the screen`);
  const small = await page.evaluate(() => [...document.querySelectorAll("a.button, button, .places a, input:not([type=checkbox]):not(.unseen), select")].filter((e) => {
    const b = e.getBoundingClientRect();
    return b.width > 0 && (b.height < 40 || b.width < 40);
  }).map((e) => e.outerHTML.slice(0, 80)));
  for (const e of small) say("too small to touch: " + e);
}

async function hear(page, say) {
  if (!(await page.evaluate(() => !!window.axe))) await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { iframes: false, resultTypes: ["violations"] }));
  for (const v of found.violations) say(`axe ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160) + " " + n.any.map((a) => a.message).join("; ").slice(0, 200)).join(" | ")}`);
}

async function picture(page, name, how) {
  if (!job.keep) return;
  mkdirSync(job.pictures, { recursive: true });
  await page.screenshot({ path: join(job.pictures, `${name}-${how}.png`), fullPage: true });
}

// judge looks at the page as it stands, and leaves it as it was.
export async function judge(page, name) {
  const before = page.viewportSize();
  const lang = await page.getAttribute("html", "lang");
  const say = (how) => (what) => wrong.push(`${page.url()} “${name}” (${how}): ${what}`);
  judged.push(new URL(page.url()).pathname);
  for (const [how, size, theme, full] of [["desktop-light", wide, "light", true], ["desktop-dark", wide, "dark", false], ["phone-light", phone, "light", false], ["phone-dark", phone, "dark", true]]) {
    if (!full && !job.keep) continue;
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: theme });
    await settle(page);
    if (full) {
      await fits(page, say(how));
      await hear(page, say(how));
    }
    await picture(page, `${name}-${lang}`, how);
  }
  for (const [how, size] of tight) {
    await page.setViewportSize(size);
    await fits(page, say(how));
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(before);
}

export async function done(answer) {
  await browser.close();
  process.stdout.write(JSON.stringify({ ...answer, judged, wrong }));
}

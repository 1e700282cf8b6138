// Goes through the pages of signing in as people do, in Chromium, and prints as
// JSON what is wrong with them.
import { createRequire } from "node:module";
import { readFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(join(job.modules, "axe-core", "axe.min.js"), "utf8");
const wrong = [];
let looked = 0;

let at = "";
const say = (what) => wrong.push(`${at}: ${what}`);
const must = (ok, what) => { if (!ok) say(what); };
let number = 1;

async function browser(more) {
  const c = await chromium.launchPersistentContext(join(job.scratch, "profile-" + number++), {
    executablePath: job.chromium, headless: true, ignoreHTTPSErrors: true, bypassCSP: false,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...more,
  });
  const page = await c.newPage();
  page.on("console", (m) => { if (m.type() === "error" && !/status of (4\d\d|503)/.test(m.text())) say("console: " + m.text()); });
  page.on("pageerror", (e) => say("script: " + e.message));
  page.on("request", (r) => { if (/^(https?|wss?):/.test(r.url()) && !r.url().startsWith(job.base) && !r.url().startsWith(job.provider)) say("asks " + r.url()); });
  return { c, page };
}

async function look(page, name) {
  looked++;
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) say(`${name} is ${over} pixels wider than the screen`);
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const v of found.violations) say(`${name}: axe ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`);
  mkdirSync(job.pictures, { recursive: true });
  await page.screenshot({ path: join(job.pictures, name + ".png"), fullPage: true });
}

// Every page that needs nobody, in both languages, both themes, on two screens.
for (const [size, viewport] of [["desktop", { width: 1280, height: 800 }], ["phone", { width: 320, height: 640 }]]) {
  for (const theme of ["light", "dark"]) {
    const { c, page } = await browser({ viewport, colorScheme: theme });
    for (const lang of ["fr", "en"]) {
      for (const [name, path] of [
        ["sign-in", "/sign-in"], ["claim", "/claim"], ["badge", "/sign-in/badge?code=KX4P-7TNB-2WQM-H9RC"],
        ["signed-out", "/sign-out/done"], ["stale", "/sign-in/return?state=x"],
      ]) {
        at = "/" + lang + path;
        await page.goto(job.base + at);
        await look(page, `${name}-${lang}-${theme}-${size}`);
      }
    }
    at = "before anybody signs in";
    must((await c.cookies()).length === 0, "there are cookies");
    await c.close();
  }
}

// A new box is claimed, with the keyboard alone.
{
  const { c, page } = await browser({ viewport: { width: 1280, height: 800 } });
  at = "claim";
  await page.goto(job.base + "/fr/sign-in");
  await page.click("a[href='/fr/claim']");
  await page.focus("#code");
  await page.keyboard.type("aaaa aaaa");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#wrong");
  await look(page, "claim-wrong");
  await page.focus("#code");
  await page.keyboard.press("Control+A");
  await page.keyboard.type(job.claim.toLowerCase());
  await page.keyboard.press("Enter");
  await page.waitForURL(job.base + "/fr/school/");
  const cookies = await c.cookies();
  must(cookies.length === 1 && cookies[0].name === "__Host-preau" && cookies[0].secure && cookies[0].httpOnly && cookies[0].sameSite === "Lax" && cookies[0].path === "/", "cookies " + JSON.stringify(cookies.map((k) => k.name)));
  must(await page.evaluate(() => document.cookie) === "", "a script sees the cookie");
  for (const [lang, theme] of [["fr", "light"], ["en", "dark"]]) {
    at = lang + "/sign-out";
    await page.emulateMedia({ colorScheme: theme });
    await page.goto(job.base + "/" + lang + "/sign-out");
    await look(page, `sign-out-${lang}-${theme}`);
    await page.goto(job.base + "/" + lang + "/sign-in");
    await look(page, `signed-in-${lang}-${theme}`);
  }
  await page.click(".person button");
  await page.waitForURL(job.base + "/en/sign-out/done");
  must((await c.cookies()).length === 0, "a cookie is left");
  await page.goto(job.base + "/school/");
  must(page.url() === job.base + "/sign-in?return=%2Fschool%2F", "sent to " + page.url());
  await c.close();
}

// An admin without a second factor, at the provider.
{
  const { c, page } = await browser({ viewport: { width: 1280, height: 800 } });
  at = "provider";
  await page.goto(job.base + "/fr/teach/lesson");
  await page.click(".links a.button");
  await page.waitForURL(job.base + "/fr/sign-in/held?*");
  await look(page, "held-fr-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.click("footer a[hreflang=en]");
  await look(page, "held-en-dark");
  await page.click(".links a.button");
  await page.waitForURL(job.base + "/fr/teach/lesson");
  await page.goto(job.base + "/en/school/");
  await look(page, "factor-en-dark");
  await page.goto(job.base + "/fr/sign-out");
  await page.click("main button:not([name])");
  await page.waitForURL(job.base + "/fr/sign-out/done?from=provider");
  await look(page, "signed-out-provider");
  must((await page.getAttribute("main a.button", "href")).startsWith(job.provider + "/end?"), "does not lead to the provider's sign-out");
  await c.close();
}

// A badge, on a tablet.
{
  const { c, page } = await browser({ viewport: { width: 800, height: 1200 }, hasTouch: true });
  at = "badge";
  await page.goto(job.base + job.badge);
  await page.tap("main button");
  await page.waitForURL(job.base + "/teach/");
  await page.goto(job.base + job.badge);
  await page.tap("main button");
  await page.waitForSelector("#wrong");
  await look(page, "badge-wrong");
  await c.close();
}
process.stdout.write(JSON.stringify({ looked, wrong }));

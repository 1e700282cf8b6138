// Follows every link that a pupil, a teacher and the school's admin come to, and
// judges each page once in each language.
import { browser, done, job, judge, open, wrong } from "./judge.mjs";

// What is no page, leaves the box or would end the visit.
const no = /^\/(r|d|o|style)\/|\.svg$|\/live\/|\/live$|\/sign-in\/(go|return)|[?&]download/;
let pages = 0;

async function follow(who, lang, page, seeds, mine) {
  const queue = seeds.map((s) => "/" + lang + s), seen = new Set(queue), shapes = new Map();
  while (queue.length) {
    const path = queue.shift();
    const answer = await page.goto(job.base + path, { waitUntil: "load" });
    if (!(answer.headers()["content-type"] || "").startsWith("text/html")) continue;
    if (answer.status() >= 500) wrong.push(`${path} (${who}): ${answer.status()}`);
    pages++;
    await judge(page, [who, ...path.split(/[/?=&%]+/).slice(2)].filter(Boolean).join("_"));
    const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((a) => a.href));
    for (const link of links) {
      const u = new URL(link);
      if (u.origin !== job.base || no.test(u.pathname + u.search)) continue;
      const to = u.pathname + u.search;
      if (!to.startsWith(`/${lang}/`)) {
        if (!/^\/(fr|en)\//.test(to)) wrong.push(`${path} (${who}): leads to ${to} and loses the language`);
        continue;
      }
      // Days of the line have a page each: two are enough.
      const shape = u.search ? u.pathname + u.search.replace(/=[^&]*/g, "") : to;
      if (seen.has(to) || !mine.test(to.slice(3)) || (shapes.get(shape) || 0) > 1) continue;
      seen.add(to);
      shapes.set(shape, (shapes.get(shape) || 0) + 1);
      queue.push(to);
    }
  }
}

try {
  for (const lang of ["fr", "en"]) {
    const locale = { fr: "fr-FR", en: "en-GB" }[lang];
    await follow("pupil", lang, await open({ locale }), ["/", "/find?q=volcan", "/find?q=zzz", "/l/", "/l/ZZZZZ", "/nowhere", "/see/r/none", "/sign-in/badge?code=AAAA-AAAA-AAAA-AAAA", "/sign-in/return?state=x", "/sign-out/done"], /^\//);
    await follow("teacher", lang, await open({ locale, storageState: job.teacher }), ["/teach/", job.course.slice(3), "/teach/nowhere", "/teach/l/none", "/school/", "/sign-out", "/sign-in"], /^\/teach\//);
    await follow("admin", lang, await open({ locale, storageState: job.admin }), ["/", "/school/", "/school/nowhere", "/claim"], /^\/school\//);
  }
} catch (e) {
  await browser.close();
  throw e;
}
await done({ pages });

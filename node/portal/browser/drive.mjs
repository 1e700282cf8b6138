// Has pages judged one by one, for somebody who has never been there.
import { browser, done, job, judge, open, wrong } from "./judge.mjs";

try {
  const page = await open();
  for (const lang of job.langs) {
    for (const p of job.pages) {
      await page.goto(job.base + "/" + lang + p.path, { waitUntil: "load" });
      await judge(page, p.name);
    }
  }
  const cookies = await page.context().cookies();
  if (cookies.length) wrong.push("cookies are set: " + cookies.map((k) => k.name));
} catch (e) {
  await browser.close();
  throw e;
}
await done({});

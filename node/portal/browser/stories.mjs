// A school's day on a real box: it is claimed, a teacher prepares a course, the
// line is cut in the middle, and everybody goes on.
import assert from "node:assert/strict";
import { browser, done, job, judge, open } from "./judge.mjs";

const steps = [];
const step = (what) => steps.push(what);
const tell = async (what) => { const r = await fetch(job.control + "/" + what, { method: "POST" }); assert.ok(r.ok, await r.text()); };

async function account(page, login, factor) {
  await page.waitForURL(job.provider + "/interaction/**");
  await page.fill("input[name=login]", login);
  if (factor) await page.check("input[name=factor]");
  await page.getByRole("button", { name: "Continuer" }).click();
}

async function add(page, file, title) {
  await page.goto(job.base + "/fr/teach/files");
  await page.setInputFiles("#pick", file);
  await page.fill("#chosen .title", title);
  await page.selectOption("#chosen .licence", "CC BY 4.0");
  return {
    send: async () => {
      await page.click("#chosen .send");
      await page.getByText("Arrivé sur la boîte").waitFor();
      await page.locator("#added a", { hasText: title }).waitFor();
    },
  };
}

try {
  // The admin: the code on the console, then the ministry's account.
  const admin = await open();
  await admin.goto(job.base + "/fr/sign-in");
  await judge(admin, "sign-in-unclaimed");
  await admin.getByRole("link", { name: "Prendre en charge la boîte" }).click();
  await judge(admin, "claim");
  await admin.fill("#code", job.claim.toLowerCase());
  await admin.keyboard.press("Enter");
  await admin.waitForURL(job.base + "/fr/school/");
  step("claimed with the code");
  await admin.getByRole("button", { name: "Se déconnecter" }).click();
  await admin.waitForURL("**/sign-out/done**");
  await admin.goto(job.base + "/fr/school/");
  await admin.getByRole("link", { name: /compte académique/ }).click();
  await account(admin, "paul", false);
  await admin.getByText("urn:example:mfa").waitFor(); // the box asks for more
  await account(admin, "paul", true);
  await admin.waitForURL(job.base + "/fr/school/");
  await judge(admin, "school");
  step("signed in with a second factor");
  await admin.getByRole("main").getByRole("link", { name: "Badges des enseignants" }).last().click();
  await admin.fill("#name", "Mme Curie");
  await admin.getByRole("button", { name: "Faire le badge" }).click();
  const badge = (await admin.locator("p.code").textContent()).trim();
  await judge(admin, "badge-code");
  await admin.getByRole("main").getByRole("link", { name: "Badges des enseignants" }).last().click();
  await admin.getByText("pas encore utilisé").waitFor();
  step("made a badge");

  // The teacher: a file of her own, links, a film of the region.
  const anne = await open();
  await anne.goto(job.base + "/fr/teach/");
  await anne.getByRole("link", { name: /compte académique/ }).click();
  await account(anne, "anne", false);
  await anne.waitForURL(job.base + "/fr/teach/");
  await judge(anne, "courses-none");
  step("a teacher signed in");
  const own = await add(anne, job.worksheet, "Fiche : les parties d’un volcan");
  await judge(anne, "files-chosen");
  await own.send();
  await judge(anne, "files");
  step("added a file");
  await anne.goto(job.base + "/fr/teach/new");
  await anne.fill("#title", "Les volcans");
  await anne.fill("#class", "5e B");
  await anne.fill("#day", job.today);
  await anne.fill("#clock", "23:59");
  await anne.fill("#links", job.links.join("\n"));
  await anne.fill("#search input[type=search]", "volcan");
  await anne.getByRole("button", { name: "Chercher", exact: true }).last().click();
  await anne.locator("label.pick", { hasText: "Un volcan se réveille" }).locator("input").check();
  await anne.locator("label.pick", { hasText: "Fiche" }).locator("input").first().check();
  await judge(anne, "course-edit");
  await anne.getByRole("button", { name: "Enregistrer le cours" }).click();
  await anne.waitForURL(/\/fr\/teach\/l\/[^/]+$/);
  const course = new URL(anne.url()).pathname;
  // The lights turn by themselves: nobody loads the page again.
  await anne.locator(".items .light.ready").nth(job.ready - 1).waitFor();
  assert.equal(await anne.locator(".items .light.cannot").count(), 1);
  assert.match(await anne.locator(".items li", { hasText: "ailleurs.example" }).textContent(), /Impossible|pas/);
  await judge(anne, "course");
  const code = (await anne.locator(".lesson-code").first().textContent()).trim();
  step("saw the lights turn");
  await anne.getByRole("link", { name: "Montrer à la classe" }).click();
  await anne.waitForFunction(() => document.querySelector(".qr img").naturalWidth > 0);
  await judge(anne, "course-show");

  // The pupil, on a phone, with the line and then without.
  const pupil = await open({ viewport: { width: 390, height: 844 }, hasTouch: true });
  await pupil.goto(job.base + "/");
  await pupil.getByText("La ligne fonctionne.").waitFor();
  await pupil.getByText("Les volcans").waitFor();
  await judge(pupil, "home");
  await tell("cut");
  await pupil.getByRole("link", { name: "Les volcans" }).tap();
  await pupil.waitForURL("**/l/" + code);
  await pupil.getByRole("link", { name: job.article }).tap();
  await pupil.getByText("La lave est une roche fondue").waitFor();
  await pupil.waitForFunction(() => document.querySelector("img").naturalWidth > 0);
  step("read the article without the line");
  await pupil.getByRole("link", { name: "La suite" }).tap();
  await pupil.waitForLoadState();
  await judge(pupil, "site-away");
  step("was told what is not there");
  await pupil.getByRole("link", { name: "Voir ce qui est sur la boîte de l’école" }).tap();
  await pupil.waitForURL(job.base + "/");
  await pupil.getByText(/La ligne est coupée depuis/).waitFor();
  await judge(pupil, "home-cut");
  step("the line is cut, and the page says so");
  await pupil.getByRole("link", { name: "Les volcans" }).tap();
  await pupil.waitForURL("**/l/" + code);
  await judge(pupil, "class-cut");
  await pupil.getByRole("link", { name: /Fiche/ }).tap();
  await pupil.waitForURL("**/see/d/**");
  const file = await pupil.getByRole("link", { name: "Ouvrir" }).getAttribute("href");
  const got = await pupil.request.get(job.base + file);
  assert.equal(got.headers()["content-type"], "application/pdf");
  assert.equal(got.status(), 200);
  await judge(pupil, "see-own-file");
  step("opened the teacher's file");
  await pupil.goto(job.base + "/fr/l/" + code);
  await pupil.getByRole("link", { name: /Un volcan se réveille/ }).tap();
  await pupil.waitForURL("**/see/r/**");
  await pupil.evaluate(() => { const v = document.querySelector("video"); v.muted = true; return v.play(); });
  await pupil.waitForFunction(() => document.querySelector("video").currentTime > 1);
  await pupil.evaluate(() => document.querySelector("video").pause());
  await judge(pupil, "see-film");
  step("played the film without the line");
  assert.deepEqual(await pupil.context().cookies(), []);

  // Who is signed in goes on; who has a badge can still begin; an account has to wait.
  const late = await add(anne, job.photo, "Photo de la maquette");
  await late.send();
  const row = anne.locator("#added li", { hasText: "Photo de la maquette" });
  assert.match(await row.textContent(), /Dans la région…/);
  await judge(anne, "files-cut");
  step("a teacher who was signed in added a file without the line");
  const curie = await open({ viewport: { width: 800, height: 1200 }, hasTouch: true });
  await curie.goto(job.base + "/fr/sign-in");
  await judge(curie, "sign-in-cut");
  await curie.getByRole("link", { name: "Entrer un code de badge" }).tap();
  await judge(curie, "badge-enter");
  await curie.fill("#code", badge);
  await curie.getByRole("button", { name: "Se connecter sur cet appareil" }).tap();
  await curie.waitForURL("**/teach/");
  step("a badge works without the line");
  const stranger = await open();
  await stranger.goto(job.base + "/fr/sign-in/go");
  await judge(stranger, "provider-away");
  await admin.goto(job.base + "/fr/school/");
  await admin.getByText(/La ligne est coupée depuis/).first().waitFor();
  await judge(admin, "school-cut");
  step("the admin reads what is the matter");

  await tell("mend");
  await row.locator(".mark.here", { hasText: "Dans la région" }).waitFor({ timeout: 120000 });
  await judge(anne, "files-mended");
  step("the file has reached the region");
  for (const title of ["Photo de la maquette", "Fiche : les parties d’un volcan"])
    await anne.locator("#added li", { hasText: title }).locator(".mark.here", { hasText: "En sécurité au ministère" }).waitFor({ timeout: 120000 });
  step("and the ministry");
  await pupil.goto(job.base + "/fr/find?q=maquette");
  await pupil.getByRole("link", { name: /Photo de la maquette/ }).waitFor();
  step("and pupils find it");
  await done({ steps, code, course, teacher: await anne.context().storageState(), admin: await admin.context().storageState() });
} catch (e) {
  await browser.close();
  throw new Error(`after “${steps.at(-1)}”: ${e.stack}`);
}

// The page's life: it listens to /events and writes what it hears. It asks
// nobody else, and every button is a plain form that works without it.
"use strict";
(() => {
  const setup = JSON.parse(document.getElementById("setup").textContent);
  const text = setup.text;
  const $ = (id) => document.getElementById(id);
  const svg = (name, attrs, ...kids) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const k in attrs) e.setAttribute(k, attrs[k]);
    e.append(...kids);
    return e;
  };
  const el = (name, attrs, ...kids) => {
    const e = document.createElement(name);
    for (const k in attrs) e.setAttribute(k, attrs[k]);
    e.append(...kids);
    return e;
  };
  const put = (id, v) => { const e = $(id); if (e.textContent !== v) e.textContent = v; };
  const say = (key, vars = {}) => text[key].replace(/\{(\w+)\}/g, (_, k) => vars[k]);
  const num = (v, d = 1) => v.toFixed(d).replace(".", text["unit-decimal"]);
  const bytes = (n) => {
    const b = text["unit-byte"];
    if (!(n >= 1000)) return `${Math.max(0, n || 0)} ${b}`;
    if (n < 1e6) return `${num(n / 1e3)} k${b}`;
    if (n < 1e9) return `${num(n / 1e6)} M${b}`;
    return `${num(n / 1e9, 2)} G${b}`;
  };
  const mbit = (n) => num(n / 1e6, n > 0 && n < 1e7 ? 1 : 0) + " " + text["unit-per-s"];
  const span = (s) => s < 100 ? say("unit-seconds", {s: num(s, s < 10 ? 1 : 0)})
    : say("unit-minutes", {m: Math.floor(s / 60), s: Math.round(s % 60)});
  // Screen readers hear what a person did and how it ended, not each figure.
  const announce = (v) => put("said", v);

  for (const o of $("rate").options) o.textContent = mbit(Number(o.value));

  // The class under the roof: five rows of seven.
  for (let i = 0; i < 35; i++) {
    $("pupils").append(svg("rect", {x: 62 + (i % 7) * 24, y: 116 + Math.floor(i / 7) * 19, width: 18, height: 13, rx: 3}));
  }

  let before = null; // the state before this one, to tell what is new
  const clock = new Map();

  const scene = (st, lan, wan) => {
    $("scene").classList.toggle("off-line", st.line.mode !== "up");
    $("lan").classList.toggle("moves", lan > 20000);
    $("wan").classList.toggle("moves", wan > 5000);
    put("lanspeed", mbit(lan * 8));
    put("wanspeed", st.line.mode === "up" ? mbit(wan * 8) : "");
    const rects = $("pupils").children;
    const all = (st.class && st.class.devices) || [];
    for (let i = 0; i < rects.length; i++) rects[i].setAttribute("class", all[i] ? all[i].outcome : "");
  };

  const figures = (st) => {
    const b = st.box, asked = b.hits + b.misses + b.stale + b.passed + b.collapsed;
    put("f-lan", bytes(b.lan));
    put("f-wan", bytes(st.wan));
    put("f-ratio", st.wan > 10000 && b.lan > 10000 ? "× " + num(b.lan / st.wan) : "–");
    put("f-hits", asked ? num(100 * (b.hits + b.stale + b.collapsed) / asked, 0) + " %" : "–");
    const rows = [["count-hits", b.hits], ["count-joined", b.collapsed], ["count-miss", b.misses], ["count-stale", b.stale], ["count-passed", b.passed]];
    const list = $("counts");
    if (!list.children.length) for (const [k] of rows) list.append(el("div", {}, el("dt", {}, text[k]), el("dd", {}, "0")));
    rows.forEach(([, n], i) => { list.children[i].lastChild.textContent = n; });
  };

  const line = (st) => {
    const up = st.line.mode === "up";
    $("line-state").classList.toggle("down", !up);
    $("line-state").lastChild.textContent = text["line-" + st.line.mode];
    // Where the focus is on a button that goes, it moves to the one that comes.
    const active = document.activeElement;
    $("b-silent").hidden = !up; $("b-refuse").hidden = !up; $("b-heal").hidden = up;
    if (active && active.hidden && active.form === $("line-form")) (up ? $("b-silent") : $("b-heal")).focus();
    put("linetext", text["scene-line"] + " · " + (st.line.rate ? mbit(st.line.rate) : text["unit-unlimited"]));
    if (before && before.line.mode !== st.line.mode) announce(text[up ? "said-healed" : "said-cut"]);
    if (before && before.line.rate !== st.line.rate) $("rate").value = String(st.line.rate);
    if (before && before.emptied !== st.emptied) announce(text["said-empty"]);
    const sites = $("sites");
    sites.replaceChildren(...(st.box.sites || []).map((s) => {
      const since = new Date(s.since);
      const when = since.getFullYear() > 2000 ? " · " + since.toLocaleTimeString(setup.lang) : "";
      const li = el("li", {class: s.up ? "" : "down"}, el("span", {class: "dot", "aria-hidden": "true"}),
        el("span", {}, `${s.name}${text["unit-colon"]}${text[s.up ? "site-up" : "site-down"]}${s.cause ? " (" + s.cause + ")" : ""}${when}`));
      return li;
    }));
  };

  const desk = (d) => {
    const full = d.outcome === "ok" ? 1 : d.length > 0 ? d.have / d.length : 0;
    return svg("svg", {viewBox: "0 0 60 24", preserveAspectRatio: "none", class: d.outcome},
      svg("rect", {class: "back", width: 60, height: 24}), svg("rect", {class: "done", width: 60 * full, height: 24}),
      svg("text", {x: 30, y: 16}, d.outcome === "waiting" ? "" : num(d.s)));
  };

  const lesson = (st) => {
    const c = st.class;
    $("class-go").disabled = !!(c && c.running);
    if (!c) return;
    const now = JSON.stringify([c.n, c.running, c.report && c.report.ok, c.running ? c.devices : 0]);
    if (clock.get("class") === now) return;
    clock.set("class", now);
    const all = c.devices || [];
    $("desks").replaceChildren(...all.map(desk));
    $("class-more").hidden = !all.length;
    $("class-rows").replaceChildren(...all.map((d) => el("tr", {},
      el("th", {scope: "row"}, String(d.n)), el("td", {class: "n"}, num(d.s, 2)), el("td", {class: "n"}, bytes(d.have)),
      el("td", {}, el("span", {class: "tag " + (d.outcome === "ok" ? "good" : d.outcome === "reading" || d.outcome === "waiting" ? "warm" : "bad")}, text["out-" + d.outcome])))));
    const box = $("class-now");
    if (c.running) {
      box.replaceChildren(el("p", {class: "verdict"}, text["class-run"]));
      return;
    }
    const r = c.report, total = r.ok + r.left + r.truncated + r.wrong + r.errors;
    const good = r.ok === total && total > 0;
    box.replaceChildren(el("p", {class: "verdict" + (good ? "" : " bad")}, say("class-verdict", {ok: r.ok, all: total}) + (r.ok ? ", " + say("class-fast", {max: num(r.seconds.max)}) : "")));
    if (!good) box.append(el("p", {}, say("class-trouble", {error: c.error})));
    const wan = r.wan_bytes || 0;
    box.append(el("p", {}, say("class-figures", {lan: bytes(r.lan_bytes), wan: bytes(wan)}) + "; " + say("class-first", {first: num(r.first_byte.median, 2)}) + "."));
    if (good && wan < r.size / 20) box.append(el("p", {class: "once"}, text["class-kept"]));
    if (good && c.without) box.append(el("p", {class: "once"}, say("class-once", {n: total, without: span(c.without), rate: mbit(c.rate)})));
    if (good && wan >= r.size / 20) box.append(el("p", {class: "soft"}, text["class-again"]));
    if (before && before.class && before.class.running) announce(say("said-class", {ok: r.ok, all: total}));
  };

  const chart = (st) => {
    const s = st.samples || [];
    const last = s.length ? s[s.length - 1].at : 0;
    if (clock.get("chart") === last + ":" + st.line.rate) return;
    clock.set("chart", last + ":" + st.line.rate);
    const W = 720, H = 220, left = 80, bottom = 30, top = 10;
    // Decades from 0.1 to 10,000 Mbit/s: both lines are to be seen at once.
    const y = (bps) => H - bottom - (H - bottom - top) * Math.max(0, Math.min(1, (Math.log10(Math.max(bps, 1) / 1e6) + 1) / 5));
    const x = (at) => left + (W - left) * (1 - (last - at) / 120);
    const g = $("chart");
    g.replaceChildren();
    for (const m of [0.1, 1, 10, 100, 1000, 10000]) {
      g.append(svg("line", {x1: left, x2: W, y1: y(m * 1e6), y2: y(m * 1e6)}),
        svg("text", {x: left - 8, y: y(m * 1e6) + 5, "text-anchor": "end"}, m < 1 ? num(m) : String(m)));
    }
    if (st.line.rate) g.append(svg("line", {class: "limit", x1: left, x2: W, y1: y(st.line.rate), y2: y(st.line.rate)}));
    for (const ago of [120, 90, 60]) g.append(svg("text", {x: x(last - ago) + 2, y: H - 8}, `−${ago} s`));
    g.append(svg("text", {x: W, y: H - 8, "text-anchor": "end"}, text["chart-now"]));
    if (s.length > 1) {
      const path = (k) => s.map((p, i) => `${i ? "L" : "M"}${x(p.at).toFixed(1)} ${y(p[k] * 8).toFixed(1)}`).join("");
      g.append(svg("path", {class: "area", d: `${path("lan")}L${x(last)} ${H - bottom}L${x(s[0].at).toFixed(1)} ${H - bottom}z`}),
        svg("path", {class: "lan", d: path("lan")}), svg("path", {class: "wan", d: path("wan")}));
    }
    $("chart-rows").replaceChildren(...s.slice(-12).reverse().map((p) => el("tr", {},
      el("th", {scope: "row"}, String(last - p.at)), el("td", {class: "n"}, num(p.lan * 8 / 1e6)), el("td", {class: "n"}, num(p.wan * 8 / 1e6)))));
  };

  const held = (st) => {
    const b = st.box;
    put("held-sum", say("held-of", {n: b.objects, bytes: bytes(b.bytes), budget: bytes(b.budget)}));
    $("budget").max = b.budget || 1;
    $("budget").value = b.bytes;
    const fills = b.fills || [];
    $("fills").replaceChildren(...(fills.length ? [el("h3", {}, text["fills-title"])] : []), ...fills.map((f) => {
      const bar = el("progress", f.length > 0 ? {max: f.length, value: f.have} : {});
      bar.setAttribute("aria-label", f.name);
      return el("div", {class: "fill"}, el("span", {}, `${setup.titles[f.name] || f.name}${text["unit-colon"]}${bytes(f.have)}${f.length > 0 ? " / " + bytes(f.length) : ""} · ${say("fills-readers", {n: f.readers})}`), bar);
    }));
    const list = b.held || [];
    const now = JSON.stringify(list);
    if (clock.get("held") === now || $("held").contains(document.activeElement)) return;
    clock.set("held", now);
    if (!list.length) {
      $("held").replaceChildren(el("tr", {}, el("td", {colspan: 4, class: "soft"}, text["held-none"])));
      return;
    }
    $("held").replaceChildren(...list.map((h) => {
      const a = el("a", {href: setup.box + h.path, target: "_blank", rel: "noopener"}, setup.titles[h.path] || h.title || h.path);
      const state = !h.complete ? ["warm", "held-part"] : h.fresh ? ["good", "held-fresh"] : ["warm", "held-stale"];
      return el("tr", {}, el("td", {class: "name"}, a), el("td", {}, (h.type || "").split(";")[0]), el("td", {class: "n"}, bytes(h.bytes)),
        el("td", {}, el("span", {class: "tag " + state[0]}, text[state[1]])));
    }));
  };

  // A step of a way: there, part of the way, or not yet and why.
  const step = (there, share, off) => {
    if (there) return el("td", {}, el("span", {class: "tag good"}, text["way-there"]));
    if (share > 0) return el("td", {}, el("span", {class: "tag warm"}, say("way-part", {n: Math.floor(100 * share)})));
    return el("td", {}, el("span", {class: "soft"}, text[off ? "way-waits" : "way-not"]));
  };
  const rows = (id, list, off, none, make) => {
    const now = JSON.stringify([list, off]);
    if (clock.get(id) === now || $(id).contains(document.activeElement)) return;
    clock.set(id, now);
    $(id).replaceChildren(...(list.length ? list.map(make) : [el("tr", {}, el("td", {colspan: 4, class: "soft"}, none))]));
  };
  const name = (title, path, n) => el("td", {class: "name"},
    path ? el("a", {href: setup.box + path, target: "_blank", rel: "noopener"}, title) : title, " ", el("span", {class: "soft"}, bytes(n)));
  const copy = (id, line) => {
    $(id).hidden = !line;
    const code = $(id).lastChild;
    if (code.textContent !== line) code.textContent = line;
  };

  const beyond = (st) => {
    const b = st.beyond;
    if (!b) return;
    const cut = st.line.mode !== "up", off = cut || (b.phase === "ready" && !b.linked), state = $("far-state");
    const phase = b.phase !== "ready" ? b.phase : cut ? "cut" : b.linked ? "ready" : "looking";
    state.classList.toggle("down", phase === "failed" || phase === "cut");
    state.classList.toggle("comes", phase !== "ready" && phase !== "failed" && phase !== "cut");
    const v = text["far-" + phase] + (b.problem ? " " + b.problem : "");
    if (state.lastChild.textContent !== v) state.lastChild.textContent = v;
    $("b-put").disabled = b.phase !== "ready";
    const docs = (b.documents || []).slice().reverse(), added = b.deposits || [];
    rows("down", docs, off, text["down-none"], (d) => el("tr", {}, name(d.title, d.path, d.bytes),
      step(true), step(d.region), step(d.state === "complete", d.bytes ? d.held / d.bytes : 0, off)));
    rows("up", added, off, text["up-none"], (d) => el("tr", {}, name(d.title || d.filename, d.path, d.length),
      step(true), step(d.state !== "box", d.length ? d.sent / d.length : 0, off), step(d.state === "central")));
    copy("put-line", b.phase === "ready" ? b.put_line : "");
    copy("add-line", b.add_line);
    copy("claim-line", b.claim_line);
    const old = before && before.beyond;
    if (!old) return;
    for (const d of b.documents || []) {
      const o = (old.documents || []).find((x) => x.key === d.key);
      if (!o) announce(say("said-put", {title: d.title}));
      else if (d.state === "complete" && o.state !== "complete") announce(say("said-down", {title: d.title}));
    }
    for (const d of added) {
      const o = (old.deposits || []).find((x) => x.id === d.id);
      if (!o || o.state !== d.state) announce(say("said-" + d.state, {title: d.title || d.filename}));
    }
  };

  const live = (on) => {
    $("live").classList.toggle("off", !on);
    const v = text[on ? "live-on" : "live-off"];
    if ($("live").lastChild.textContent !== v) $("live").lastChild.textContent = v;
  };

  const show = (st) => {
    const s = st.samples || [];
    const p = s.length ? s[s.length - 1] : {lan: 0, wan: 0};
    scene(st, p.lan, p.wan);
    figures(st);
    line(st);
    lesson(st);
    chart(st);
    held(st);
    beyond(st);
    before = st;
  };

  const events = new EventSource("/events");
  events.addEventListener("state", (e) => { live(true); show(JSON.parse(e.data)); });
  events.addEventListener("error", () => live(false));

  document.addEventListener("submit", async (e) => {
    e.preventDefault();
    const body = new URLSearchParams(new FormData(e.target, e.submitter));
    try {
      const res = await fetch(e.target.action, {method: "POST", body, headers: {Accept: "application/json"}});
      if (!res.ok) announce(say("said-failed", {error: (await res.text()).trim()}));
      else if (e.target.id === "class-form") announce(text["class-run"]);
    } catch (err) {
      announce(say("said-failed", {error: err.message}));
    }
  });
})();

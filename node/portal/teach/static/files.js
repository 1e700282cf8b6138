// Sends files to the box piece by piece (tus). What was begun goes on from where it
// was once the same file is chosen again.
"use strict";
(() => {
  const form = document.getElementById("adding");
  if (!form || !window.tus?.isSupported) return;
  form.hidden = false;
  const chosen = document.getElementById("chosen");
  const template = document.getElementById("one");
  const all = document.getElementById("all");
  const say = form.dataset;
  const reasons = {};
  for (const e of document.querySelectorAll("#reasons [data-reason]")) reasons[e.dataset.reason] = e.textContent;
  // Refusals that another try does not change.
  const final = new Set(["size", "budget", "disk", "count", "name", "request", "sign-in"]);

  const size = (n) => {
    const units = say.lang === "fr" ? ["octets", "Ko", "Mo", "Go"] : ["bytes", "KB", "MB", "GB"];
    let i = 0;
    for (; n >= 999.5 && i < 3; i++) n /= 1000;
    return n.toLocaleString(say.lang, { maximumFractionDigits: i && n < 9.95 ? 1 : 0 }) + " " + units[i];
  };
  const reasonOf = (error) => error?.originalResponse?.getHeader("Preau-Reason") || "";
  const waiting = () => chosen.querySelectorAll(".send:not([hidden])");
  const count = () => { all.hidden = waiting().length < 2; };

  function add(file) {
    const row = template.content.cloneNode(true).firstElementChild;
    const part = (name) => row.querySelector("." + name);
    part("name").textContent = file.name;
    part("size").textContent = size(file.size);
    part("title").value = file.name.replace(/\.[^.]*$/, "").replace(/[_-]+/g, " ");
    let upload = null, going = false;
    const tell = (text) => { part("state").textContent = text; };
    const paused = (yes) => {
      going = !yes;
      part("pause").textContent = yes ? say.resume : say.pause;
    };
    const begin = async () => {
      part("send").hidden = part("words").hidden = true;
      part("going").hidden = part("pause").hidden = false;
      count();
      upload = new tus.Upload(file, {
        endpoint: say.endpoint,
        headers: { "X-Preau-Token": say.token },
        chunkSize: 64 * 1024 * 1024,
        // It goes on trying for an hour and more: a battery, a lunch break.
        retryDelays: [0, 1000, 3000, 5000, 10000, 20000].concat(Array(200).fill(30000)),
        removeFingerprintOnSuccess: true,
        metadata: { filename: file.name, filetype: file.type, title: part("title").value.trim(), licence: part("licence").value },
        onShouldRetry: (error) => {
          const reason = reasonOf(error);
          tell(reasons[reason] || say.waiting);
          return !final.has(reason);
        },
        onProgress: (sent, total) => {
          row.querySelector("progress").value = total ? (100 * sent) / total : 100;
          tell(size(sent) + " / " + size(total) + " " + say.left);
        },
        onError: (error) => {
          tell(reasons[reasonOf(error)] || say.waiting);
          paused(true);
        },
        onSuccess: () => {
          row.querySelector("progress").value = 100;
          part("pause").hidden = true;
          tell(say.sent);
          part("remove").textContent = say.tidy; // it takes the row away, not the file
        },
      });
      const before = await upload.findPreviousUploads();
      if (before.length) upload.resumeFromPreviousUpload(before[0]);
      paused(false);
      upload.start();
    };
    part("send").addEventListener("click", begin);
    part("pause").addEventListener("click", async () => {
      if (going) {
        paused(true);
        await upload.abort();
      } else {
        paused(false);
        upload.start();
      }
    });
    part("remove").addEventListener("click", async () => {
      // What has arrived stays; what has not is removed from the box too.
      if (upload && part("pause").hidden === false) await upload.abort(true).catch(() => {});
      row.remove();
      count();
    });
    chosen.append(row);
    count();
    part("title").focus();
  }

  all.addEventListener("click", () => { for (const b of waiting()) b.click(); });
  document.getElementById("pick").addEventListener("change", (event) => {
    for (const file of event.target.files) add(file);
    event.target.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    form.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("over"); });
  }
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    for (const file of event.dataTransfer.files) add(file);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
})();

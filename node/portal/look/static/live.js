// Each element that a stream brings takes the place of the one with its id.
"use strict";
for (const watched of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(watched.dataset.live);
  source.onmessage = (event) => {
    const parsed = document.createElement("template");
    parsed.innerHTML = event.data;
    for (const fresh of parsed.content.children) {
      const old = fresh.id && document.getElementById(fresh.id);
      if (!old || old.isEqualNode(fresh)) continue;
      const focused = old.contains(document.activeElement) && document.activeElement.id;
      old.replaceWith(fresh);
      if (focused) document.getElementById(focused)?.focus();
    }
  };
  addEventListener("pagehide", () => source.close());
}

// Plays a stream in pieces where the browser can't do so by itself.
"use strict";
for (const video of document.querySelectorAll("video[data-stream]")) {
  const stream = video.dataset.stream;
  const fail = () => {
    document.getElementById(video.dataset.sorry)?.removeAttribute("hidden");
  };
  const native = () => {
    video.src = stream;
    video.addEventListener("error", fail);
  };
  const can = video.canPlayType("application/vnd.apple.mpegurl");
  // Apple's devices play it best themselves, and some of them only so.
  if (can && /^Apple/.test(navigator.vendor)) {
    native();
  } else if (window.Hls && Hls.isSupported()) {
    // No worker: the page's policy has none, and a class's films need none.
    const hls = new Hls({ enableWorker: false, maxBufferLength: 60, startLevel: 0 });
    let mended = false;
    hls.on(Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !mended) {
        mended = true;
        hls.recoverMediaError();
        return;
      }
      hls.destroy();
      fail();
    });
    hls.loadSource(stream);
    hls.attachMedia(video);
    addEventListener("pagehide", () => hls.destroy());
  } else if (can) {
    native();
  } else {
    fail();
  }
}

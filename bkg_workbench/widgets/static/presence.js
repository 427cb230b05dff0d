// The page's heartbeat: every 10 s while a view is on the page, and when a hidden page comes back.
// Without it the kernel stops pushing, falls idle and can be culled.

const BEAT_MS = 10000;

function render({ model, el }) {
  el.style.display = "none";
  const beat = () => {
    try {
      model.send({ kind: "beat" });
    } catch (error) {
      // The comm is gone; the next page makes a new one.
    }
  };
  const onVisible = () => {
    if (document.visibilityState === "visible") beat();
  };
  beat();
  const timer = setInterval(beat, BEAT_MS);
  document.addEventListener("visibilitychange", onVisible);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", onVisible);
  };
}

export default { render };

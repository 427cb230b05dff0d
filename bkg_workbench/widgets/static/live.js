// What every panel shares: the copy of the kernel's data, drawing it, toasts, times, small parts.
//
// A panel's file ends with `export default live(Panel)`, where Panel is a Preact component that gets
// {data, post, model, on}: the data, `post(verb, fields)` to ask the kernel for something, and
// `on(kind, handler)` for messages of the panel's own (gives what ends it).

const { html: raw, render, useState, useEffect, useLayoutEffect, useRef, useMemo } = preact;
const html = raw;

// --- data --------------------------------------------------------------------------------------

// RFC 7396, without touching what is there: what did not change keeps its identity.
function mergePatch(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const isObject = target && typeof target === "object" && !Array.isArray(target);
  const merged = isObject ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

function live(Panel) {
  // initialize and render are given different proxies of one model; what they share is kept here.
  return () => {
    let view = { n: 0, data: {} };
    const draws = new Set();
    const handlers = new Map(); // kind -> set of functions
    const drawAll = () => draws.forEach((draw) => draw());
    return {
      initialize({ model }) {
        view = model.get("view") ?? view;
        const whole = () => {
          view = model.get("view");
          drawAll();
        };
        const onMessage = (content, buffers) => {
          if (content.kind === "patch") {
            if (content.n <= view.n) return; // came with the whole already
            if (content.n > view.n + 1) {
              model.send({ kind: "whole" });
              return;
            }
            view = { n: content.n, data: mergePatch(view.data, content.patch) };
            drawAll();
          } else if (content.kind === "toast") {
            toast(content.text, content.tone);
          } else if (content.kind === "file") {
            receiveFile(content, buffers);
          } else {
            handlers.get(content.kind)?.forEach((handler) => handler(content, buffers));
          }
        };
        model.on("change:view", whole);
        model.on("msg:custom", onMessage);
        return () => {
          model.off("change:view", whole);
          model.off("msg:custom", onMessage);
        };
      },
      render({ model, el }) {
        el.classList.add("bkg");
        const post = (verb, fields = {}) => model.send({ ...fields, kind: "intent", verb });
        const on = (kind, handler) => {
          if (!handlers.has(kind)) handlers.set(kind, new Set());
          handlers.get(kind).add(handler);
          return () => handlers.get(kind).delete(handler);
        };
        let frame = 0;
        const draw = () => {
          frame = 0;
          render(html`<${Panel} data=${view.data} post=${post} model=${model} on=${on} />`, el);
        };
        const soon = () => {
          // A hidden tab gets no animation frames; its one draw happens when it is looked at.
          frame ||= requestAnimationFrame(draw);
        };
        draws.add(soon);
        draw();
        // Shortcuts of the notebook must not take what is typed into a panel.
        const keep = (event) => {
          if (event.target.closest?.("input, textarea, select, [data-keys]")) event.stopPropagation();
        };
        el.addEventListener("keydown", keep);
        return () => {
          cancelAnimationFrame(frame);
          draws.delete(soon);
          el.removeEventListener("keydown", keep);
          render(null, el);
        };
      },
    };
  };
}

// --- toasts ------------------------------------------------------------------------------------

const TOAST_MS = 6000;
const MOST_TOASTS = 6;

function toast(text, tone = "ok") {
  let shelf = document.querySelector(".bkg-toasts");
  if (!shelf) {
    shelf = document.createElement("div");
    shelf.className = "bkg bkg-toasts";
    shelf.setAttribute("role", "status");
    shelf.setAttribute("aria-live", "polite");
    document.body.append(shelf);
  }
  const node = document.createElement("button");
  node.type = "button";
  node.className = `bkg-toast bkg-${tone}`;
  node.title = "Dismiss";
  node.textContent = text;
  node.addEventListener("click", () => node.remove());
  shelf.append(node);
  if (shelf.children.length > MOST_TOASTS) shelf.firstChild.remove();
  const seconds = tone === "bad" ? 3 : 1; // bad news stays longer
  setTimeout(() => node.remove(), TOAST_MS * seconds);
}

// --- times -------------------------------------------------------------------------------------

const clocks = new Set();
let ticking = 0;

// Draws the calling component again each second, without a message from the kernel.
function useClock() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    clocks.add(setNow);
    ticking ||= setInterval(() => clocks.forEach((tick) => tick(Date.now())), 1000);
    return () => {
      clocks.delete(setNow);
      if (!clocks.size) {
        clearInterval(ticking);
        ticking = 0;
      }
    };
  }, []);
  return now;
}

// In a duration's two largest units: `8 s`, `3 min`, `2 h 05 min`, `4 d 3 h`.
function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 120) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const exactly = (ms) => new Date(ms).toLocaleString(undefined, { hour12: false });

// "4 s ago", with the exact time on hover. `at` is in milliseconds since 1970.
function Ago({ at, prefix = "" }) {
  const seconds = (useClock() - at) / 1000;
  const words = seconds < 1 ? "now" : `${duration(seconds)} ago`;
  return html`<time dateTime=${new Date(at).toISOString()} title=${exactly(at)}>${prefix}${words}</time>`;
}

// How long something has lasted since `at`.
function Since({ at }) {
  const seconds = (useClock() - at) / 1000;
  return html`<time dateTime=${new Date(at).toISOString()} title=${`since ${exactly(at)}`}>${duration(seconds)}</time>`;
}

// --- small parts -------------------------------------------------------------------------------

function Badge({ text, tone, hint }) {
  return html`<span class=${`bkg-badge bkg-${tone}`} title=${hint ?? ""}>${text}</span>`;
}

const CONFIRM_MS = 5000;

// A button; with `confirm` (a short question) it asks in place before it acts. `name` is what it is
// called where the label alone does not say it; other properties (data-verb, ...) are the element's.
function Button({ label, onClick, confirm, disabled, busy, tone = "", hint, icon, name, ...more }) {
  const [asking, setAsking] = useState(false);
  useEffect(() => {
    if (!asking) return undefined;
    const timer = setTimeout(() => setAsking(false), CONFIRM_MS);
    return () => clearTimeout(timer);
  }, [asking]);
  // What it asks about may be gone meanwhile; the answer would be to another question.
  useEffect(() => {
    if (disabled || busy || !confirm) setAsking(false);
  }, [disabled, busy, confirm]);
  const press = () => {
    if (confirm && !asking) setAsking(true);
    else {
      setAsking(false);
      onClick();
    }
  };
  return html`<button
    ...${more}
    type="button"
    class=${`bkg-btn ${tone ? `bkg-${tone}` : ""} ${asking ? "bkg-asking" : ""}`}
    disabled=${disabled || busy}
    aria-busy=${busy ? "true" : undefined}
    aria-label=${asking ? `${confirm} ${name ?? ""} Press again to confirm` : name ?? undefined}
    title=${hint ?? ""}
    onClick=${press}
    onBlur=${() => setAsking(false)}
    onKeyDown=${(event) => event.key === "Escape" && setAsking(false)}
  >${icon && !asking ? html`<span class="bkg-icon" aria-hidden="true">${icon}</span>` : null}${asking ? confirm : label}</button>`;
}

function Empty({ children }) {
  return html`<div class="bkg-empty">${children}</div>`;
}

// An SVG line through `points`, oldest first, on a scale from 0 to the larger of `least` and their
// maximum, so that idle noise is no mountain range.
function Sparkline({ points, least = 0, width = 64, height = 18 }) {
  if (!points || points.length < 2) return null;
  const top = Math.max(Math.max(...points) * 1.1, least, 1e-9);
  const step = width / (points.length - 1);
  const line = points
    .map((p, n) => `${(n * step).toFixed(1)},${(height - 1 - ((height - 2) * Math.max(0, p)) / top).toFixed(1)}`)
    .join(" ");
  return html`<svg class="bkg-spark" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}
    preserveAspectRatio="none" aria-hidden="true"><polygon points=${`0,${height} ${line} ${width},${height}`} /><polyline points=${line} /></svg>`;
}

// --- files -------------------------------------------------------------------------------------

// Gives the browser a file to save.
function saveFile(name, content, type = "text/plain") {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const awaitedFiles = new Map(); // token -> what to call when the file has come, or will not

// The kernel's answer to an `Export` goes to every view; the one that asked saves it.
function receiveFile({ token, name, type }, buffers) {
  const settle = awaitedFiles.get(token);
  if (!settle) return;
  awaitedFiles.delete(token);
  if (name) saveFile(name, buffers[0], type);
  settle();
}

const FILE_MS = 60000;

// A button that saves a table of the panel as a file; `tables.py` is its other half. `rows` are the
// keys of the rows that are seen; without them the file has all.
function Export({ post, table, rows, disabled, name = table }) {
  const [busy, setBusy] = useState(false);
  const menu = useRef(null);
  const shut = () => {
    if (menu.current) menu.current.open = false;
  };
  const save = (format) => {
    const token = Math.random().toString(36).slice(2);
    const end = () => {
      clearTimeout(timer);
      awaitedFiles.delete(token);
      setBusy(false);
    };
    const timer = setTimeout(end, FILE_MS);
    awaitedFiles.set(token, end);
    setBusy(true);
    shut();
    post("export", { table, format, token, ...(rows ? { rows } : {}) });
  };
  if (disabled || busy) {
    return html`<${Button} label=${busy ? "Saving …" : "Export"} busy=${busy} disabled=${disabled} />`;
  }
  return html`<details class="bkg-menu" ref=${menu}
    onKeyDown=${(event) => event.key === "Escape" && shut()}
    onFocusOut=${(event) => event.currentTarget.contains(event.relatedTarget) || shut()}>
    <summary class="bkg-btn" aria-label=${`Export ${name}`} data-export=${table}>Export</summary>
    <div>
      <${Button} label="CSV" name=${`Export ${name} as CSV`} onClick=${() => save("csv")} data-format="csv" />
      <${Button} label="Parquet" name=${`Export ${name} as Parquet`} onClick=${() => save("parquet")} data-format="parquet" />
    </div>
  </details>`;
}

// --- addresses ---------------------------------------------------------------------------------

const isPage = () => document.body.hasAttribute("data-voila");

// The address of a page of the dashboards ("plugins", "plugins/goose"), or null where there are no
// pages: in JupyterLab the panel asks the kernel to show it in place.
function pageHref(path) {
  if (!isPage()) return null;
  const config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}");
  const theme = new URLSearchParams(location.search).get("theme");
  return `${config.baseUrl ?? "/"}${path}${theme ? `?theme=${encodeURIComponent(theme)}` : ""}`;
}

// Like useState of a text, but on a page of its own the value stands in the link as `?key=value`.
function useLinked(key, initial = "") {
  const [value, setValue] = useState(() => {
    const linked = isPage() ? new URLSearchParams(location.search).get(key) : null;
    return linked ?? initial;
  });
  const set = (next) => {
    setValue(next);
    if (!isPage()) return;
    const address = new URL(location.href);
    if (next === initial) address.searchParams.delete(key);
    else address.searchParams.set(key, next);
    history.replaceState(history.state, "", address);
  };
  return [value, set];
}

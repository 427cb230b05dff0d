// Small things of the log view: elements, times, text of a line, the clipboard, the page's link.

function element(tag, className, props = {}, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(props)) {
    if (key.includes("-") || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

function toggle(text, title, className = "") {
  const node = element("button", `bkg-log-button ${className}`, { type: "button", textContent: text, title });
  node.setAttribute("aria-pressed", "false");
  return node;
}

function press(node, on) {
  node.setAttribute("aria-pressed", String(Boolean(on)));
}

const isPressed = (node) => node.getAttribute("aria-pressed") === "true";

const count = (n, one) => `${n.toLocaleString()} ${one}${n === 1 ? "" : "s"}`;

const two = (n) => String(n).padStart(2, "0");

// The time of day, with the date where it is not today's.
function clock(ms) {
  if (ms === null || ms === undefined) return "";
  const t = new Date(ms);
  const milli = String(t.getMilliseconds()).padStart(3, "0");
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${milli}`;
  if (Date.now() - ms < 43_200_000 || t.toDateString() === new Date().toDateString()) return time;
  return `${two(t.getMonth() + 1)}-${two(t.getDate())} ${time}`;
}

// In the largest unit, as other panels say it.
function ago(ms) {
  if (ms === null || ms === undefined) return "";
  const seconds = Math.max(0, Math.floor((Date.now() - ms) / 1000));
  if (seconds < 1) return "now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

const isoTime = (ms) => (Number.isFinite(ms) ? new Date(ms).toISOString() : "");

// A record as a line of a text file, and of what is copied.
const asText = ([, at, plugin, source, level, message]) =>
  `${isoTime(at)} ${level.padEnd(5)} ${plugin} ${source} ${message}`;

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    // Not a secure context, or not allowed: the old way.
  }
  const area = element("textarea", "", { value: text });
  area.style.cssText = "position: fixed; opacity: 0;";
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus?.();
  return done;
}

// Gives way to the page's other work. Not a timer: those of hidden tabs run once a second.
const pause = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(0);
});

// The view's settings in the address of a dashboard, so that a link opens it as it is. A notebook's
// address is not this view's to change.
const LINKED = ["text", "regex", "mode", "level", "source", "plugin", "wrap", "time"];

const hasLink = () => Boolean(document.body.dataset.voila);

function readLink() {
  const found = {};
  if (!hasLink()) return found;
  const query = new URLSearchParams(location.search);
  for (const key of LINKED) if (query.has(`log-${key}`)) found[key] = query.get(`log-${key}`);
  return found;
}

function writeLink(settings) {
  if (!hasLink()) return;
  const url = new URL(location.href);
  for (const key of LINKED) {
    if (settings[key]) url.searchParams.set(`log-${key}`, settings[key]);
    else url.searchParams.delete(`log-${key}`);
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}

// Lines that grow. Plotly draws; the kernel sends all points once, then only new ones.
//
// A view says hello with a token of its own and takes the `points` that answer it (or that replace
// everything); an `extend` whose number is not the next one makes it say hello again.

const PALETTE = {
  light: ["#0969da", "#bf5700", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#1b7c83", "#cf222e"],
  dark: ["#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#d29922", "#39c5cf", "#f85149"],
};
const MOST = 20000; // points of a line, as in charts.py
const DAY_MS = 86400000;
const SPARE_MS = 1500; // a new point stands a little inside the right edge
const isDark = () => document.body.dataset.jpThemeLight === "false";

// plotly.js, once per page: there already, else from the page's own server, else from the kernel.
function loadPlotly(post, on) {
  if (window.Plotly?.extendTraces) return Promise.resolve(window.Plotly);
  window.bkgPlotly ??= fromServer().catch(() => fromKernel(post, on)).catch((error) => {
    window.bkgPlotly = undefined;
    throw error;
  });
  return window.bkgPlotly;
}

function runScript(url) {
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    // An AMD loader on the page (JupyterLab may have one) would take the library for itself.
    const define = window.define;
    window.define = undefined;
    const done = (act) => {
      window.define = define;
      tag.remove();
      act();
    };
    tag.onload = () => done(() => (window.Plotly ? resolve(window.Plotly) : reject(new Error("no Plotly"))));
    tag.onerror = () => done(() => reject(new Error(`${url} is not there`)));
    tag.src = url;
    document.head.append(tag);
  });
}

function fromServer() {
  const base = pagesBase();
  return base === null ? Promise.reject(new Error("no pages server")) : runScript(`${base}static-bkg/plotly.min.js`);
}

// The address that the pages' server begins at, or null in JupyterLab.
function pagesBase() {
  if (!document.body.hasAttribute("data-voila")) return null;
  try {
    return JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl ?? "/";
  } catch {
    return null;
  }
}

function fromKernel(post, on) {
  return new Promise((resolve, reject) => {
    const end = on("bkg-plotly", (_, buffers) => {
      end();
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "text/javascript" }));
      runScript(url).then(resolve, reject).finally(() => URL.revokeObjectURL(url));
    });
    post("library");
  });
}

function colours(element) {
  const css = getComputedStyle(element.closest(".bkg") ?? element);
  const of = (name) => css.getPropertyValue(name).trim();
  return {
    text: of("--text"),
    dim: of("--dim"),
    rule: of("--rule"),
    card: of("--card"),
    lines: isDark() ? PALETTE.dark : PALETTE.light,
  };
}

function readPoints(content, buffers) {
  const data = buffers[0];
  const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  const numbers = new Float64Array(bytes);
  const points = {};
  let at = 0;
  content.names.forEach((name, index) => {
    const count = content.counts[index];
    points[name] = { x: numbers.slice(at, at + count), y: numbers.slice(at + count, at + 2 * count) };
    at += 2 * count;
  });
  return points;
}

// The points that a view holds, and the numbers by which it knows that it missed some.
class Kept {
  constructor() {
    this.n = -1;
    this.lines = {}; // name -> {x: [], y: []}
    this.totals = {}; // name -> points that ever came, so that a view knows which it has not drawn
  }
  take(content, buffers) {
    this.n = content.n;
    this.lines = {};
    for (const [name, { x, y }] of Object.entries(readPoints(content, buffers)))
      this.lines[name] = { x: Array.from(x), y: Array.from(y) };
    this.totals = Object.fromEntries(Object.entries(this.lines).map(([name, line]) => [name, line.x.length]));
  }
  extend(content, buffers) {
    this.n = content.n;
    for (const [name, { x, y }] of Object.entries(readPoints(content, buffers))) {
      const line = (this.lines[name] ??= { x: [], y: [] });
      this.totals[name] = (this.totals[name] ?? 0) + x.length;
      for (let k = 0; k < x.length; k++) {
        line.x.push(x[k]);
        line.y.push(y[k]);
      }
      if (line.x.length > MOST + 1000) {
        line.x.splice(0, line.x.length - MOST);
        line.y.splice(0, line.y.length - MOST);
      }
    }
  }
}

function trace(series, line, colour, plot) {
  const base = { name: series.name, x: line?.x ?? [], y: line?.y ?? [] };
  const hovertemplate = `%{y:,.4~g}${plot.unit ? ` ${plot.unit}` : ""}`;
  if (series.kind === "bar") return { ...base, type: "bar", marker: { color: colour }, hovertemplate };
  return {
    ...base,
    type: "scatter",
    mode: base.x.length === 1 ? "lines+markers" : "lines",
    line: { color: colour, width: 1.5, dash: series.dash ? "dot" : "solid" },
    marker: { color: colour, size: 4 },
    fill: series.fill ? "tozeroy" : "none",
    fillcolor: `${colour}22`,
    hovertemplate,
  };
}

function layoutOf(plot, paint, { legend, window: span, lines, small }) {
  const ys = lines.flatMap((line) => line?.y ?? []);
  const top = ys.reduce((most, y) => (y > most ? y : most), 0);
  const axis = {
    color: paint.dim, gridcolor: paint.rule, linecolor: paint.rule, zerolinecolor: paint.rule,
    tickfont: { size: 10 }, fixedrange: true, automargin: true,
  };
  const layout = {
    margin: { l: 38, r: 10, t: 6, b: 24 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 11, color: paint.text },
    showlegend: legend,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
    hovermode: "x unified",
    hoverlabel: { bgcolor: paint.card, bordercolor: paint.rule, font: { size: 11, color: paint.text } },
    xaxis: { ...axis, showgrid: false, nticks: small ? 3 : 6, fixedrange: Boolean(span) },
    yaxis: { ...axis, rangemode: "tozero", nticks: small ? 3 : 5, tickformat: "~s" },
    uirevision: String(span ?? "all"),
  };
  if (top <= (plot.least ?? 0)) layout.yaxis.range = [0, plot.least || 1];
  if (top < 1000) layout.yaxis.tickformat = "~g";
  if (plot.x !== "number") {
    layout.xaxis.type = "date";
    layout.xaxis.hoverformat = "%d %b %H:%M:%S";
    if (span && span <= DAY_MS) layout.xaxis.tickformat = "%H:%M"; // the day would be a second line
    if (span) {
      const last = Math.max(Date.now(), ...lines.map((line) => line?.x.at(-1) ?? 0));
      layout.xaxis.range = [local(last - span), local(last + SPARE_MS)];
    }
  }
  return layout;
}

// Plotly takes numbers on a date axis for UTC; people read their own clock.
const local = (ms) => ms - new Date(ms).getTimezoneOffset() * 60000;

// Copies: plotly keeps the arrays that it is given, and grows them.
function copied(line, time) {
  return line && { x: time ? line.x.map(local) : line.x.slice(), y: line.y.slice() };
}

// One system of axes in a div of its own. Draws all at first and whenever what it consists of
// changes; extends by what is new otherwise.
function PlotView({ plotly, plot, names, series, kept, height, span, changes, theme }) {
  const box = useRef(null);
  const drawn = useRef(null);
  const late = useRef(false);
  const time = plot.x !== "number";
  const lines = () => names.map((name) => copied(kept.lines[name], time));
  const settings = () => {
    const paint = colours(box.current);
    const from = { legend: names.length > 1, window: span, lines: lines(), small: plot.size === "small" };
    return { paint, layout: layoutOf(plot, paint, from), lines: from.lines };
  };
  const whole = () => {
    // Where nobody sees it, it is drawn when it comes into view.
    late.current = !box.current?.clientWidth;
    if (late.current) return;
    const { paint, layout, lines: now } = settings();
    const traces = names.map((name, index) =>
      trace(series[name], now[index], paint.lines[index % paint.lines.length], plot));
    drawn.current = { ...kept.totals };
    plotly.react(box.current, traces, { ...layout, height }, { displayModeBar: false, responsive: false });
  };
  const wholeNow = useRef(whole);
  wholeNow.current = whole;
  useEffect(whole, [plotly, JSON.stringify([plot, names, series]), height, span, theme, changes.whole]);
  useEffect(() => {
    if (drawn.current === null) return;
    late.current ||= !box.current.clientWidth;
    if (late.current) return;
    const fresh = (name) => kept.totals[name] - (drawn.current[name] ?? 0);
    const mine = names.filter((name) => fresh(name) > 0);
    if (!mine.length) return;
    if (mine.some((name) => kept.lines[name].x.length - fresh(name) < 2)) {
      whole(); // the first points turn a marker into a line
      return;
    }
    const columns = mine.map((name) => {
      const { x, y } = kept.lines[name];
      const added = x.slice(-fresh(name));
      return { x: time ? added.map(local) : added, y: y.slice(-fresh(name)) };
    });
    drawn.current = { ...kept.totals };
    const { layout } = settings();
    const which = mine.map((name) => names.indexOf(name));
    plotly.extendTraces(box.current, { x: columns.map((c) => c.x), y: columns.map((c) => c.y) }, which, MOST);
    const range = layout.xaxis.range ? { "xaxis.range": layout.xaxis.range } : {};
    const height_ = layout.yaxis.range ? { "yaxis.range": layout.yaxis.range } : { "yaxis.autorange": true };
    plotly.relayout(box.current, { ...range, ...height_, "yaxis.tickformat": layout.yaxis.tickformat });
  }, [changes]);
  useEffect(() => {
    // A tab that was not in view has no width until it is.
    let width = box.current.clientWidth;
    const watcher = new ResizeObserver(() => {
      const now = box.current?.clientWidth ?? 0;
      if (now && late.current) wholeNow.current();
      else if (now && now !== width && drawn.current !== null) plotly.relayout(box.current, { width: now });
      width = now;
    });
    watcher.observe(box.current);
    return () => {
      watcher.disconnect();
      plotly.purge(box.current);
    };
  }, [plotly]);
  const last = kept.lines[names[0]]?.y.at(-1);
  const said = last === undefined ? plot.title : `${plot.title}, latest ${figure(last)} ${plot.unit ?? ""}`;
  return html`<figure class=${`bkg-plot bkg-plot-${plot.size ?? "large"}`}>
    <figcaption><span>${plot.title}${plot.unit ? html` <i>${plot.unit}</i>` : null}</span>
      <b>${last === undefined || names.length > 1 ? "" : figure(last)}</b></figcaption>
    <div ref=${box} style=${{ height: `${height}px` }} role="img" aria-label=${said}></div>
  </figure>`;
}

function figure(value) {
  if (!Number.isFinite(value)) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString();
  return String(Number(value.toPrecision(size >= 100 ? 3 : 2)));
}

function useTheme() {
  const [theme, setTheme] = useState(isDark());
  useEffect(() => {
    const watcher = new MutationObserver(() => setTheme(isDark()));
    watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    return () => watcher.disconnect();
  }, []);
  return theme;
}

// The plots of a chart; `data` as LiveChart.frame gives it.
function Plots({ data, post, on }) {
  const kept = useMemo(() => new Kept(), []);
  const [plotly, setPlotly] = useState(null);
  const [failure, setFailure] = useState(null);
  const [changes, setChanges] = useState({ whole: 0, extended: 0 });
  const theme = useTheme();
  useEffect(() => {
    const token = Math.random().toString(36).slice(2);
    const hello = () => post("hello", { token });
    const whole = (content, buffers) => {
      if (content.token && content.token !== token) return; // another view's
      kept.take(content, buffers);
      setChanges((before) => ({ ...before, whole: before.whole + 1 }));
    };
    const extend = (content, buffers) => {
      if (kept.n < 0 || content.n <= kept.n) return;
      if (content.n > kept.n + 1) {
        hello();
        return;
      }
      kept.extend(content, buffers);
      setChanges((before) => ({ ...before, extended: before.extended + 1 }));
    };
    const ends = [on("points", whole), on("extend", extend)];
    hello();
    return () => ends.forEach((end) => end());
  }, []);
  const isEmpty = !Object.values(kept.lines).some((line) => line.x.length);
  useEffect(() => {
    if (!isEmpty && !plotly && !failure)
      loadPlotly(post, on).then((found) => setPlotly(() => found), (error) => setFailure(String(error.message ?? error)));
  }, [isEmpty]);
  const names = data.lines ?? [];
  if (failure) return html`<${Empty}>The charts could not be loaded (${failure}).<//>`;
  if (isEmpty) return html`<${Empty}>${kept.n < 0 ? "Loading…" : data.empty}<//>`;
  if (!plotly) return html`<${Empty}>Loading the charts…<//>`;
  return html`<div class="bkg-plots">${(data.order ?? []).map((key) => {
    const plot = data.plots[key];
    const own = names.filter((name) => data.series[name].plot === key && kept.lines[name]?.x.length);
    if (!own.length) return null;
    const height = plot.size === "small" ? Math.round(data.height * 0.55) : data.height;
    return html`<${PlotView} key=${key} plotly=${plotly} plot=${plot} names=${own} series=${data.series}
      kept=${kept} height=${height} span=${data.window} changes=${changes} theme=${theme} />`;
  })}</div>`;
}

function Chart({ data, post, on }) {
  return html`<div class="bkg-chart"><${Plots} data=${data} post=${post} on=${on} /></div>`;
}

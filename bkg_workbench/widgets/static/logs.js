// The live log: one store per model, any number of views, only the visible lines in the DOM.
//
// Owns filters, colours, scrolling and the bounded store. Records are arrays of
// [seq, at, plugin, source, level, message]; a gap is a record whose seq is null.

const ROW = 20; // pixels; logs.css has the same number
const SPARE = 12; // rows drawn beyond each edge
const LEVELS = ["debug", "info", "warn", "error"];
const ANSI = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;
const SEQ = 0, AT = 1, PLUGIN = 2, SOURCE = 3, LEVEL = 4, MESSAGE = 5;

class Store {
  constructor(limit) {
    this.limit = limit;
    this.records = [];
    this.base = 0; // number of records trimmed from the front so far
    this.floor = 0; // live records up to this seq came with the backlog already
    this.dropped = 0;
    this.sources = new Set(); // whose lines came, the Host's own parts included
    this.listeners = new Set();
  }

  get last() {
    for (let n = this.records.length - 1; n >= 0; n -= 1) {
      if (this.records[n][SEQ] !== null) return this.records[n][SEQ];
    }
    return 0;
  }

  backlog(records, after, dropped) {
    const live = this.records.filter((r) => r[SEQ] !== null && r[SEQ] > after);
    this.records = this.records.filter((r) => r[SEQ] === null || r[SEQ] <= after);
    this.floor = records.length ? records[records.length - 1][SEQ] : this.floor;
    this._gap(dropped);
    this._push(records);
    this._push(live.filter((r) => r[SEQ] > this.floor));
    this._trim();
    this._tell(true);
  }

  batch(records, dropped) {
    this._gap(dropped);
    this._push(this.floor ? records.filter((r) => r[SEQ] > this.floor) : records);
    const trimmed = this._trim();
    this._tell(false, trimmed);
  }

  clear() {
    this.base += this.records.length;
    this.records = [];
    this._tell(true);
  }

  _gap(dropped) {
    if (!dropped) return;
    this.dropped += dropped;
    const text = `${dropped.toLocaleString()} lines are not shown here`;
    this.records.push([null, null, "", "", "gap", text]);
  }

  _push(records) {
    for (const record of records) {
      this.sources.add(record[PLUGIN]);
      record[MESSAGE] = String(record[MESSAGE] ?? "").replace(ANSI, "");
      this.records.push(record);
    }
  }

  _trim() {
    const over = this.records.length - this.limit;
    if (over <= this.limit / 20) return 0; // in large steps: a shift of 100,000 is not free
    this.records.splice(0, over);
    this.base += over;
    return over;
  }

  _tell(all, trimmed = 0) {
    for (const listener of this.listeners) listener(all, trimmed);
  }
}

function element(tag, className, props = {}) {
  const node = document.createElement(tag);
  node.className = className;
  Object.assign(node, props);
  return node;
}

function clock(ms) {
  if (ms === null || ms === undefined) return "";
  const t = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const milli = String(t.getMilliseconds()).padStart(3, "0");
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${milli}`;
}

function matcher(text, asRegex) {
  if (!text) return { test: null };
  const source = asRegex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  try {
    return { test: new RegExp(source, "i"), mark: new RegExp(source, "gi") };
  } catch (error) {
    return { test: null, problem: "not a regular expression" };
  }
}

class View {
  constructor(model, el, store) {
    this.model = model;
    this.store = store;
    this.shown = []; // absolute numbers (store.base + index) of the records that pass the filters
    this.seen = 0; // absolute number up to which the store was looked at
    this.following = true;
    this.news = 0;
    this.chosen = null;
    this.match = { test: null };
    this._build(el);
    this._onChange = (all, trimmed) => this._changed(all, trimmed);
    store.listeners.add(this._onChange);
    this._onNames = () => this._fillPlugins();
    model.on("change:names", this._onNames);
    this._resizes = new ResizeObserver(() => this._draw());
    this._resizes.observe(this.scroller);
    if (document.body.dataset.voila) this._fillPage();
    this._refilter();
  }

  close() {
    this.store.listeners.delete(this._onChange);
    this.model.off("change:names", this._onNames);
    this._resizes.disconnect();
    this._fills?.disconnect();
    window.removeEventListener("resize", this._fill);
    cancelAnimationFrame(this._frame);
  }

  _build(el) {
    const root = element("div", "bkg-log");
    root.style.height = `${this.model.get("height")}px`;
    const bar = element("div", "bkg-log-bar");
    this.plugins = element("select", "bkg-log-plugin", { title: "Plug-in" });
    this.level = element("select", "bkg-log-level", { title: "Least level" });
    LEVELS.forEach((level) => {
      const label = level === "debug" ? "all levels" : `${level} and above`;
      this.level.append(new Option(level === "error" ? "error" : label, level));
    });
    this.text = element("input", "bkg-log-filter", {
      type: "search", placeholder: "Filter lines", spellcheck: false, title: "Only lines with this",
    });
    this.regex = element("button", "bkg-log-toggle", {
      type: "button", textContent: ".*", title: "The filter is a regular expression",
    });
    this.follow = element("button", "bkg-log-toggle bkg-log-follow", { type: "button" });
    this.wipe = element("button", "bkg-log-toggle", {
      type: "button", textContent: "Clear", title: "Empty this view; the log itself is kept",
    });
    this.save = element("button", "bkg-log-toggle", {
      type: "button", textContent: "Download", title: "The lines that pass the filters, as text",
    });
    this.count = element("span", "bkg-log-count");
    const title = element("span", "bkg-log-title", { textContent: "Log" });
    if (!this.model.get("only")) bar.append(title, this.plugins);
    else bar.append(title);
    bar.append(this.level, this.text, this.regex, this.count, this.follow, this.wipe, this.save);

    this.scroller = element("div", "bkg-log-lines", { tabIndex: 0 });
    this.scroller.setAttribute("role", "log");
    this.spacer = element("div", "bkg-log-spacer");
    this.scroller.append(this.spacer);
    this.jump = element("button", "bkg-log-jump", { type: "button", hidden: true });
    this.detail = element("div", "bkg-log-detail", { hidden: true });
    const body = element("div", "bkg-log-body");
    body.append(this.scroller, this.jump);
    root.append(bar, body, this.detail);
    this.root = root;
    el.append(root);
    this._listen();
    this._fillPlugins();
    this._showFollowing();
  }

  // On a dashboard the log takes what is left of the window.
  _fillPage() {
    const least = this.model.get("height");
    this._fill = () => {
      const top = this.root.getBoundingClientRect().top + window.scrollY;
      if (top > 0) this.root.style.height = `${Math.max(least, window.innerHeight - top - 24)}px`;
    };
    this._fills = new ResizeObserver(this._fill);
    this._fills.observe(document.getElementById("rendered_cells") ?? document.body);
    window.addEventListener("resize", this._fill);
  }

  _listen() {
    this.plugins.addEventListener("change", () => this._refilter());
    this.level.addEventListener("change", () => this._refilter());
    this.text.addEventListener("input", () => {
      clearTimeout(this._typing);
      this._typing = setTimeout(() => this._refilter(), 120);
    });
    // Notebook shortcuts must not take what is typed into the filter.
    this.text.addEventListener("keydown", (event) => event.stopPropagation());
    this.regex.addEventListener("click", () => {
      this.regex.classList.toggle("bkg-on");
      this._refilter();
    });
    this.follow.addEventListener("click", () => this._setFollowing(!this.following));
    this.jump.addEventListener("click", () => this._setFollowing(true));
    this.wipe.addEventListener("click", () => this.store.clear());
    this.save.addEventListener("click", () => this._download());
    this.scroller.addEventListener("scroll", () => this._scrolled());
    this.spacer.addEventListener("click", (event) => this._choose(event));
  }

  _fillPlugins() {
    const chosen = this.plugins.value;
    const names = [...new Set([...this.model.get("names"), ...this.store.sources])].sort();
    this.offered = this.store.sources.size;
    this.plugins.replaceChildren(new Option("all plug-ins", ""));
    names.forEach((name) => this.plugins.append(new Option(name, name)));
    if (names.includes(chosen)) this.plugins.value = chosen;
    else if (chosen) this._refilter();
  }

  _passes(record) {
    if (record[LEVEL] === "gap") return true;
    if (this.plugins.value && record[PLUGIN] !== this.plugins.value) return false;
    if (LEVELS.indexOf(record[LEVEL]) < LEVELS.indexOf(this.level.value)) return false;
    return !this.match.test || this.match.test.test(record[MESSAGE]);
  }

  _refilter() {
    this.match = matcher(this.text.value, this.regex.classList.contains("bkg-on"));
    this.text.classList.toggle("bkg-invalid", Boolean(this.match.problem));
    this.text.title = this.match.problem || "Only lines with this";
    this.shown = [];
    this.seen = this.store.base;
    this._take();
    this.news = 0;
    this._place();
  }

  _take() {
    const { base, records } = this.store;
    const before = this.shown.length;
    for (let n = Math.max(this.seen, base); n < base + records.length; n += 1) {
      if (this._passes(records[n - base])) this.shown.push(n);
    }
    this.seen = base + records.length;
    return this.shown.length - before;
  }

  _changed(all) {
    if (this.store.sources.size !== this.offered) this._fillPlugins();
    if (all) {
      this._refilter();
      return;
    }
    let gone = 0;
    while (gone < this.shown.length && this.shown[gone] < this.store.base) gone += 1;
    if (gone) {
      this.shown.splice(0, gone);
      if (!this.following) this.scroller.scrollTop -= gone * ROW;
    }
    const added = this._take();
    if (!this.following) this.news += added;
    this._place();
  }

  _place() {
    cancelAnimationFrame(this._frame);
    this._frame = requestAnimationFrame(() => {
      this.spacer.style.height = `${this.shown.length * ROW}px`;
      if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
      this._draw();
      this._showFollowing();
    });
  }

  _draw() {
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW) - SPARE);
    const last = Math.min(
      this.shown.length, Math.ceil((top + this.scroller.clientHeight) / ROW) + SPARE,
    );
    const lines = [];
    for (let n = first; n < last; n += 1) {
      const record = this.store.records[this.shown[n] - this.store.base];
      if (record) lines.push(this._line(record, n));
    }
    this.spacer.replaceChildren(...lines);
  }

  _line(record, n) {
    const line = element("div", `bkg-line bkg-level-${record[LEVEL]}`);
    line.style.top = `${n * ROW}px`;
    line.dataset.n = n;
    if (record[LEVEL] === "gap") {
      line.textContent = `– ${record[MESSAGE]} –`;
      return line;
    }
    if (this.chosen === record) line.classList.add("bkg-chosen");
    line.append(
      element("span", "bkg-line-at", { textContent: clock(record[AT]) }),
      element("span", "bkg-line-level", { textContent: record[LEVEL] }),
    );
    if (!this.model.get("only")) {
      line.append(element("span", "bkg-line-plugin", { textContent: record[PLUGIN] }));
    }
    const source = record[SOURCE] === "log" ? "" : record[SOURCE];
    line.append(element("span", "bkg-line-source", { textContent: source }));
    line.append(this._message(record[MESSAGE]));
    return line;
  }

  _message(text) {
    const node = element("span", "bkg-line-message");
    const flat = text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
    if (!this.match.mark) {
      node.textContent = flat;
      return node;
    }
    let end = 0;
    for (const hit of flat.matchAll(this.match.mark)) {
      if (!hit[0]) break;
      node.append(flat.slice(end, hit.index), element("mark", "", { textContent: hit[0] }));
      end = hit.index + hit[0].length;
    }
    node.append(flat.slice(end));
    return node;
  }

  _choose(event) {
    const line = event.target.closest(".bkg-line");
    if (!line || String(window.getSelection())) return;
    const record = this.store.records[this.shown[Number(line.dataset.n)] - this.store.base];
    this.chosen = this.chosen === record || record[LEVEL] === "gap" ? null : record;
    this.detail.hidden = this.chosen === null;
    if (this.chosen) {
      const [seq, at, plugin, source, level, message] = this.chosen;
      const head = `${new Date(at).toISOString()}  ${level}  ${plugin}  ${source}  #${seq}`;
      this.detail.replaceChildren(
        element("div", "bkg-log-detail-head", { textContent: head }),
        element("pre", "", { textContent: message }),
      );
    }
    this._draw();
  }

  _scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 4;
    if (atEnd !== this.following && (atEnd || scrollTop < (this._lastTop ?? 0))) {
      this.following = atEnd;
      if (atEnd) this.news = 0;
      this._showFollowing();
    }
    this._lastTop = scrollTop;
    cancelAnimationFrame(this._scrollFrame);
    this._scrollFrame = requestAnimationFrame(() => this._draw());
  }

  _setFollowing(on) {
    this.following = on;
    if (on) this.news = 0;
    this._place();
  }

  _showFollowing() {
    this.follow.textContent = this.following ? "Pause" : "Resume";
    this.follow.classList.toggle("bkg-on", !this.following);
    this.follow.title = this.following
      ? "Stay here; scrolling up does the same"
      : "Follow the newest line; scrolling to the end does the same";
    this.jump.hidden = this.following || !this.news;
    this.jump.textContent = `${this.news.toLocaleString()} new lines ↓`;
    const all = this.store.records.length;
    const some = this.shown.length;
    this.count.textContent = some === all
      ? `${all.toLocaleString()} lines`
      : `${some.toLocaleString()} of ${all.toLocaleString()} lines`;
  }

  _download() {
    const { base, records } = this.store;
    const text = this.shown
      .map((n) => records[n - base])
      .filter((r) => r && r[SEQ] !== null)
      .map((r) => `${new Date(r[AT]).toISOString()} ${r[LEVEL]} ${r[PLUGIN]} ${r[MESSAGE]}`)
      .join("\n");
    const link = element("a", "", { download: "workbench.log" });
    link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

function listen(model, store) {
  let token = "";
  let timer = null;
  // The first message may wait behind a computing cell while a later one finds a way past it.
  const repeat = (wait) => {
    if (!token) return;
    model.send({ kind: "hello", after: store.last, token });
    timer = setTimeout(() => repeat(Math.min(wait * 2, 30000)), wait);
  };
  const hello = () => {
    clearTimeout(timer);
    token = `${Date.now()}-${Math.random()}`;
    repeat(1000);
  };
  const onMessage = (content, buffers) => {
    if (content.kind === "resync") {
      hello();
      return;
    }
    const records = JSON.parse(new TextDecoder().decode(buffers[0]));
    if (content.kind === "batch") store.batch(records, content.dropped);
    else if (content.kind === "backlog" && content.token === token) {
      token = "";
      clearTimeout(timer);
      store.backlog(records, content.after, content.dropped);
    }
  };
  model.on("msg:custom", onMessage);
  hello();
  return () => {
    clearTimeout(timer);
    model.off("msg:custom", onMessage);
  };
}

// Called once per model; initialize and render are given different proxies of it, so what they
// share is kept here.
export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = new Store(model.get("lines"));
      return listen(model, store);
    },
    render({ model, el }) {
      const view = new View(model, el, store);
      return () => view.close();
    },
  };
};

// One view of a log: what its controls do, its lines, the chosen ones, the keyboard.

const MOST_SHOWN = 2000; // characters of a message in the list; a click shows all
const NOTICE_MS = 8000;
const TYPING_MS = 120;

class LogView {
  constructor(model, el, store) {
    Object.assign(this, { model, store });
    this.news = 0;
    this.chosen = null; // {key, other}: the lines between them, both included
    this.unmarked = [];
    this.ui = logBar(model.get("only"), model.get("height"));
    el.append(this.ui.root);
    this.sift = new LogSift(store, () => this._sifted(), (sentence) => this._trouble(sentence));
    const { sift } = this;
    this.lines = new LogLines(this.ui.scroller, {
      row: (key) => this._row(key),
      moved: (wentUp) => this._moved(wentUp),
      get keys() {
        return sift.shown.keys;
      },
    });
    this._onStore = (what, detail) => this._changed(what, detail);
    store.listeners.add(this._onStore);
    this._onNames = () => this._fillPlugins();
    model.on("change:names", this._onNames);
    if (hasLink()) this._endFill = fillPage(this.ui.root, model.get("height"));
    this._listen();
    this._keys();
    this._restore();
    this._tick = setInterval(() => this._showTimes(), 1000);
  }

  close() {
    this.store.listeners.delete(this._onStore);
    this.model.off("change:names", this._onNames);
    this._endFill?.();
    this._file?.cancel();
    this.sift.close();
    this.lines.close();
    for (const timer of [this._tick, this._typing, this._noticing]) clearTimeout(timer);
    cancelAnimationFrame(this._frame);
  }

  // --- settings --------------------------------------------------------------------------------

  get settings() {
    const { ui } = this;
    const on = (node, value) => (isPressed(node) ? value : "");
    return {
      text: ui.text.value,
      regex: on(ui.regex, "1"),
      mode: on(ui.mode, "highlight"),
      level: ui.level.value === "debug" ? "" : ui.level.value,
      source: ui.source.value,
      plugin: this.model.get("only") ? "" : ui.plugins.value,
      wrap: on(ui.wrap, "1"),
      time: on(ui.time, "relative"),
    };
  }

  _restore() {
    const { ui } = this;
    const link = readLink();
    ui.text.value = link.text ?? "";
    press(ui.regex, link.regex);
    press(ui.mode, link.mode === "highlight");
    press(ui.wrap, link.wrap);
    press(ui.time, link.time === "relative");
    if (LEVELS.includes(link.level)) ui.level.value = link.level;
    if (SOURCES.includes(link.source)) ui.source.value = link.source;
    this._fillPlugins(link.plugin);
    this._look();
    this._refilter();
  }

  _fillPlugins(wanted) {
    const { plugins } = this.ui;
    const chosen = wanted ?? plugins.value;
    const names = new Set([...this.model.get("names"), ...this.store.plugins.keys()]);
    if (chosen) names.add(chosen);
    this.offered = this.store.plugins.size;
    const options = [...names].sort().map((name) => new Option(name, name));
    plugins.replaceChildren(new Option("all plug-ins", ""), ...options);
    plugins.value = chosen;
  }

  _refilter() {
    const { text, regex, mode, level, source, plugin } = this.settings;
    const settings = { plugin, source, level: level || "debug", highlight: mode === "highlight" };
    this.ui.text.classList.remove("bkg-invalid");
    if (this.problem) this._say("");
    this.problem = "";
    this.sift.set(settings, text, Boolean(regex));
    if (this.sift.filter.problem) this._trouble(this.sift.filter.problem);
    this.news = 0;
    this._stale = true;
    writeLink(this.settings);
  }

  _trouble(sentence) {
    this.problem = sentence;
    this.ui.text.classList.add("bkg-invalid");
    this._stale = true;
    this._showCount();
  }

  _look() {
    const { wrap, time } = this.settings;
    this.ui.root.classList.toggle("bkg-log-wrapped", Boolean(wrap));
    this.ui.root.classList.toggle("bkg-log-relative", Boolean(time));
    this.lines.wrap = Boolean(wrap);
    this.lines.redraw();
  }

  // --- what the controls do --------------------------------------------------------------------

  _listen() {
    const { ui } = this;
    for (const select of [ui.plugins, ui.source, ui.level]) {
      select.addEventListener("change", () => this._refilter());
    }
    ui.text.addEventListener("input", () => {
      clearTimeout(this._typing);
      this._typing = setTimeout(() => this._refilter(), TYPING_MS);
    });
    const switches = (node, act) => node.addEventListener("click", () => {
      press(node, !isPressed(node));
      act();
    });
    switches(ui.regex, () => this._refilter());
    switches(ui.mode, () => this._refilter());
    for (const node of [ui.wrap, ui.time]) {
      switches(node, () => {
        this._look();
        writeLink(this.settings);
      });
    }
    ui.copy.addEventListener("click", () => this._copy());
    ui.save.addEventListener("change", () => this._save());
    ui.cancel.addEventListener("click", () => {
      this._file?.cancel();
      this._file = null;
      this._say("The download was cancelled.");
    });
    ui.wipe.addEventListener("click", () => {
      this._choose(null);
      this.store.clear();
    });
    ui.follow.addEventListener("click", () => this._follow(!this.lines.following));
    ui.jump.addEventListener("click", () => this._follow(true));
    ui.older.addEventListener("click", () => this._askOlder());
    ui.scroller.addEventListener("click", (event) => this._clicked(event));
    ui.scroller.addEventListener("copy", (event) => this._copied(event));
    // A selection would be scrolled away by the lines that come.
    ui.scroller.addEventListener("selectstart", () => this.lines.following && this._follow(false));
  }

  _follow(on) {
    if (on) this.news = 0;
    this.lines.follow(on);
  }

  _say(sentence, busy = false) {
    this.ui.notice.textContent = sentence;
    this.ui.cancel.hidden = !busy;
    clearTimeout(this._noticing);
    if (!busy) this._noticing = setTimeout(() => this._say(this.problem, true), NOTICE_MS);
    if (!this._file) this.ui.cancel.hidden = true;
  }

  async _copy() {
    const { keys } = this.sift.shown;
    const chosen = this.chosen && this.chosen.key !== this.chosen.other ? this._between() : keys;
    const records = chosen.map((key) => this.store.at(key)).filter((r) => r && r[SEQ] !== null);
    const done = await copyText(records.map((r) => `${asText(r)}\n`).join(""));
    this._say(done ? `${count(records.length, "line")} copied.` : "The browser did not allow to copy.");
  }

  _save() {
    const form = this.ui.save.value;
    this.ui.save.value = "";
    if (!form || this._file) return;
    const { text, regex, mode, level, source, plugin } = this.settings;
    const filter = new LogFilter(() => {});
    if (mode !== "highlight" && !this.problem) filter.set(text, Boolean(regex));
    // What the Host can tell apart as this page does, it need not send.
    const isPlain = filter.active && !regex && /^[\x20-\x7e]*$/.test(text);
    const filters = { level, source, plugin, ...(isPlain ? { text } : {}) };
    this._file = new LogFile(this.model, form, filters, filter, (news) => {
      if (news.done || news.error) {
        filter.close();
        this._file = null;
        this._say(news.error ?? `${count(news.matched, "line")} downloaded.`);
      } else {
        this._say(`Downloading: ${count(news.matched, "line")}, ${Math.floor(news.share * 100)} %`, true);
      }
    });
    if (this._file) this._say("Downloading", true);
  }

  _askOlder() {
    if (this._asking || !this.store.askOlder()) return;
    this._asking = true;
    this._moved();
  }

  // --- what comes ------------------------------------------------------------------------------

  _changed(what, detail) {
    if (what === "notice") {
      this._asking = false;
      this._say(detail);
      return;
    }
    if (this.store.plugins.size !== this.offered) this._fillPlugins();
    this._asking = false;
    if (what === "all") {
      this._stale = true;
      this.sift.restart();
    } else {
      this.sift.go();
    }
  }

  _sifted() {
    const { keys } = this.sift.shown;
    const last = keys[keys.length - 1] ?? this.store.base - 1;
    if (!this.lines.following && this._last !== undefined && !this._stale) {
      this.news += keys.length - this.lines.find(this._last + 1);
    }
    this._last = last;
    this._place();
  }

  _place() {
    cancelAnimationFrame(this._frame);
    this._frame = requestAnimationFrame(() => {
      if (this._stale) this.lines.redraw();
      else this.lines.draw();
      this._stale = false;
    });
  }

  // The lines were drawn or scrolled.
  _moved(wentUp = false) {
    const { ui, lines, store } = this;
    const { following } = lines;
    if (following) this.news = 0;
    ui.follow.textContent = following ? "Pause" : "Resume";
    ui.follow.classList.toggle("bkg-on", !following);
    ui.follow.title = following
      ? "Stay here; scrolling up does the same"
      : "Follow the newest line (End); scrolling to the end does the same";
    ui.jump.hidden = following || !this.news;
    ui.jump.textContent = `${count(this.news, "new line")} ↓`;
    const hasMore = store.known && !store.whole && store.first !== null;
    ui.older.hidden = !hasMore || !lines.atTop;
    const back = store.records.find((record) => record[SEQ] !== null)?.[AT];
    ui.older.textContent = this._asking ? "Loading older lines" : `↑ Lines before ${clock(back)}`;
    ui.empty.hidden = lines.total > 0 || !store.known;
    ui.empty.textContent = store.records.length
      ? "No line passes the filters."
      : "No lines yet. They appear here as the plug-ins write them.";
    if (wentUp && hasMore && lines.atTop) this._askOlder();
    this._mark();
    this._showCount();
  }

  _showCount() {
    const { received, shown, dropped } = this.store;
    const n = (number) => number.toLocaleString();
    const verb = this.sift.settings.highlight && this.sift.filter.active ? "match" : "pass";
    const words = this.sift.passed === 1 ? `${verb}es` : verb;
    const { text, level, source, plugin } = this.settings;
    const filtered = text || level || source || plugin;
    this.ui.count.textContent =
      `${n(received)} received = ${n(shown)} shown + ${n(dropped)} dropped` +
      (filtered ? ` · ${n(this.sift.passed)} ${words} the filter` : "");
    this.ui.count.title =
      "Shown: given to this page. Dropped: not given to it, because more came than it could take; " +
      "the log itself has them, and a download too.";
    Object.assign(this.ui.count.dataset, { received, shown, dropped, passed: this.sift.passed });
    if (this.problem && !this._file) this.ui.notice.textContent = this.problem;
    this.ui.notice.classList.toggle("bkg-bad", Boolean(this.problem));
  }

  // --- lines -----------------------------------------------------------------------------------

  _row(key) {
    const record = this.store.at(key);
    const line = element("div", `bkg-line bkg-level-${record[LEVEL]}`);
    line.dataset.key = key;
    if (record[SEQ] === null) {
      line.textContent = `– ${record[MESSAGE]} –`;
      return line;
    }
    if (this._isChosen(key)) line.classList.add("bkg-chosen");
    const cell = (name, textContent, title = "") =>
      line.append(element("span", `bkg-line-${name}`, { textContent, title }));
    const relative = isPressed(this.ui.time);
    cell("at", relative ? ago(record[AT]) : clock(record[AT]), isoTime(record[AT]));
    cell("level", record[LEVEL]);
    if (!this.model.get("only")) cell("plugin", record[PLUGIN], record[PLUGIN]);
    cell("source", record[SOURCE] === "log" ? "" : record[SOURCE]);
    const text = record[MESSAGE];
    const flat = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
    cell("message", flat);
    if (this.sift.filter.active) this.unmarked.push([line.lastChild, flat]);
    return line;
  }

  // Marks what matches in the lines that were drawn since.
  async _mark() {
    const some = this.unmarked;
    this.unmarked = [];
    if (!some.length || !this.sift.filter.active) return;
    const marks = await this.sift.filter.marks(some.map(([, text]) => text));
    some.forEach(([node, text], n) => {
      if (!marks?.[n]?.length || !node.isConnected) return;
      let end = 0;
      node.textContent = "";
      for (const [from, to] of marks[n]) {
        node.append(text.slice(end, from), element("mark", "", { textContent: text.slice(from, to) }));
        end = to;
      }
      node.append(text.slice(end));
    });
  }

  _showTimes() {
    if (!isPressed(this.ui.time)) return;
    for (const [key, line] of this.lines.drawn) {
      const record = this.store.at(key);
      if (record && record[SEQ] !== null) line.firstChild.textContent = ago(record[AT]);
    }
  }
}

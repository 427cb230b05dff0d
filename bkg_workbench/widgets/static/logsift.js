// Which records of a store a view shows: levels, sources, plug-ins, and the text or expression.
//
// Works in slices, so that a page with 100,000 lines answers meanwhile, and shows a new filter's
// result as a whole: until then the former one stays.

const SLICE = 2000;
const BUDGET_MS = 8;

const nothing = () => ({ keys: [], hits: [], gaps: 0 });

class LogSift {
  // `changed` is called when there is something new to show, `trouble` with a sentence.
  constructor(store, changed, trouble) {
    Object.assign(this, { store, changed });
    this.shown = nothing(); // keys: absolute numbers of what is shown; hits: of what matches
    this.settings = { plugin: "", source: "", level: "debug", highlight: false };
    this.filter = new LogFilter((sentence) => {
      trouble(sentence);
      this.restart();
    });
    this._work = this.shown;
    this._turn = 0;
    this.seen = store.base;
  }

  set(settings, text, regex) {
    this.settings = settings;
    this.filter.set(text, regex);
    this.restart();
  }

  close() {
    this._closed = true;
    this.filter.close();
  }

  get passed() {
    const { keys, hits, gaps } = this.shown;
    return this.filter.active ? hits.length : keys.length - gaps;
  }

  restart() {
    this._turn += 1;
    this._work = nothing();
    this.seen = this.store.base;
    this.go();
  }

  // Looks at what is new in the store.
  async go() {
    this._forget();
    if (this._going || this._closed) return;
    this._going = true;
    let began = performance.now();
    while (this.seen < this.store.end && !this._closed) {
      const turn = this._turn;
      const from = Math.max(this.seen, this.store.base);
      const to = Math.min(this.store.end, from + SLICE);
      const fits = this._fits(from, to);
      const found = fits instanceof Promise ? await fits : fits;
      if (turn !== this._turn || !found) continue;
      this._take(found);
      this.seen = to;
      if (performance.now() - began > BUDGET_MS && this.seen < this.store.end) {
        await pause();
        began = performance.now();
      }
    }
    this._going = false;
    this.shown = this._work;
    this._forget();
    if (!this._closed) this.changed();
  }

  // [number, does the text match, is it a gap] of those from..to that pass the other filters.
  _fits(from, to) {
    const some = [];
    for (let n = from; n < to; n += 1) if (this._passes(this.store.at(n))) some.push(n);
    const gap = (n) => this.store.at(n)?.[SEQ] === null;
    if (!this.filter.active) return some.map((n) => [n, false, gap(n)]);
    const texts = some.map((n) => this.store.at(n)[MESSAGE]);
    const join = (fits) => fits && some.map((n, i) => [n, fits[i], gap(n)]);
    const fits = this.filter.test(texts);
    return fits instanceof Promise ? fits.then(join) : join(fits);
  }

  _passes(record) {
    const { plugin, source, level } = this.settings;
    if (record[SEQ] === null) return true;
    if (plugin && record[PLUGIN] !== plugin) return false;
    if (source && record[SOURCE] !== source) return false;
    return LEVELS.indexOf(record[LEVEL]) >= LEVELS.indexOf(level);
  }

  _take(found) {
    const { keys, hits } = this._work;
    const hides = this.filter.active && !this.settings.highlight;
    for (const [n, fits, isGap] of found) {
      if (n < this.store.base) continue;
      if (fits && !isGap) hits.push(n);
      if (isGap) this._work.gaps += 1;
      if (fits || isGap || !hides) keys.push(n);
    }
  }

  // What the store trimmed is no longer shown.
  _forget() {
    const { base } = this.store;
    for (const kept of new Set([this.shown, this._work])) {
      const gone = kept.keys.findIndex((n) => n >= base);
      const count = gone < 0 ? kept.keys.length : gone;
      if (count) kept.keys.splice(0, count);
      const old = kept.hits.findIndex((n) => n >= base);
      const lost = old < 0 ? kept.hits.length : old;
      if (lost) kept.hits.splice(0, lost);
      if (count) kept.gaps = kept.keys.reduce((sum, n) => sum + (this.store.at(n)?.[SEQ] === null), 0);
    }
  }
}

// What a page keeps of a log: bounded records, and the account of every line.
//
// Records are arrays of [seq, at, plugin, source, level, message]; a gap is a record whose seq is
// null. A record's absolute number (`base` + its index) stays the same when others are trimmed.
//
// The account: `received` are the lines that were said since the page's first one, as the kernel
// tells (`said`); `shown` those that the page was given; `dropped` the others. Each line counts
// once, however often it comes. See widgets/tally.py for {plugin: [seq, lines, first]}.

const SEQ = 0, AT = 1, PLUGIN = 2, SOURCE = 3, LEVEL = 4, MESSAGE = 5;
const LEVELS = ["debug", "info", "warn", "error"];
const SOURCES = ["stdout", "stderr", "log", "host"];
const ANSI = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

class LogStore {
  constructor(limit) {
    this.limit = limit;
    this.records = [];
    this.base = 0;
    this.plugins = new Map(); // name -> {last, shown, received, base, early}
    this.received = 0;
    this.shown = 0;
    this.gapped = 0; // dropped lines that a gap in the list tells of
    this.whole = false; // nothing older is left on the Host
    this.known = false; // a first backlog came
    this.listeners = new Set();
    this._hello = null; // where the store was when it last said hello
  }

  get dropped() {
    return this.received - this.shown;
  }

  get end() {
    return this.base + this.records.length;
  }

  at(number) {
    return this.records[number - this.base];
  }

  // The number of the oldest line at hand, or null.
  get first() {
    const found = this.records.find((record) => record[SEQ] !== null);
    return found ? found[SEQ] : null;
  }

  // What a hello says, and from where on the answer takes the place of what comes meanwhile.
  hello() {
    const after = {};
    for (const [name, one] of this.plugins) if (one.last) after[name] = one.last;
    const numbers = Object.values(after);
    this._hello = {
      end: this.end,
      gapped: this.gapped,
      lasts: new Map([...this.plugins].map(([name, one]) => [name, one.last])),
    };
    return { after, floor: numbers.length ? Math.min(...numbers) : 0 };
  }

  backlog(records, said, whole) {
    const live = this._takeBack();
    if (!this.known) {
      this.whole = whole;
      this._begin(records, said);
    } else {
      this._hear(said);
      this._hearAhead(records, said);
    }
    this.known = true;
    this._append(records);
    this._append(live);
    this._trim();
    this.tell("all");
  }

  batch(records, said) {
    if (!this.known) return; // the backlog will have them
    this._hear(said);
    this._append(records);
    this._trim();
    this.tell("more");
  }

  // Records from before the first one.
  older(records, whole) {
    this.whole = whole;
    const first = this.first ?? Infinity;
    const found = records.filter((record) => record[SEQ] < first);
    for (const record of found) {
      this._clean(record);
      const one = this._plugin(record[PLUGIN]);
      one.shown += 1;
      one.received += 1;
      if (one.base === null) one.early.push(record[SEQ]);
      else one.base -= 1;
      one.last = Math.max(one.last, record[SEQ]);
    }
    this.shown += found.length;
    this.received += found.length;
    this.records = found.concat(this.records);
    this.base -= found.length;
    this.tell("all");
  }

  clear() {
    this.base += this.records.length;
    this.records = [];
    this.whole = true; // what was wiped is not loaded again by scrolling
    this.tell("all");
  }

  // --- the account -----------------------------------------------------------------------------

  _plugin(name) {
    let one = this.plugins.get(name);
    if (!one) {
      // The kernel counts from a plug-in's first batch on, and this page was there before.
      one = { last: 0, shown: 0, received: 0, base: 0, early: [] };
      this.plugins.set(name, one);
    }
    return one;
  }

  // The first backlog: `base` is what had been said before the page's first line.
  _begin(records, said) {
    for (const name of Object.keys(said)) this._plugin(name).base = said[name][1];
    for (const record of records) {
      const one = this._plugin(record[PLUGIN]);
      if (!(record[PLUGIN] in said)) {
        one.base = null; // not known before the kernel's first batch of it
        one.early.push(record[SEQ]);
      } else if (record[SEQ] <= said[record[PLUGIN]][0]) {
        one.base -= 1;
      }
      this._count(one, one.received + 1);
    }
  }

  _hear(said) {
    for (const [name, [, lines, first]] of Object.entries(said)) {
      const one = this._plugin(name);
      if (one.base === null) {
        one.base = -one.early.filter((seq) => seq < first).length;
        one.early = [];
      }
      this._count(one, lines - one.base);
    }
  }

  // Records that the kernel has not counted yet, because they came by asking.
  _hearAhead(records, said) {
    const ahead = new Map();
    for (const record of records) {
      const name = record[PLUGIN];
      if (record[SEQ] <= Math.max(said[name]?.[0] ?? 0, said[name] ? 0 : this._plugin(name).last)) continue;
      ahead.set(name, (ahead.get(name) ?? 0) + 1);
      if (this._plugin(name).base === null) this._plugin(name).early.push(record[SEQ]);
    }
    for (const [name, count] of ahead) {
      const one = this._plugin(name);
      this._count(one, said[name] ? said[name][1] - one.base + count : one.received + count);
    }
  }

  _count(one, received) {
    if (received <= one.received) return;
    this.received += received - one.received;
    one.received = received;
  }

  // --- the records -----------------------------------------------------------------------------

  _append(records) {
    const fresh = [];
    for (const record of records) {
      const one = this._plugin(record[PLUGIN]);
      if (record[SEQ] <= one.last) continue;
      one.last = record[SEQ];
      one.shown += 1;
      this.shown += 1;
      this._count(one, one.shown); // never more shown than received
      this._clean(record);
      fresh.push(record);
    }
    const missing = this.dropped - this.gapped;
    if (missing > 0) {
      this.gapped += missing;
      const lines = missing === 1 ? "1 line is" : `${missing.toLocaleString()} lines are`;
      this.records.push([null, null, "", "", "gap", `${lines} not shown here`]);
    }
    for (const record of fresh) this.records.push(record);
  }

  // Removes what came since the last hello, and gives it back.
  _takeBack() {
    const hello = this._hello;
    this._hello = null;
    if (!hello || !this.known) return [];
    const live = this.records.splice(Math.max(0, hello.end - this.base));
    const lines = live.filter((record) => record[SEQ] !== null);
    for (const record of lines) this.plugins.get(record[PLUGIN]).shown -= 1;
    this.shown -= lines.length;
    this.gapped = hello.gapped;
    for (const [name, one] of this.plugins) one.last = hello.lasts.get(name) ?? 0;
    return lines;
  }

  _clean(record) {
    const text = String(record[MESSAGE] ?? "");
    record[MESSAGE] = text.includes("\u001b") ? text.replace(ANSI, "") : text;
  }

  _trim() {
    const over = this.records.length - this.limit;
    if (over <= this.limit / 20) return; // in large steps: a shift of 100,000 is not free
    this.records.splice(0, over);
    this.base += over;
    this.whole = true; // as many as the page keeps; what is older is for a download
  }

  tell(what, detail) {
    for (const listener of this.listeners) listener(what, detail);
  }
}

// Which lines match a text or a regular expression, without ever holding up the page.
//
// A text is looked for here. A regular expression can take for ever on a single line, so it runs in
// a worker, which is ended when it does not answer in time; without workers it is refused.

const WATCH_MS = 2000;
const MOST_MARKS = 20; // in one line

const WORKER = `
let test = null, mark = null;
const ranges = (text) => {
  const found = [];
  for (const hit of text.matchAll(mark)) {
    if (hit[0]) found.push([hit.index, hit.index + hit[0].length]);
    if (found.length >= ${MOST_MARKS}) break;
  }
  return found;
};
onmessage = ({ data: { id, source, verb, texts } }) => {
  if (verb === "begin") {
    test = new RegExp(source, "i");
    mark = new RegExp(source, "gi");
    return;
  }
  const result = verb === "marks" ? texts.map(ranges) : texts.map((text) => test.test(text));
  postMessage({ id, result });
};
`;

class LogFilter {
  constructor(onTrouble) {
    this.onTrouble = onTrouble; // gets a sentence when an expression runs away
    this.text = "";
    this.regex = false;
    this.problem = "";
    this._low = "";
    this._worker = null;
    this._asked = new Map(); // id -> {resolve, timer}
    this._ids = 0;
  }

  get active() {
    return Boolean(this.text) && !this.problem;
  }

  set(text, regex) {
    this.close();
    Object.assign(this, { text, regex, problem: "", _low: text.toLowerCase() });
    if (!text || !regex) return;
    try {
      RegExp(text, "i");
    } catch (error) {
      const why = String(error.message).replace(/^Invalid regular expression: (\/.*\/\w*: )?/, "");
      this.problem = `Not a regular expression: ${why}`;
    }
  }

  // For each text whether it matches: an array at once, or a promise of one. Null where the filter
  // was changed or given up meanwhile.
  test(texts) {
    if (this.regex) return this._ask("test", texts);
    return texts.map((text) => text.toLowerCase().includes(this._low));
  }

  // For each text the [start, end] of what matches in it.
  marks(texts) {
    if (this.regex) return this._ask("marks", texts);
    return texts.map((text) => this._places(text.toLowerCase()));
  }

  _places(low) {
    const found = [];
    let at = low.indexOf(this._low);
    while (at >= 0 && found.length < MOST_MARKS) {
      found.push([at, at + this._low.length]);
      at = low.indexOf(this._low, at + this._low.length);
    }
    return found;
  }

  _ask(verb, texts) {
    if (!this._worker && !this._begin()) return null;
    this._ids += 1;
    const id = this._ids;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // An answer may lie behind this timer where the page itself was busy.
        setTimeout(() => this._asked.has(id) && this._giveUp(), 100);
      }, WATCH_MS);
      this._asked.set(id, { resolve, timer });
      this._worker.postMessage({ id, verb, texts });
    });
  }

  _begin() {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    try {
      this._worker = new Worker(url);
    } catch (error) {
      this._stop("This page may not run regular expressions apart from itself; use a plain text.");
      return false;
    } finally {
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    }
    this._worker.onmessage = ({ data: { id, result } }) => {
      const asked = this._asked.get(id);
      if (!asked) return;
      this._asked.delete(id);
      clearTimeout(asked.timer);
      asked.resolve(result);
    };
    this._worker.onerror = () => this._giveUp();
    this._worker.postMessage({ verb: "begin", source: this.text });
    return true;
  }

  _giveUp() {
    this._stop("This expression takes too long and was stopped; all lines are shown.");
  }

  _stop(sentence) {
    this.close();
    this.problem = sentence;
    this.onTrouble(sentence);
  }

  close() {
    this._worker?.terminate();
    this._worker = null;
    for (const { resolve, timer } of this._asked.values()) {
      clearTimeout(timer);
      resolve(null);
    }
    this._asked.clear();
  }
}

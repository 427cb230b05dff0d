// The whole log as a file: every record on the Host that matches, not only what the page keeps.
//
// Owns the chain of questions: the page asks for a piece, filters it, and asks for the next. So a
// download that is cancelled, or whose page is gone, simply ends.

const MOST_BEHIND = 20; // answers in a row without a record, while the Host indexes a flood

class LogFile {
  // `tell` gets {received, matched, share} and at the end {done} or {error}.
  constructor(model, form, filters, filter, tell) {
    Object.assign(this, { model, form, filters, filter, tell });
    this.token = `f${Date.now()}-${Math.random()}`;
    this.parts = [];
    this.received = 0;
    this.matched = 0;
    this.behind = 0;
    this._onMessage = (content, buffers) => this._hear(content, buffers);
    model.on("msg:custom", this._onMessage);
    this._ask(0);
  }

  cancel() {
    this.model.off("msg:custom", this._onMessage);
    this.token = "";
    this.parts = [];
  }

  _ask(after, until, first) {
    const { token, filters } = this;
    this.model.send({ kind: "piece", token, after, until, first, filters });
  }

  async _hear(content, buffers) {
    if (content.kind !== "piece" || content.token !== this.token) return;
    if (content.error) {
      this._fail(content.error);
      return;
    }
    const records = JSON.parse(new TextDecoder().decode(buffers[0]));
    this.received += records.length;
    const found = await this._matching(records);
    if (!this.token) return;
    if (!found) {
      this._fail(this.filter.problem || "The filter was changed; the download was ended.");
      return;
    }
    this.matched += found.length;
    if (found.length) this.parts.push(found.map((record) => `${this._line(record)}\n`).join(""));
    this.behind = content.behind && !records.length ? this.behind + 1 : 0;
    const { next, until, first } = content;
    if (content.done || this.behind > MOST_BEHIND) this._finish();
    else {
      const share = until > first ? (next - first) / (until - first) : 1;
      this.tell({ received: this.received, matched: this.matched, share: Math.max(0, share) });
      this._ask(next, until, first);
    }
  }

  // Those that match in the page's own terms: a regular expression is JavaScript's here, too.
  async _matching(records) {
    if (!this.filter.active) return this.filter.problem ? null : records;
    const fits = await this.filter.test(records.map((r) => String(r.message).replace(ANSI, "")));
    return fits && records.filter((_, n) => fits[n]);
  }

  _line(r) {
    if (this.form === "jsonl") return JSON.stringify(r);
    return asText([r.seq, r.at, r.plugin, r.source, r.level, String(r.message).replace(ANSI, "")]);
  }

  _finish() {
    const link = element("a", "", { download: this._name() });
    link.href = URL.createObjectURL(new Blob(this.parts, { type: "text/plain" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    const { received, matched } = this;
    this.cancel();
    this.tell({ received, matched, done: true });
  }

  _name() {
    const t = new Date();
    const day = `${t.getFullYear()}${two(t.getMonth() + 1)}${two(t.getDate())}`;
    const time = `${two(t.getHours())}${two(t.getMinutes())}${two(t.getSeconds())}`;
    return `${this.model.get("only") || this.filters.plugin || "workbench"}-${day}-${time}.${this.form}`;
  }

  _fail(sentence) {
    this.cancel();
    this.tell({ error: sentence });
  }
}

// Lines that are chosen, by mouse or keyboard: their details, copying them, going from one to the
// next. A part of LogView, in a file of its own.

Object.assign(LogView.prototype, {
  _isChosen(key) {
    if (!this.chosen) return false;
    const { key: one, other } = this.chosen;
    return key >= Math.min(one, other) && key <= Math.max(one, other);
  },

  // The numbers of the chosen lines, as far as they are shown.
  _between() {
    const { key, other } = this.chosen;
    const { keys } = this.sift.shown;
    const from = this.lines.find(Math.min(key, other));
    return keys.slice(from, this.lines.find(Math.max(key, other) + 1));
  },

  _clicked(event) {
    const line = event.target.closest(".bkg-line");
    const key = Number(line?.dataset.key);
    const record = line && this.store.at(key);
    if (!record || record[SEQ] === null) return;
    if (event.shiftKey && this.chosen) {
      window.getSelection().removeAllRanges();
      this._choose(this.chosen.key, key);
    } else if (!window.getSelection().isCollapsed) {
      return; // a text was selected, not a line
    } else {
      const isSame = this.chosen?.key === key && this.chosen.other === key;
      this._choose(isSame ? null : key);
    }
  },

  _choose(key, other = key) {
    this.chosen = key === null ? null : { key, other };
    for (const [one, line] of this.lines.drawn) line.classList.toggle("bkg-chosen", this._isChosen(one));
    this._showDetail();
  },

  _showDetail() {
    const { detail } = this.ui;
    const record = this.chosen && this.store.at(this.chosen.other);
    detail.hidden = !record;
    if (record) {
      const [seq, at, plugin, source, level, message] = record;
      const button = (text, act) => {
        const node = element("button", "bkg-log-button", { type: "button", textContent: text });
        node.addEventListener("click", act);
        return node;
      };
      const head = element("div", "bkg-log-detail-head", {},
        element("span", `bkg-line-level bkg-level-${level}`, { textContent: level }),
        element("span", "", { textContent: `${isoTime(at)}  ${plugin}  ${source}  #${seq}` }),
        button("Copy line", async () => {
          const done = await copyText(`${asText(record)}\n`);
          this._say(done ? "The line was copied." : "The browser did not allow to copy.");
        }),
        button("Close", () => this._choose(null)));
      detail.replaceChildren(head, element("pre", "", { textContent: message }));
    }
    this.lines.draw();
  },

  // Ctrl+C: whole lines where several are selected, or chosen.
  _copied(event) {
    const selection = window.getSelection();
    let keys = [];
    if (!selection.isCollapsed) {
      const rowOf = (node) => (node.closest ? node : node.parentElement)?.closest(".bkg-line");
      const ends = [selection.anchorNode, selection.focusNode].map(rowOf);
      if (!ends[0] || !ends[1]) return;
      const [a, b] = ends.map((line) => Number(line.dataset.key));
      if (a === b) {
        event.clipboardData.setData("text/plain", String(selection).replace(/\n+/g, " "));
        event.preventDefault();
        return;
      }
      keys = this.sift.shown.keys.slice(
        this.lines.find(Math.min(a, b)), this.lines.find(Math.max(a, b) + 1));
    } else if (this.chosen) {
      keys = this._between();
    }
    const records = keys.map((key) => this.store.at(key)).filter((r) => r && r[SEQ] !== null);
    if (!records.length) return;
    event.clipboardData.setData("text/plain", records.map((r) => `${asText(r)}\n`).join(""));
    event.preventDefault();
    this._say(`${count(records.length, "line")} copied.`);
  },

  // --- keyboard --------------------------------------------------------------------------------

  _keys() {
    const { ui } = this;
    ui.root.addEventListener("keydown", (event) => {
      const isTyping = event.target.closest("input, select");
      if (event.target === ui.text) this._typed(event);
      else if (!isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) this._pressed(event);
      // Shortcuts of the notebook must not take what is typed here.
      if (isTyping || event.defaultPrevented) event.stopPropagation();
    });
  },

  _typed(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      if (this.ui.text.value) {
        this.ui.text.value = "";
        this._refilter();
      } else {
        this.ui.scroller.focus();
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      this._toHit(event.shiftKey ? 1 : -1);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.ui.scroller.focus();
    }
  },

  _pressed(event) {
    const act = {
      "/": () => this.ui.text.focus(),
      End: () => this._follow(true),
      Home: () => this.lines.go(0),
      ArrowDown: () => this._step(1, event.shiftKey),
      ArrowUp: () => this._step(-1, event.shiftKey),
      Escape: () => this._choose(null),
    }[event.key];
    if (!act) return;
    if (event.key.startsWith("Arrow") && event.target !== this.ui.scroller) return;
    event.preventDefault();
    act();
  },

  // Chooses the next line; the first time, the last one in sight.
  _step(by, extends_) {
    const { keys } = this.sift.shown;
    if (!keys.length) return;
    let n = this.chosen ? this.lines.find(this.chosen.other) + by : this._lastInSight();
    while (this.store.at(keys[n])?.[SEQ] === null) n += by;
    if (n < 0 || n >= keys.length) return;
    this.lines.following = false;
    this._choose(extends_ && this.chosen ? this.chosen.key : keys[n], keys[n]);
    this.lines.reveal(n);
  },

  _lastInSight() {
    const { lines } = this;
    const edge = this.ui.scroller.scrollTop + this.ui.scroller.clientHeight - lines.top;
    const rows = [...lines.layer.children];
    const inSight = rows.findLastIndex((row) => row.offsetTop + row.offsetHeight <= edge + 1);
    return lines.first + Math.max(0, inSight);
  },

  // Goes to the next line that matches: -1 to an older one, 1 to a newer one.
  _toHit(by) {
    const { hits } = this.sift.shown;
    if (!hits.length) return;
    const from = this.chosen ? this.chosen.other : Infinity;
    const after = hits.findIndex((key) => key >= from);
    let n = by < 0 ? (after < 0 ? hits.length : after) - 1 : hits.findIndex((key) => key > from);
    if (n < 0) n = by < 0 ? hits.length - 1 : 0; // round again
    this.lines.following = false;
    this._choose(hits[n]);
    this.lines.reveal(this.lines.find(hits[n]));
  },
});

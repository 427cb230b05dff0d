// A virtual list: of any number of lines only those in sight, and a few around them, are in the DOM.
//
// Lines lie in normal flow inside a layer that is put where the scroll bar is, so their heights are
// the browser's own and may differ (wrap). What stays in place is the anchor: the line at the upper
// edge, by its key, and how many pixels of it are above the edge. The scroll bar only has to point
// about there; its length is bounded, since browsers draw no element of more than some 16 million
// pixels.

const ROW = 20; // pixels of a line that is not wrapped; logs.css has the same number
const SPARE = 12; // lines drawn beyond each edge
const MOST_PIXELS = 8_000_000;
const SETTLE_MS = 200;

class LogLines {
  // `source` has keys (ascending numbers, one a line), row(key) (a new element) and moved().
  constructor(scroller, source) {
    this.scroller = scroller;
    this.source = source;
    this.wrap = false;
    this.following = true;
    this.anchor = { key: 0, px: 0 };
    this.first = 0; // index of the first drawn line
    this.drawn = new Map(); // key -> element
    this.average = ROW;
    this.top = 0; // of the layer, in the scroller
    this.spacer = element("div", "bkg-log-spacer");
    this.layer = element("div", "bkg-log-layer");
    this.spacer.append(this.layer);
    scroller.append(this.spacer);
    this._y = 0;
    this._room = 0;
    this._onScroll = () => this._scrolled();
    scroller.addEventListener("scroll", this._onScroll, { passive: true });
    this._resizes = new ResizeObserver(() => this.draw());
    this._resizes.observe(scroller);
  }

  close() {
    this._resizes.disconnect();
    this.scroller.removeEventListener("scroll", this._onScroll);
    clearTimeout(this._settling);
  }

  get total() {
    return this.source.keys.length;
  }

  // Index of the first line whose key is not below `key`.
  find(key) {
    const keys = this.source.keys;
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (keys[middle] < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Draws every line anew, since what they look like has changed.
  redraw() {
    this.layer.replaceChildren();
    this.drawn.clear();
    this.draw();
  }

  draw() {
    this._room = this.scroller.clientHeight;
    if (!this._room) return; // not on the page, or folded away
    const total = this.total;
    if (!total) {
      this.layer.replaceChildren();
      this.drawn.clear();
      this._place(0, 0, 0);
    } else if (this.following) {
      this._fill(total - Math.ceil(this._room / ROW) - SPARE, total);
      this._learn(this.layer.offsetHeight);
      this._placeEnd();
      this._remember();
    } else {
      this._drawAt(Math.min(this.find(this.anchor.key), total - 1), this.anchor.px, null);
    }
    this.source.moved();
  }

  // Goes to the line with index `n`, `px` of it above the edge.
  go(n, px = 0) {
    this.following = false;
    const index = Math.max(0, Math.min(n, this.total - 1));
    this.anchor = { key: this.source.keys[index] ?? 0, px };
    this.draw();
  }

  // Moves as little as is needed to have the line with index `n` in sight.
  reveal(n) {
    const row = this.drawn.get(this.source.keys[n]);
    if (!row) {
      this.go(n, -Math.floor(this._room / 2));
      return;
    }
    const top = this.top + row.offsetTop;
    const bottom = top + row.offsetHeight;
    const y = this.scroller.scrollTop;
    if (top < y) this.go(n, 0);
    else if (bottom > y + this._room) this.go(n, Math.min(0, row.offsetHeight - this._room));
  }

  follow(on) {
    this.following = on;
    this.draw();
  }

  get atTop() {
    return this.total === 0 || (this.first === 0 && this.scroller.scrollTop < ROW);
  }

  // --- drawing ---------------------------------------------------------------------------------

  _pixels() {
    return Math.min(this.total * (this.wrap ? this.average : ROW), MOST_PIXELS);
  }

  _learn(height) {
    if (!this.wrap || !this.drawn.size) return;
    this._learned = Math.min((this._learned ?? 0) + 1, 100);
    this.average += (height / this.drawn.size - this.average) / this._learned;
  }

  // Has the lines from..to in the layer. One that is there already stays, and a selection in it.
  _fill(from, to) {
    const { keys } = this.source;
    this.first = Math.max(0, from);
    this.last = Math.min(this.total, to);
    const old = this.drawn;
    this.drawn = new Map();
    for (let n = this.first; n < this.last; n += 1) this.drawn.set(keys[n], old.get(keys[n]));
    for (const [key, row] of old) if (!this.drawn.has(key)) row.remove();
    let next = this.layer.firstChild;
    for (const [key, kept] of this.drawn) {
      if (kept) {
        next = kept.nextSibling;
      } else {
        const row = this.source.row(key);
        this.drawn.set(key, row);
        this.layer.insertBefore(row, next);
      }
    }
  }

  // Puts line `n` so that `px` of it are above the edge; with `y` where the scroll bar is already.
  _drawAt(n, px, y) {
    const rows = Math.ceil((this._room + Math.abs(px)) / ROW);
    this._fill(n - SPARE - (px < 0 ? rows : 0), n + rows + SPARE);
    if (this.last === this.total && this._isShort(n, px)) {
      // Less than a screen is left below: the end stays at the lower edge.
      this._fill(this.total - rows - SPARE, this.total);
      this._placeEnd();
      this._remember();
      return;
    }
    const above = this.drawn.get(this.source.keys[n]).offsetTop + px;
    const height = this.layer.offsetHeight;
    this._learn(height);
    const pixels = this._pixels();
    let at = y ?? ((n + px / this.average) / this.total) * pixels;
    if (!this.wrap && y === null) at = ((n * ROW + px) / (this.total * ROW)) * pixels;
    if (this.first === 0) at = above;
    else at = Math.max(at, above + (this.wrap ? this._room : 0)); // more lines are above
    const top = at - above;
    const bottom = top + height;
    const isEnd = this.last === this.total;
    this._place(top, isEnd ? bottom : Math.max(pixels, bottom + this._room), at);
    this._remember();
  }

  _isShort(n, px) {
    const above = this.drawn.get(this.source.keys[n]).offsetTop + px;
    return this.layer.offsetHeight - above < this._room;
  }

  // The last line at the lower edge, or all lines from the upper one.
  _placeEnd() {
    const height = this.layer.offsetHeight;
    const all = this.first === 0 ? height : Math.max(this._pixels(), height);
    this._place(all - height, all, all - this._room);
  }

  _place(top, all, y) {
    this.top = top;
    this.layer.style.top = `${top}px`;
    this.spacer.style.height = `${all}px`;
    if (Math.abs(this.scroller.scrollTop - y) >= 1) this.scroller.scrollTop = y;
    this._y = this.scroller.scrollTop;
  }

  // --- scrolling -------------------------------------------------------------------------------

  _scrolled() {
    const y = this.scroller.scrollTop;
    if (y === this._y || !this.total) return; // this list's own doing
    const wentUp = y < this._y;
    this._y = y;
    const bottom = this.top + this.layer.offsetHeight;
    const atEnd = this.last === this.total && y + this._room >= bottom - 4;
    if (atEnd && !wentUp) {
      this.following = true;
      this.source.moved();
      return;
    }
    this.following = false;
    const all = this.spacer.offsetHeight;
    if (y < bottom && y + this._room > this.top) this._slid(y, bottom);
    else if (y + this._room >= all - 1) this.follow(true);
    else this._jumped(y, all);
    clearTimeout(this._settling);
    this._settling = setTimeout(() => this._settle(), SETTLE_MS);
    this.source.moved(wentUp);
  }

  // Within what is drawn: the browser has moved the lines; see that there are enough.
  _slid(y, bottom) {
    this._remember();
    const edge = (SPARE / 2) * ROW;
    const isHigh = y - this.top < edge && this.first > 0;
    const isLow = bottom - y - this._room < edge && this.last < this.total;
    if (isHigh || isLow || y < this.top) {
      this._drawAt(this.find(this.anchor.key), this.anchor.px, y);
    }
  }

  _jumped(y, all) {
    const place = (y / all) * this.total;
    const n = Math.min(this.total - 1, Math.floor(place));
    const px = Math.round((place - n) * (this.wrap ? this.average : ROW));
    this._drawAt(n, Math.max(0, px), y);
  }

  // Takes the line at the upper edge as the anchor.
  _remember() {
    const y = this.scroller.scrollTop - this.top;
    const rows = this.layer.children;
    let low = 0;
    let high = rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rows[middle].offsetTop <= y) low = middle;
      else high = middle - 1;
    }
    if (rows[low]) {
      this.anchor = { key: this.source.keys[this.first + low], px: y - rows[low].offsetTop };
    }
  }

  // The scroll bar comes to point where the lines are.
  _settle() {
    if (!this.following && this.total) this.draw();
  }
}

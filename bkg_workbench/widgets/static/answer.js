// An answer, shown for people: tables, images, vectors, text, and always the JSON as a tree.

const bytesOf = (n) => (n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
const secondsOf = (s) => (s < 0.001 ? `${(s * 1e6).toFixed(0)} µs` : s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : s < 60 ? `${s.toFixed(2)} s` : duration(s));

const ROWS = 50;
const OPEN_DEPTH = 2;
const OPEN_ITEMS = 40;

function at(value, pointer) {
  for (const step of pointer.split("/").slice(1)) value = value?.[step.replaceAll("~1", "/").replaceAll("~0", "~")];
  return value;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = document.createElement("textarea"); // without a secure context there is no clipboard API
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  toast("Copied.");
}

// --- the tree ----------------------------------------------------------------------------------

const typeOf = (value) => (value === null ? "null" : typeof value);

function Leaf({ value }) {
  return html`<span class=${`bkg-json-${typeOf(value)}`}>${JSON.stringify(value)}</span>`;
}

function Tree({ name, value, depth = 0 }) {
  const isList = Array.isArray(value);
  const entries = isList ? value.map((item, index) => [index, item]) : Object.entries(value ?? {});
  const [open, setOpen] = useState(depth < OPEN_DEPTH && entries.length <= OPEN_ITEMS);
  const label = name === undefined ? null : html`<span class="bkg-json-key">${name}</span>`;
  if (value === null || typeof value !== "object") {
    return html`<div class="bkg-json-row">${label}<${Leaf} value=${value} /></div>`;
  }
  const note = isList ? `[${entries.length}]` : `{${entries.length}}`;
  if (!entries.length) return html`<div class="bkg-json-row">${label}<span class="bkg-dim">${isList ? "[]" : "{}"}</span></div>`;
  return html`<div class="bkg-json-node">
    <button type="button" class="bkg-json-toggle" aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)}>
      <span aria-hidden="true">${open ? "▾" : "▸"}</span>${label}<span class="bkg-dim">${note}</span></button>
    ${open && html`<div class="bkg-json-inside">${entries.map(([key, item]) =>
      html`<${Tree} key=${key} name=${key} value=${item} depth=${depth + 1} />`)}</div>`}
  </div>`;
}

// --- other ways to look at it ------------------------------------------------------------------

function AnswerCell({ value }) {
  if (value === undefined || value === null) return html`<span class="bkg-dim">–</span>`;
  if (typeof value === "number") return html`<span class="bkg-num">${Number.isInteger(value) ? value : Number(value.toPrecision(6))}</span>`;
  if (Array.isArray(value) && value.length > 3 && value.slice(0, 3).every((v) => typeof v === "number")) {
    return html`<code>[${value.slice(0, 3).map((v) => Number(v.toPrecision(3))).join(", ")}, …]</code>`;
  }
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return html`<span title=${text.length > 60 ? text.slice(0, 2000) : ""}>${text.length > 160 ? `${text.slice(0, 159)}…` : text}</span>`;
}

function TableView({ view, value, post }) {
  const [all, setAll] = useState(false);
  const rows = (at(value, view.at) ?? []).filter((row) => row && typeof row === "object");
  const shown = all ? rows : rows.slice(0, ROWS);
  return html`<section class="bkg-answer-part">
    <header><b>${view.at.slice(1) || "rows"}</b> <span class="bkg-dim">${view.rows} ${view.rows === 1 ? "row" : "rows"}${
      view.more ? `, ${view.more} more columns` : ""}</span>
      <span class="bkg-push">${view.table && html`<${Export} post=${post} table=${view.table} name="this table" />`}</span></header>
    <div class="bkg-scroll bkg-answer-table"><table class="bkg-table"><thead><tr>${view.columns.map((c) => html`<th scope="col" key=${c}>${c}</th>`)}</tr></thead>
      <tbody>${shown.map((row, index) => html`<tr key=${index}>${view.columns.map((c) => html`<td key=${c}><${AnswerCell} value=${row[c]} /></td>`)}</tr>`)}</tbody>
    </table></div>
    ${rows.length > shown.length && html`<button type="button" class="bkg-btn bkg-quiet" onClick=${() => setAll(true)}>Show ${rows.length - shown.length} more</button>`}
    ${view.rows > rows.length && html`<p class="bkg-sub">The first ${rows.length} rows are shown; an export has all.</p>`}
  </section>`;
}

function VectorsView({ view }) {
  const [least, most] = view.norm;
  const norm = most - least < 1e-3 ? most.toPrecision(4) : `${least.toPrecision(4)} to ${most.toPrecision(4)}`;
  const shape = view.shape ?? [];
  const top = Math.max(...shape.map(Math.abs), 1e-9);
  const points = shape.map((v, index) => `${((index / Math.max(1, shape.length - 1)) * 256).toFixed(1)},${(20 - (v / top) * 18).toFixed(1)}`).join(" ");
  return html`<section class="bkg-answer-part"><header><b>${view.count} ${view.count === 1 ? "vector" : "vectors"}</b>
      <span class="bkg-dim">${view.dimensions.join(", ")} dimensions, length ${norm}</span></header>
    <svg class="bkg-vector" viewBox="0 0 256 40" preserveAspectRatio="none" role="img" aria-label="the first vector's values"><polyline points=${points} /></svg>
    <code>[${view.preview.map((v) => Number(v.toPrecision(4))).join(", ")}, …]</code></section>`;
}

function ImageView({ view }) {
  return html`<section class="bkg-answer-part"><header><b>${view.at.slice(1) || "image"}</b></header>
    <img class="bkg-answer-image" src=${view.src} alt=${`the image at ${view.at || "the top"} of the answer`} /></section>`;
}

function TextView({ name, text, live: isLive }) {
  return html`<section class="bkg-answer-part">${name && html`<header><b>${name}</b></header>`}
    <div class="bkg-answer-text" aria-live=${isLive ? "polite" : undefined}>${text}</div></section>`;
}

function View({ view, value, post }) {
  if (view.kind === "table") return html`<${TableView} view=${view} value=${value} post=${post} />`;
  if (view.kind === "vectors") return html`<${VectorsView} view=${view} />`;
  if (view.kind === "image") return html`<${ImageView} view=${view} />`;
  return html`<${TextView} name=${view.at.slice(1)} text=${view.text} />`;
}

// --- all of it ---------------------------------------------------------------------------------

// The whole answer comes from the kernel on demand: what is on the page may be cut.
function useWhole(run, post, on) {
  return (use) => {
    const token = Math.random().toString(36).slice(2);
    const end = on("whole", (content, buffers) => {
      if (content.token !== token) return;
      end();
      use(new TextDecoder().decode(buffers[0]));
    });
    post("whole", { run: run.id, token });
  };
}

function Answer({ run, post, on }) {
  const value = useMemo(() => (run.json === undefined ? undefined : JSON.parse(run.json)), [run.json]);
  const whole = useWhole(run, post, on);
  const views = run.views ?? [];
  const [raw, setRaw] = useState(false);
  const streamed = run.text && Object.keys(run.text).length
    ? Array.from({ length: run.blocks }, (_, n) => run.text[n]).join("") : null;
  const isTree = raw || (!views.length && streamed === null);
  return html`<div class="bkg-answer">
    ${streamed !== null && html`<${TextView} text=${streamed} live=${run.state === "running"} />`}
    ${run.textCut && html`<p class="bkg-sub">The text goes on; saving has all of it.</p>`}
    ${run.latest && html`<ol class="bkg-pieces">${Object.keys(run.latest).map(Number).sort((a, b) => a - b).map((n) => html`
      <li key=${n}><span class="bkg-dim bkg-num">${n}</span> <code>${run.latest[n]}</code></li>`)}</ol>`}
    ${value !== undefined && views.map((view) => html`<${View} key=${`${view.kind} ${view.at}`} view=${view} value=${value} post=${post} />`)}
    ${value !== undefined && html`<div class="bkg-answer-json">
      <div class="bkg-btns">
        ${(views.length > 0 || streamed !== null) && html`<${Button} label=${raw ? "Hide JSON" : "JSON"} tone="quiet" aria-pressed=${raw ? "true" : "false"} onClick=${() => setRaw(!raw)} />`}
        <${Button} label="Copy" tone="quiet" name="Copy the answer as JSON" onClick=${() => whole(copyText)} />
        <${Button} label="Save" tone="quiet" name="Save the answer as a file"
          onClick=${() => whole((text) => saveFile(`${run.capability}-${run.id}.json`, text, "application/json"))} />
        ${run.cut && html`<span class="bkg-sub">Cut for the page; Copy and Save have all of it.</span>`}
      </div>
      ${isTree && html`<div class="bkg-json" data-keys><${Tree} value=${value} /></div>`}
    </div>`}
  </div>`;
}

// The parts of a form that hold others: lists, tables of flat objects, maps, variants, other keys.
//
// Owns adding, removing, reordering and renaming. The controls lie in form_inputs.js, the frame and
// the choice of a part by its node's kind in forms.js.

const TABLE_COLUMNS = 8;
const PAGE_ROWS = 100; // rows of a list that are drawn at once; the rest on demand
const FOLDED_FROM = 4; // a list of so many objects begins folded

const itemsOf = (node) => Array.from({ length: node.count ?? 0 }, (_, index) => node.items[index]);

// The columns of a list whose items are flat objects of one shape, or null.
function columnsOf(items) {
  const first = items[0];
  if (first?.kind !== "group" || !first.order.length || first.order.length > TABLE_COLUMNS) return null;
  const shape = JSON.stringify(first.order);
  const fits = (item) =>
    item.kind === "group" && !item.isNull && JSON.stringify(item.order) === shape &&
    !Object.keys(item.unknown ?? {}).length && item.order.every((key) => {
      const field = item.fields[key];
      return IN_CELLS.has(field.kind) && field.kind === first.fields[key].kind && !isLong(field);
    });
  return items.every(fits) ? first.order.map((key) => first.fields[key]) : null;
}

const isLong = (field) => field.kind === "text" && /[\r\n]/.test(asText(field.value));

// --- what an entry of a list can do ------------------------------------------------------------

function useEntry(list, index) {
  const desk = useForm();
  const at = `${list.at}/${index}`;
  const move = (to, from) => {
    if (!list.canMove || to < 0 || to >= list.count) return;
    // The focus goes along: to the same control, or to the button that moves it on.
    const part = from?.closest?.("[data-at]")?.dataset.at ?? "";
    const isUp = to < index ? to > 0 : to === list.count - 1;
    desk.send({ op: "move", at, to });
    const isInside = part === at || part.startsWith(`${at}/`);
    desk.focus(isInside ? `${list.at}/${to}${part.slice(at.length)}` : `${list.at}/${to}!${isUp ? "up" : "down"}`);
  };
  const remove = () => {
    desk.send({ op: "remove", at });
    const left = list.count - 1;
    desk.focus(left ? `${list.at}/${Math.min(index, left - 1)}!remove` : `${list.at}!add`);
  };
  const onKeyDown = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!event.altKey || !step) return;
    event.preventDefault();
    event.stopPropagation();
    move(index + step, event.target);
  };
  return { at, move, remove, onKeyDown };
}

function EntryButtons({ list, index, entry, name }) {
  const last = index === list.count - 1;
  return html`<span class="bkg-f-entry" role="group" aria-label=${`Order of ${name}`}>
    ${list.canMove && html`<button type="button" class="bkg-f-icon" aria-label=${`Move ${name} up`} title="Move up (Alt ↑)"
        disabled=${index === 0} data-at=${`${entry.at}!up`} onClick=${() => entry.move(index - 1)}>↑</button>
      <button type="button" class="bkg-f-icon" aria-label=${`Move ${name} down`} title="Move down (Alt ↓)"
        disabled=${last} data-at=${`${entry.at}!down`} onClick=${() => entry.move(index + 1)}>↓</button>`}
    ${list.canRemove && html`<button type="button" class="bkg-f-icon bkg-f-remove" aria-label=${`Remove ${name}`} title="Remove"
        data-at=${`${entry.at}!remove`} onClick=${entry.remove}>×</button>`}
  </span>`;
}

function AddButton({ node, label = "Add" }) {
  const desk = useForm();
  if (!node.canAdd || node.readOnly) return null;
  const add = () => {
    // One more than what counts so far, not instead of it: a list replaces its default whole.
    const before = !node.isSet && Array.isArray(node.default) ? node.default.length : node.count ?? 0;
    desk.fold(node.at, true);
    desk.folds.set(`${node.at}/${before}`, true);
    if (before && !node.isSet) desk.send({ op: "set", at: node.at, value: node.default });
    desk.send({ op: "add", at: node.at });
    desk.focus(`${node.at}/${before}`);
  };
  return html`<button type="button" class="bkg-f-add" data-at=${`${node.at}!add`} onClick=${add}>
    <span aria-hidden="true">+</span> ${label}</button>`;
}

// --- lists -------------------------------------------------------------------------------------

function List({ node, depth }) {
  const desk = useForm();
  const [most, setMost] = useState(PAGE_ROWS);
  desk.folders.set(`${node.at}!all`, () => setMost(Infinity));
  const items = itemsOf(node);
  const columns = columnsOf(items);
  const shown = items.slice(0, most);
  const leaves = !columns && items.every((item) => IN_CELLS.has(item.kind));
  const left = items.length - shown.length;
  return html`<div class="bkg-f-list" data-list=${columns ? "table" : leaves ? "lines" : "cards"}>
    ${columns ? html`<${Table} node=${node} items=${shown} columns=${columns} />`
      : shown.map((item, index) => leaves
        ? html`<${Line} key=${index} list=${node} item=${item} index=${index} />`
        : html`<${Card} key=${index} list=${node} item=${item} index=${index} depth=${depth} />`)}
    ${left > 0 && html`<button type="button" class="bkg-f-link bkg-f-more" onClick=${() => setMost(most + PAGE_ROWS)}>
      Show ${Math.min(left, PAGE_ROWS)} more of ${left}</button>`}
    ${!items.length && html`<p class="bkg-f-none">${node.isSet || node.default === undefined || !node.default?.length ? "No entries"
      : `Not set; by default ${briefly(node.default, 80)}`}</p>`}
    <${AddButton} node=${node} />
  </div>`;
}

const Line = kept(({ list, item, index }) => {
  const entry = useEntry(list, index);
  const name = `${titleOf(list)} ${index + 1}`;
  return html`<div class="bkg-f-item" data-at=${item.at} data-kind=${item.kind} data-set="true" onKeyDown=${entry.onKeyDown}>
    <span class="bkg-f-index" aria-hidden="true">${index + 1}</span>
    <div class="bkg-f-cell"><div class="bkg-f-line"><${CONTROLS[item.kind]} node=${item} label=${name} /></div>
      <${ErrorLine} node=${item} /></div>
    ${!list.readOnly && html`<${EntryButtons} list=${list} index=${index} entry=${entry} name=${name} />`}
  </div>`;
});

const nameOfItem = (item) => {
  const keys = ["name", "title", "id", "key", "label", "path", "url", "type", "kind", ...(item.order ?? [])];
  for (const key of keys) {
    const field = item.fields?.[key];
    if (field?.value !== undefined && !field.secret && typeof field.value !== "object" && field.value !== "") return briefly(field.value, 60);
  }
  return "";
};

const Card = kept(({ list, item, index, depth }) => {
  const entry = useEntry(list, index);
  const name = `${titleOf(list)} ${index + 1}`;
  return html`<div class="bkg-f-card" onKeyDown=${entry.onKeyDown}>
    <${Fold} node=${item} title=${nameOfItem(item) || `#${index + 1}`} note=${nameOfItem(item) ? `#${index + 1}` : ""}
      open=${(list.count ?? 0) < FOLDED_FROM}
      tools=${!list.readOnly && html`<${EntryButtons} list=${list} index=${index} entry=${entry} name=${name} />`}>
      <${Body} node=${item} depth=${depth + 1} label=${name} />
    <//>
  </div>`;
});

function Table({ node, items, columns }) {
  return html`<div class="bkg-f-scroll" tabindex="-1"><table class="bkg-f-table" aria-label=${titleOf(node)}>
    <thead><tr><th class="bkg-f-index" scope="col">#</th>
      ${columns.map((column) => html`<th key=${column.at} scope="col" title=${column.description ?? ""} data-kind=${column.kind}>
        ${lastKeyTitle(column)}${column.unit && html` <span class="bkg-f-per">${column.unit}</span>`}
        ${column.required && html`<span class="bkg-f-required" title="required">*</span>`}</th>`)}
      ${!node.readOnly && html`<th class="bkg-f-tools"><span class="bkg-hidden">Order</span></th>`}</tr></thead>
    <tbody>${items.map((item, index) => html`<${TableRow} key=${index} list=${node} item=${item} index=${index}
      count=${node.count} first=${index === 0} />`)}</tbody>
  </table></div>`;
}

const lastKeyTitle = (node) => node.title || lastKey(node.at);

class TableRow extends preact.Component {
  // The list is another object with each patch; its rows need not be drawn for that.
  shouldComponentUpdate(next) {
    const { item, index, count, list } = this.props;
    return next.item !== item || next.index !== index || next.count !== count || next.list.at !== list.at ||
      next.list.canMove !== list.canMove || next.list.canRemove !== list.canRemove;
  }
  render() {
    return preact.h(TableCells, this.props);
  }
}

function TableCells({ list, item, index }) {
  const entry = useEntry(list, index);
  const name = `${titleOf(list)} ${index + 1}`;
  const errors = item.order.map((key) => item.fields[key]).filter((field) => field.error);
  return html`<tr data-at=${item.at} data-kind="group" onKeyDown=${entry.onKeyDown}>
      <td class="bkg-f-index">${index + 1}</td>
      ${item.order.map((key) => html`<td key=${key}><${Cell} node=${item.fields[key]} label=${`${lastKeyTitle(item.fields[key])}, ${name}`} /></td>`)}
      ${!list.readOnly && html`<td class="bkg-f-tools"><${EntryButtons} list=${list} index=${index} entry=${entry} name=${name} /></td>`}
    </tr>
    ${(errors.length > 0 || item.error) && html`<tr class="bkg-f-errors"><td></td><td colspan=${item.order.length + 1}>
      <${ErrorLine} node=${item} />
      ${errors.map((field) => html`<${ErrorLine} key=${field.at} node=${field} named />`)}</td></tr>`}`;
}

const Cell = kept(({ node, label }) => html`<div class="bkg-f-line" data-at=${node.at} data-kind=${node.kind}
  data-set=${node.isSet ? "true" : "false"}><${CONTROLS[node.kind]} node=${node} label=${label} />
  ${node.nullable && !node.isNull && html`<${NullButton} node=${node} />`}</div>`);

// --- maps --------------------------------------------------------------------------------------

function MapEntries({ node, depth }) {
  const entries = node.order.map((key) => [key, node.entries[key]]);
  return html`<div class="bkg-f-list" data-list="map">
    ${entries.map(([key, entry], index) => html`<${MapEntry} key=${index} map=${node} name=${key} entry=${entry} depth=${depth} />`)}
    ${!entries.length && html`<p class="bkg-f-none">No entries</p>`}
    ${Object.keys(node.default ?? {}).length > 0 && html`<p class="bkg-f-hint">By default, and beside these: ${briefly(node.default, 120)}</p>`}
    ${node.canAdd && html`<${NewKey} node=${node} />`}
  </div>`;
}

const pointerTo = (at, key) => `${at}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;

function keyProblem(map, key, own) {
  if (key !== own && (map.order.includes(key) || key in (map.unknown ?? {}))) return "stands here already";
  if (!key) return "needs a name";
  try {
    if (map.keyPattern && !new RegExp(map.keyPattern, "u").test(key)) return `must have the form ${map.keyPattern}`;
  } catch {
    return ""; // a pattern of another dialect: the model checks it
  }
  return "";
}

function KeyInput({ map, name }) {
  const desk = useForm();
  const [draft, setDraft] = useState(null);
  useEffect(() => setDraft(null), [name]);
  const problem = draft === null ? "" : keyProblem(map, draft, name);
  const commit = () => {
    if (draft !== null && draft !== name && !problem) desk.send({ op: "rename", at: pointerTo(map.at, name), key: draft });
    else if (!problem) setDraft(null);
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter") commit();
    else if (event.key === "Escape") setDraft(null);
  };
  const id = desk.id(pointerTo(map.at, name), "k");
  return html`<input class="bkg-f-input bkg-f-key" type="text" id=${id} value=${draft ?? name} aria-label=${`Key ${name} of ${titleOf(map)}`}
      aria-invalid=${problem ? "true" : undefined} aria-describedby=${problem ? `${id}e` : undefined} title=${problem} readOnly=${map.readOnly}
      spellcheck=${false} autocomplete="off" data-key="true"
      onInput=${(event) => setDraft(event.target.value)} onBlur=${commit} onKeyDown=${onKeyDown} />
    ${problem && html`<p class="bkg-f-error" id=${`${id}e`}>${problem}</p>`}`;
}

const MapEntry = kept(({ map, name, entry, depth }) => {
  const desk = useForm();
  const remove = () => {
    desk.send({ op: "remove", at: entry.at });
    desk.focus(`${map.at}!add`);
  };
  const tool = !map.readOnly && html`<button type="button" class="bkg-f-icon bkg-f-remove" title="Remove"
    aria-label=${`Remove ${name}`} onClick=${remove}>×</button>`;
  if (IN_CELLS.has(entry.kind)) {
    return html`<div class="bkg-f-item bkg-f-pair" data-at=${entry.at} data-kind=${entry.kind} data-set=${entry.isSet ? "true" : "false"}>
      <div class="bkg-f-cell bkg-f-keys"><${KeyInput} map=${map} name=${name} /></div>
      <div class="bkg-f-cell"><div class="bkg-f-line"><${CONTROLS[entry.kind]} node=${entry} label=${`Value of ${name}`} />
        ${entry.nullable && !entry.isNull && html`<${NullButton} node=${entry} />`}</div>
        <${ErrorLine} node=${entry} /></div>
      <span class="bkg-f-entry">${tool}</span>
    </div>`;
  }
  return html`<div class="bkg-f-card">
    <${Fold} node=${entry} title=${html`<${KeyInput} map=${map} name=${name} />`} label=${name} tools=${tool}
      open=${map.order.length < FOLDED_FROM}><${Body} node=${entry} depth=${depth + 1} label=${`Value of ${name}`} /><//>
  </div>`;
});

function NewKey({ node }) {
  const desk = useForm();
  const [key, setKey] = useState("");
  const [asked, setAsked] = useState(false);
  const problem = keyProblem(node, key, null);
  const add = () => {
    setAsked(true);
    if (problem) return;
    setKey("");
    setAsked(false);
    desk.folds.set(pointerTo(node.at, key), true);
    desk.send({ op: "add", at: node.at, key });
    desk.focus(pointerTo(node.at, key));
  };
  const told = problem && (key !== "" || asked);
  return html`<div class="bkg-f-newkey">
    ${node.keyOptions && html`<datalist id=${desk.id(node.at, "kx")}>${node.keyOptions.map((one) => html`<option value=${one} />`)}</datalist>`}
    <input class="bkg-f-input bkg-f-key" type="text" value=${key} placeholder="New key" list=${node.keyOptions ? desk.id(node.at, "kx") : undefined} aria-label=${`New key of ${titleOf(node)}`}
      spellcheck=${false} autocomplete="off" data-aid="true" aria-invalid=${told ? "true" : undefined} data-at=${`${node.at}!add`}
      onInput=${(event) => setKey(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && add()} />
    <button type="button" class="bkg-f-add" onClick=${add}><span aria-hidden="true">+</span> Add</button>
    ${told && html`<p class="bkg-f-error">${problem}</p>`}
  </div>`;
}

// --- variants and other keys -------------------------------------------------------------------

function Variant({ node, depth, label }) {
  const desk = useForm();
  const id = desk.id(node.at, "v");
  const name = `Kind of ${label || titleOf(node)}`;
  const choose = (index) => desk.send({ op: "choose", at: node.at, index });
  const { options, chosen, body } = node;
  const few = options.length <= FEW_OPTIONS && options.join("").length <= FEW_LETTERS;
  return html`<div class="bkg-f-variant">
    ${few ? html`<span class="bkg-f-segments" role="radiogroup" aria-label=${name} data-variant=${chosen}>${options.map((option, index) => html`<label>
        <input type="radio" name=${id} checked=${chosen === index} disabled=${node.readOnly} onChange=${() => choose(index)} /><span>${option}</span></label>`)}</span>`
      : html`<select class="bkg-f-input" aria-label=${name} disabled=${node.readOnly} value=${String(chosen)} data-variant=${chosen}
          onChange=${(event) => choose(Number(event.target.value))}>
          ${chosen === undefined && html`<option value="">Choose…</option>`}
          ${options.map((option, index) => html`<option value=${String(index)} selected=${chosen === index}>${option}</option>`)}</select>`}
    ${body && html`<div class="bkg-f-body"><${Body} node=${body} depth=${depth} label=${label || titleOf(node)} inBody /></div>`}
  </div>`;
}

function OtherKeys({ node }) {
  const desk = useForm();
  const keys = Object.keys(node.unknown ?? {});
  if (!keys.length) return null;
  return html`<div class="bkg-f-other" role="group" aria-label="Other keys">
    <p class="bkg-f-subtitle">Other keys</p>
    <p class="bkg-f-desc">The schema does not know these. They are kept as they are.</p>
    ${keys.map((key) => {
      const entry = node.unknown[key];
      return html`<div key=${key} class="bkg-f-item bkg-f-pair" data-at=${entry.at} data-kind="json" data-unknown=${key}>
        <code class="bkg-f-keys">${key}</code>
        <div class="bkg-f-cell"><${JsonInput} node=${entry} label=${key} rows=${1} /><${ErrorLine} node=${entry} /></div>
        <span class="bkg-f-entry">${!node.readOnly && html`<button type="button" class="bkg-f-icon bkg-f-remove" title="Remove" aria-label=${`Remove ${key}`}
          onClick=${() => desk.send({ op: "remove", at: entry.at })}>×</button>`}</span>
      </div>`;
    })}
  </div>`;
}

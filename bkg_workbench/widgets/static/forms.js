// A form, drawn from its neutral description: frame, groups, rows, errors.
//
// Owns `Form`, the component that other panels' scripts use too:
//   html`<${Form} form=${data.form} onEdit=${(edit) => post("edit", edit)} />`
// `form` is what `widgets.forms.Editing.describe()` gives; each edit goes to `Editing.take(edit)`. Needs
// form_desk.js, form_inputs.js and form_parts.js before it. Knows nothing of settings, versions or capabilities.

const DEEP = 3; // groups from this depth on begin folded in a large form
const LARGE = 60; // fields

function Form({ form, onEdit }) {
  const desk = useMemo(() => new FormDesk(), []);
  const root = useRef(null);
  desk.onEdit = onEdit;
  useLayoutEffect(() => {
    desk.el = root.current;
    desk.hear(form?.heard?.[desk.page] ?? 0);
    desk.settleFocus();
  });
  useEffect(() => {
    desks.set(desk.prefix, desk);
    return () => {
      desk.flush();
      desks.delete(desk.prefix);
    };
  }, []);
  if (!form?.root) return html`<div class="bkg-form" ref=${root}></div>`;
  const stray = strayErrors(form);
  desk.isLarge = countOf(form.root) > LARGE;
  return html`<${FormContext.Provider} value=${desk}>
    <div class="bkg-form" ref=${root} data-valid=${form.isValid ? "true" : "false"} data-form=${desk.prefix}>
      ${form.notice && html`<div class="bkg-banner bkg-warn bkg-f-notice" role="note">${form.notice}</div>`}
      ${stray.length > 0 && html`<div class="bkg-banner bkg-bad" role="alert">
        ${stray.map(([at, what]) => html`<p key=${at}><code>${at || "/"}</code> ${what}</p>`)}</div>`}
      <${Root} node=${form.root} />
    </div>
  <//>`;
}

// For a panel's own summary and Save button: `revealIn(el, pointer)` opens and focuses a place of the
// form inside of `el`; `flushIn(el)` sends what was just typed, so that a click after it sees it.
const desks = new Map();
const deskIn = (el) => desks.get(el?.querySelector(".bkg-form")?.dataset.form);
const revealIn = (el, at) => deskIn(el)?.reveal(at);
const flushIn = (el) => deskIn(el)?.flush();

// Errors whose place is drawn nowhere; they must not be lost.
function strayErrors(form) {
  const drawn = new Set();
  const json = [];
  walk(form.root, (node) => {
    if (node.kind === "json") json.push(node.at);
    if (node.error) drawn.add(node.at);
  });
  return Object.entries(form.errors ?? {}).filter(
    ([at]) => !drawn.has(at) && !json.some((above) => at === above || at.startsWith(`${above}/`)));
}

function walk(node, visit) {
  visit(node);
  const inside = [node.fields, node.items, node.entries, node.unknown];
  for (const nodes of inside) for (const child of Object.values(nodes ?? {})) walk(child, visit);
  if (node.body) walk(node.body, visit);
}

function countOf(node) {
  let count = 0;
  walk(node, () => (count += 1));
  return count;
}

function errorsIn(node) {
  let count = 0;
  walk(node, (one) => (count += one.error ? 1 : 0));
  return count;
}

// --- rows --------------------------------------------------------------------------------------

function ErrorLine({ node, named }) {
  const desk = useForm();
  if (!node.error) return null;
  return html`<p class="bkg-f-error" id=${desk.id(node.at, "e")}>${named && html`<b>${lastKeyTitle(node)}</b> `}${node.error}</p>`;
}

function NullButton({ node }) {
  const desk = useForm();
  if (node.readOnly) return null;
  return html`<button type="button" class="bkg-f-chip" title="Set to null: explicitly nothing" aria-label=${`Set ${titleOf(node)} to null`}
    onClick=${() => desk.send({ op: "set", at: node.at, value: null })}>null</button>`;
}

// "Not set" for what need not be, "back to the default" for what has one.
function ResetButton({ node, words }) {
  const desk = useForm();
  const hasDefault = node.default !== undefined;
  const isFixed = node.kind === "constant" && !node.error;
  if (!node.isSet || node.readOnly || (node.required && (isFixed || (!hasDefault && node.kind !== "constant")))) return null;
  const title = hasDefault ? `Reset to default (${briefly(node.default, 40)})` : "Clear: not set";
  const sign = words ? (hasDefault ? "Reset" : "Clear") : hasDefault ? "↺" : "×";
  return html`<button type="button" class=${words ? "bkg-f-quiet" : "bkg-f-icon"} data-reset="true" title=${title}
    aria-label=${`${title}: ${titleOf(node)}`} onClick=${() => desk.send({ op: "unset", at: node.at })}>${sign}</button>`;
}

function Label({ node, of }) {
  return html`<label class="bkg-f-label" for=${of}>${titleOf(node)}</label>${node.required && html`<span class="bkg-f-required" aria-hidden="true" title="required">*</span>`}${node.readOnly &&
    html`<span class="bkg-f-tag">read only</span>`}${node.deprecated && html`<span class="bkg-f-tag">deprecated</span>`}`;
}

const Row = kept(({ node }) => {
  const desk = useForm();
  const hint = hintOf(node);
  const wide = node.kind === "json" || isLong(node);
  return html`<div class=${`bkg-f-row ${wide ? "bkg-f-wide" : ""}`} data-at=${node.at} data-kind=${node.kind}
      data-set=${node.isSet ? "true" : "false"} data-changed=${node.changed ? "true" : undefined}>
    <div class="bkg-f-about">
      <${Label} node=${node} of=${desk.id(node.at)} />
      ${node.description && html`<p class="bkg-f-desc" id=${desk.id(node.at, "d")}>${node.description}</p>`}
    </div>
    <div class="bkg-f-control">
      <div class="bkg-f-line">
        <${CONTROLS[node.kind]} node=${node} />
        ${node.nullable && !node.isNull && html`<${NullButton} node=${node} />`}
        <${ResetButton} node=${node} />
      </div>
      <${ErrorLine} node=${node} />
      ${hint && html`<p class="bkg-f-hint">${hint}</p>`}
    </div>
  </div>`;
});

// --- groups ------------------------------------------------------------------------------------

function Fold({ node, title, label, note, open: otherwise, tools, children }) {
  const desk = useForm();
  const [open, setOpen] = useState(desk.isOpen(node.at, otherwise));
  useLayoutEffect(() => {
    desk.folders.set(node.at, setOpen);
    return () => desk.folders.get(node.at) === setOpen && desk.folders.delete(node.at);
  }, [node.at]);
  const errors = errorsIn(node);
  const isText = typeof title === "string";
  const toggle = () => desk.fold(node.at, !open);
  return html`<div class="bkg-f-fold" data-at=${node.at} data-kind=${node.kind} data-open=${open ? "true" : "false"}>
    <div class="bkg-f-head">
      <button type="button" class="bkg-f-toggle" aria-expanded=${open ? "true" : "false"} aria-controls=${desk.id(node.at, "b")}
        aria-label=${isText ? undefined : `${open ? "Fold" : "Unfold"} ${label}`} onClick=${toggle}>
        <span class="bkg-f-chevron" aria-hidden="true">›</span>${isText && html`<span class="bkg-f-title">${title}</span>`}</button>
      ${!isText && title}
      ${note && html`<span class="bkg-f-note">${note}</span>`}
      ${errors > 0 && html`<span class="bkg-f-count bkg-bad" title=${`${errors} ${errors === 1 ? "problem" : "problems"}`}>${errors}</span>`}
      <span class="bkg-f-right">${tools}</span>
    </div>
    <div class="bkg-f-inside" id=${desk.id(node.at, "b")} hidden=${!open}>${open && children}</div>
  </div>`;
}

const noteOf = (node) => {
  if (node.isNull) return "null";
  if (node.kind === "list") return node.isSet ? String(node.count ?? 0) : "not set";
  if (node.kind === "map") return node.isSet ? String(node.order.length) : "not set";
  if (node.kind === "variant" && node.isSet) return node.options[node.chosen] ?? "";
  return node.isSet ? "" : "not set";
};

// A part that holds others, under its title.
const Section = kept(({ node, depth }) => {
  const desk = useForm();
  const tools = html`${node.required && html`<span class="bkg-f-required" title="required">*</span>`}
    ${node.nullable && !node.isNull && html`<${NullButton} node=${node} />`}<${ResetButton} node=${node} words />`;
  return html`<section class="bkg-f-section" data-depth=${Math.min(depth, 4)} data-changed=${node.changed ? "true" : undefined}
      aria-label=${titleOf(node)}>
    <${Fold} node=${node} title=${titleOf(node)} note=${noteOf(node)} tools=${tools}
      open=${!(desk.isLarge && depth >= DEEP)}>
      ${node.description && html`<p class="bkg-f-desc">${node.description}</p>`}
      <${Body} node=${node} depth=${depth} />
    <//>
  </section>`;
});

// What a node holds, without its title.
function Body({ node, depth, label, inBody }) {
  const desk = useForm();
  if (isLeaf(node)) {
    return html`<div class="bkg-f-bare" data-at=${node.at} data-kind=${node.kind} data-set=${node.isSet ? "true" : "false"}>
      <div class="bkg-f-line"><${CONTROLS[node.kind]} node=${node} label=${label || titleOf(node)} inBody=${inBody} />
        ${node.nullable && !node.isNull && html`<${NullButton} node=${node} />`}</div>
      <${ErrorLine} node=${node} />${hintOf(node) && html`<p class="bkg-f-hint">${hintOf(node)}</p>`}</div>`;
  }
  if (node.isNull) {
    return html`<${ErrorLine} node=${node} /><div class="bkg-f-line" data-null="true"><span class="bkg-f-constant">null</span>
      ${!node.readOnly && html`<button type="button" class="bkg-f-link" onClick=${() => desk.send(START[node.kind](node))}>Give it a value</button>`}</div>`;
  }
  if (node.isFolded) {
    return html`<div class="bkg-f-line"><button type="button" class="bkg-f-add" onClick=${() => desk.send(START.group(node))}>
      <span aria-hidden="true">+</span> Add</button></div>`;
  }
  const Part = { list: List, map: MapEntries, variant: Variant }[node.kind] ?? Fields;
  return html`<${ErrorLine} node=${node} /><${Part} node=${node} depth=${depth} label=${label} />`;
}

const START = {
  group: ({ at }) => ({ op: "set", at, value: {} }),
  map: ({ at }) => ({ op: "set", at, value: {} }),
  list: ({ at }) => ({ op: "set", at, value: [] }),
  variant: ({ at }) => ({ op: "choose", at, index: 0 }),
};

const drawn = (node, depth) => (isLeaf(node)
  ? html`<${Row} key=${node.at} node=${node} />` : html`<${Section} key=${node.at} node=${node} depth=${depth + 1} />`);

// The keys that a schema describes by their pattern have names of their own, as those of a map.
function Extras({ node, depth }) {
  const keys = node.order.filter((key) => node.fields[key].isExtra);
  if (!keys.length && !node.canAdd) return null;
  return html`<div class="bkg-f-list bkg-f-extras" data-list="map">
    ${keys.map((key, index) => html`<${MapEntry} key=${index} map=${node} name=${key} entry=${node.fields[key]} depth=${depth} />`)}
    ${node.canAdd && html`<${NewKey} node=${node} />`}</div>`;
}

const fixedKeys = (node) => node.order.filter((key) => !node.fields[key].isExtra);
const hasMore = (node) => Boolean(node.canAdd) || Object.keys(node.unknown ?? {}).length > 0 ||
  node.order.some((key) => node.fields[key].isExtra);

function Fields({ node, depth }) {
  return html`<div class="bkg-f-fields">
    ${fixedKeys(node).map((key) => drawn(node.fields[key], depth))}
    <${Extras} node=${node} depth=${depth} /><${OtherKeys} node=${node} />
  </div>`;
}

// The outermost group: what stands alone between sections shares a card, a section has its own.
function Root({ node }) {
  if (node.kind !== "group" || node.isNull) {
    return html`<div class="bkg-f-panel" data-at=${node.at} data-kind=${node.kind}><${Body} node=${node} depth=${0} label=${titleOf(node)} /></div>`;
  }
  const runs = [];
  for (const key of fixedKeys(node)) {
    const child = node.fields[key];
    if (isLeaf(child) && runs.at(-1)?.leaves) runs.at(-1).leaves.push(child);
    else runs.push(isLeaf(child) ? { leaves: [child] } : { section: child });
  }
  return html`<div class="bkg-f-root" data-at="" data-kind="group"><${ErrorLine} node=${node} />
    ${runs.map((run) => run.leaves
      ? html`<div key=${run.leaves[0].at} class="bkg-f-panel">${run.leaves.map((leaf) => drawn(leaf, 0))}</div>`
      : html`<div key=${run.section.at} class="bkg-f-panel">${drawn(run.section, 0)}</div>`)}
    ${!runs.length && !hasMore(node) && html`<div class="bkg-f-panel bkg-f-none">Nothing to set.</div>`}
    ${hasMore(node) && html`<div class="bkg-f-panel"><${Extras} node=${node} depth=${0} /><${OtherKeys} node=${node} /></div>`}
  </div>`;
}

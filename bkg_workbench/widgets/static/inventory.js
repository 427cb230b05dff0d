// The inventory: header, banners, and the plug-ins as a table that can be filtered, sorted, walked
// through by keys, and acted on one by one or together.

const RANK = { failed: 0, backoff: 1, degraded: 2, starting: 3, stopping: 4, running: 5, stopped: 6 };

const lastSample = (row) => {
  const times = Object.keys(row.samples ?? {});
  return times.length ? row.samples[times.reduce((a, b) => (Number(a) > Number(b) ? a : b))] : null;
};

// Key of the sort, title, and the value to sort by (what is not known comes last).
const COLUMNS = [
  { key: "name", title: "Plug-in", of: (row) => row.name },
  { key: "state", title: "State", of: (row) => RANK[row.badge.text] ?? 9 },
  { key: "uptime", title: "Uptime", of: (row) => (row.up_since ? -row.up_since : null) },
  { key: "restarts", title: "Restarts", of: (row) => row.restarts },
  { key: "cpu", title: "CPU", of: (row) => lastSample(row)?.[0] ?? null },
  { key: "memory", title: "Memory", of: (row) => lastSample(row)?.[1] ?? null },
  { key: "beat", title: "Last beat", of: (row) => (row.beat ? -row.beat.at : null) },
];

// --- which rows, in which order ----------------------------------------------------------------

function matches(row, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const hay = [row.name, row.description, row.badge.text, ...(row.capabilities ?? []).map((c) => c.text)]
    .join("\n")
    .toLowerCase();
  return words.every((word) => hay.includes(word));
}

function sorted(rows, sort) {
  const down = sort.startsWith("-");
  const column = COLUMNS.find((c) => c.key === sort.replace("-", "")) ?? COLUMNS[0];
  const value = new Map(rows.map((row) => [row, column.of(row)]));
  return [...rows].sort((a, b) => {
    const [x, y] = [value.get(a), value.get(b)];
    if ((x === null) !== (y === null)) return x === null ? 1 : -1;
    const order = x < y ? -1 : x > y ? 1 : 0;
    return (down ? -order : order) || (a.name < b.name ? -1 : 1);
  });
}

// --- header ------------------------------------------------------------------------------------

function Header({ header }) {
  return html`<div class="bkg-header">
    <span class="bkg-brand">BKG Workbench</span>
    <h1 class="bkg-workspace" title=${header.path}>${header.workspace}</h1>
    <span class="bkg-facts">${header.facts.map(
      (fact) => html`<span class="bkg-fact" key=${fact.label}><i>${fact.label}</i> ${
        fact.since ? html`<${Since} at=${fact.since} />` : fact.value
      }</span>`
    )}</span>
    <${Badge} ...${header.status} />
  </div>`;
}

// --- one plug-in -------------------------------------------------------------------------------

const CHIPS = 4;

function Chips({ capabilities }) {
  const [all, setAll] = useState(false);
  const shown = all || capabilities.length <= CHIPS ? capabilities : capabilities.slice(0, CHIPS - 1);
  const more = capabilities.length - shown.length;
  return html`<div class="bkg-chips">
    ${shown.map((c) => html`<span key=${c.text} class=${`bkg-chip bkg-${c.tone}`} title=${c.hint}>${c.text}</span>`)}
    ${more > 0 &&
    html`<button type="button" class="bkg-chip bkg-more" tabindex="-1" onClick=${() => setAll(true)}
      title=${capabilities.slice(CHIPS - 1).map((c) => c.text).join(", ")}
      aria-label=${`${more} more capabilities`}>+${more}</button>`}
  </div>`;
}

const dash = html`<span class="bkg-dim">–</span>`;

function Gauge({ text, points, least, hint }) {
  if (!text) return dash;
  return html`<div class="bkg-gauge" title=${hint}><span class="bkg-num">${text}</span>
    <${Sparkline} points=${points} least=${least} width=${72} height=${16} /></div>`;
}

function Name({ row, current, open }) {
  const href = pageHref(`plugins/${encodeURIComponent(row.name)}`);
  const follow = (event) => {
    if (!href) {
      event.preventDefault();
      open(row.name);
    }
  };
  return html`<div class="bkg-names">
    <a class="bkg-name" href=${href ?? "#"} tabIndex=${current ? 0 : -1} onClick=${follow}>${row.name}</a>
    <span class="bkg-sub" title=${row.description}>${row.description}</span>
  </div>`;
}

function Figures({ row }) {
  const samples = Object.keys(row.samples ?? {}).sort().map((at) => row.samples[at]);
  return html`
    <td role="gridcell" class="bkg-num bkg-col-uptime" data-label="Uptime">${row.up_since ? html`<${Since} at=${row.up_since} />` : dash}</td>
    <td role="gridcell" class="bkg-num bkg-col-restarts" data-label="Restarts">${row.restarts}
      ${row.last_exit && html`<small title=${`last exit: ${row.last_exit}`}>${row.last_exit}</small>`}</td>
    <td role="gridcell" class="bkg-col-cpu" data-label="CPU"><${Gauge} text=${row.cpu} points=${samples.map((s) => s[0])} least=${100} hint="percent of one core" /></td>
    <td role="gridcell" class="bkg-col-memory" data-label="Memory"><${Gauge} text=${row.memory} points=${samples.map((s) => s[1])} least=${1} hint="resident memory" /></td>
    <td role="gridcell" class=${`bkg-num bkg-col-beat bkg-${row.beat?.tone ?? "idle"}`} data-label="Last beat" title=${row.beat?.hint ?? ""}>${
      row.beat ? html`<span class=${row.beat.tone === "ok" ? "" : "bkg-tone"}><${Ago} at=${row.beat.at} /></span>` : dash
    }</td>`;
}

function Row({ row, current, chosen, act, open, choose, index }) {
  // The same vnodes again are skipped, so a change redraws one row and not all.
  return useMemo(
    () => html`<tr role="row" class="bkg-row" aria-rowindex=${index + 2} aria-selected=${chosen ? "true" : "false"}
      data-plugin=${row.name} data-state=${row.badge.text} tabIndex=${current ? 0 : -1}
      aria-label=${`${row.name}, ${row.badge.text}`}>
      <td role="gridcell" class="bkg-col-choose"><input type="checkbox" checked=${chosen} tabIndex=${current ? 0 : -1}
        aria-label=${`Select ${row.name}`} onChange=${() => choose(row.name)} /></td>
      <td role="gridcell" class="bkg-col-name"><${Name} row=${row} current=${current} open=${open} /></td>
      <td role="gridcell" class="bkg-col-state"><${Badge} ...${row.badge} /></td>
      <${Figures} row=${row} />
      <td role="gridcell" class="bkg-col-capabilities"><${Chips} capabilities=${row.capabilities} /></td>
      <td role="gridcell" class="bkg-col-actions"><${Actions} row=${row} act=${act} current=${current} /></td>
      ${row.note &&
      html`<td role="gridcell" class="bkg-col-note"><div class=${`bkg-note bkg-${row.note.tone}`}>${row.note.text}</div></td>`}
    </tr>`,
    [row, current, chosen, index, act, open, choose]
  );
}

// --- the table ---------------------------------------------------------------------------------

function Heads({ sort, setSort, all, some, chooseAll }) {
  const box = useRef(null);
  useLayoutEffect(() => {
    box.current.indeterminate = some && !all;
  });
  const key = sort.replace("-", "");
  const turn = (column) => setSort(key === column ? (sort.startsWith("-") ? column : `-${column}`) : column);
  return html`<tr role="row" class="bkg-row bkg-head" aria-rowindex="1">
    <th role="columnheader" class="bkg-col-choose"><input type="checkbox" ref=${box} checked=${all}
      aria-label="Select all plug-ins" onChange=${chooseAll} /></th>
    ${COLUMNS.map((column) => {
      const mine = key === column.key;
      const order = mine ? (sort.startsWith("-") ? "descending" : "ascending") : "none";
      return html`<th role="columnheader" key=${column.key} class=${`bkg-col-${column.key}`} aria-sort=${order}>
        <button type="button" class="bkg-sort" onClick=${() => turn(column.key)} title=${`Sort by ${column.title}`}>${column.title}<span
          aria-hidden="true">${mine ? (sort.startsWith("-") ? "▾" : "▴") : ""}</span></button></th>`;
    })}
    <th role="columnheader" class="bkg-col-capabilities">Capabilities</th>
    <th role="columnheader" class="bkg-col-actions"><span class="bkg-hidden">Actions</span></th>
  </tr>`;
}

function Bulk({ rows, chosen, act, clear }) {
  const picked = rows.filter((row) => chosen.has(row.name));
  if (!picked.length) return null;
  return html`<div class="bkg-bulk" role="group" aria-label="Actions for the selected plug-ins">
    <span class="bkg-num">${picked.length} selected</span>
    ${VERBS.map((verb) => {
      const able = picked.filter((row) => row.can.includes(verb)).map((row) => row.name);
      const hurts = picked.some((row) => row.asks.includes(verb));
      const plugins = able.length === 1 ? able[0] : `${able.length} plug-ins`;
      return html`<${Button} key=${verb} data-bulk=${verb} label=${able.length ? `${TITLES[verb]} ${able.length}` : TITLES[verb]}
        name=${`${TITLES[verb]} ${plugins}`} disabled=${!able.length}
        confirm=${hurts ? `${TITLES[verb]} ${plugins}?` : undefined} onClick=${() => act(verb, able)} />`;
    })}
    <${Button} label="Clear" tone="quiet" name="Clear the selection" onClick=${clear} />
  </div>`;
}

const KEYS = [
  ["↓ ↑ or j k", "move"], ["Enter", "open"], ["x", "select"], ["s", "start"], ["t", "stop"],
  ["r", "restart"], ["/", "filter"], ["Esc", "clear"], ["?", "these keys"],
];

function Help() {
  return html`<div class="bkg-keys" role="note">${KEYS.map(
    ([key, what]) => html`<span key=${key}><kbd>${key}</kbd> ${what}</span>`
  )}<span class="bkg-dim">Stop and restart ask: press the key twice.</span></div>`;
}

// What a key does on a row. The row's own buttons do the work, so a key asks as they do.
function useKeys({ table, seen, current, setCurrent, choose, open, leave, help }) {
  return (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = event.target.closest("tr[data-plugin]");
    const at = seen.findIndex((r) => r.name === (row?.dataset.plugin ?? current));
    const go = (n) => {
      const next = seen[Math.max(0, Math.min(seen.length - 1, n))];
      if (!next) return;
      setCurrent(next.name);
      table.current.querySelector(`tr[data-plugin="${CSS.escape(next.name)}"]`)?.focus();
    };
    const press = (verb) => {
      const button = row?.querySelector(`[data-verb="${verb}"]`);
      if (button && !button.disabled) {
        button.focus();
        button.click();
      }
    };
    const onRow = event.target === row;
    const deeds = {
      ArrowDown: () => go(at + 1),
      j: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      k: () => go(at - 1),
      Home: () => go(0),
      End: () => go(seen.length - 1),
      x: () => row && choose(row.dataset.plugin),
      s: () => press("start"),
      t: () => press("stop"),
      r: () => press("restart"),
      "/": () => leave.focus(),
      "?": help,
      Escape: () => (onRow || !row ? leave.clear() : row.focus()),
      ...(onRow ? { Enter: () => open(row.dataset.plugin), " ": () => choose(row.dataset.plugin) } : {}),
    };
    const deed = deeds[event.key];
    if (deed) {
      event.preventDefault();
      deed();
    }
  };
}

function Table({ rows, seen, sort, setSort, filter, setFilter, chosen, setChosen, act, open, leave, help }) {
  const table = useRef(null);
  const [held, setCurrent] = useState(null);
  const current = seen.some((row) => row.name === held) ? held : seen[0]?.name;
  const choose = useMemo(
    () => (name) => setChosen((old) => new Set(old.has(name) ? [...old].filter((n) => n !== name) : [...old, name])),
    []
  );
  const onKeyDown = useKeys({ table, seen, current, setCurrent, choose, open, leave, help });
  if (!rows.length) {
    return html`<${Empty}><b>This workspace has no plug-ins yet.</b><br />Make one with
      <code>bkg new plugin NAME</code>, or add one with <code>bkg plugins add FOLDER</code>. It appears here by itself.<//>`;
  }
  const all = seen.length > 0 && seen.every((row) => chosen.has(row.name));
  const some = seen.some((row) => chosen.has(row.name));
  return html`<table role="grid" class="bkg-inventory" aria-label="Plug-ins" aria-multiselectable="true"
      aria-rowcount=${seen.length + 1} ref=${table} data-keys data-lm-suppress-shortcuts="true" onKeyDown=${onKeyDown}
      onFocusIn=${(event) => {
        const name = event.target.closest("tr[data-plugin]")?.dataset.plugin;
        if (name) setCurrent(name);
      }}>
      <thead role="rowgroup"><${Heads} sort=${sort} setSort=${setSort} all=${all} some=${some}
        chooseAll=${() => setChosen(all ? new Set() : new Set(seen.map((row) => row.name)))} /></thead>
      <tbody role="rowgroup">${seen.map((row, index) => html`<${Row} key=${row.name} row=${row} index=${index}
        current=${row.name === current} chosen=${chosen.has(row.name)} act=${act} open=${open} choose=${choose} />`)}</tbody>
    </table>
    ${!seen.length && html`<${Empty}><b>No plug-in matches “${filter}”.</b><br />
      <${Button} label="Clear the filter" onClick=${() => setFilter("")} /><//>`}`;
}

function Inventory({ data, post }) {
  const [filter, setFilter] = useLinked("filter");
  const [sort, setSort] = useLinked("sort", "name");
  const [chosen, setChosen] = useState(new Set());
  const [helps, setHelps] = useState(false);
  const field = useRef(null);
  const rows = useMemo(() => Object.values(data.rows ?? {}), [data.rows]);
  const seen = useMemo(() => sorted(rows.filter((row) => matches(row, filter)), sort), [rows, filter, sort]);
  const act = useMemo(() => (verb, plugins) => post(verb, { plugins }), []);
  const open = useMemo(
    () => (plugin) => {
      const href = pageHref(`plugins/${encodeURIComponent(plugin)}`);
      if (href) location.assign(href);
      else post("open", { plugin });
    },
    []
  );
  if (!data.header) return null;
  const clear = () => (filter ? setFilter("") : setChosen(new Set()));
  const help = () => setHelps((old) => !old);
  const count = filter ? `${seen.length} of ${rows.length}` : String(rows.length || "");
  return html`
    <${Header} header=${data.header} />
    <${Banners} banners=${data.banners} />
    <section class=${`bkg-card bkg-plugins ${data.stale ? "bkg-stale" : ""}`} aria-label="Plug-ins">
      <header class="bkg-card-head">
        <h2>Plug-ins</h2><span class="bkg-sub bkg-num" role="status">${count}</span>
        <input type="search" class="bkg-input bkg-filter" ref=${field} value=${filter} placeholder="Filter (press /)"
          aria-label="Filter by name, description, capability or state"
          onInput=${(event) => setFilter(event.target.value)}
          onKeyDown=${(event) => event.key === "Escape" && (setFilter(""), event.preventDefault())} />
        <${Bulk} rows=${seen} chosen=${chosen} act=${act} clear=${() => setChosen(new Set())} />
        <span class="bkg-push bkg-btns">
          <${Export} post=${post} table="plugins" name="plug-ins" disabled=${!seen.length} rows=${seen.map((row) => row.name)} />
          <${Button} label="?" name="Keys" hint="Keys" aria-pressed=${helps ? "true" : "false"} onClick=${help} />
        </span>
      </header>
      ${helps && html`<${Help} />`}
      <${Table} ...${{ rows, seen, sort, setSort, filter, setFilter, chosen, setChosen, act, open, help }}
        leave=${{ focus: () => field.current?.focus(), clear }} />
    </section>`;
}

export default live(Inventory);

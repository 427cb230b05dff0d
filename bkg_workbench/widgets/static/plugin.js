// The head of a plug-in's page, and which tab a view shows.
//
// The page's element gets `data-tab`; plugin.css shows the section of that name alone. The kernel is
// asked for a section's content when it is first looked at.

const LATER = { overview: "Overview", capabilities: "Capabilities", log: "Log", config: "Settings" };

function PluginLink({ name, post, children, ...more }) {
  const href = pageHref(`plugins/${encodeURIComponent(name)}`);
  const follow = (event) => {
    if (href) return;
    event.preventDefault();
    post("open", { plugin: name });
  };
  return html`<a href=${href ?? "#"} onClick=${follow} ...${more}>${children ?? name}</a>`;
}

function Back({ data, post }) {
  const href = pageHref("plugins");
  if (!href && !data.back) return html`<span class="bkg-dim">Plug-ins</span>`;
  const follow = (event) => {
    if (href) return;
    event.preventDefault();
    post("back");
  };
  return html`<a href=${href ?? "#"} onClick=${follow}>Plug-ins</a>`;
}

function Trail({ data, post }) {
  const step = (name, sign, label) => name
    ? html`<${PluginLink} name=${name} post=${post} class="bkg-step" title=${name} aria-label=${`${label}: ${name}`}>${sign}<//>`
    : html`<span class="bkg-step bkg-off" aria-hidden="true">${sign}</span>`;
  return html`<nav class="bkg-trail" aria-label="Plug-ins">
    <${Back} data=${data} post=${post} /><span class="bkg-dim" aria-hidden="true">/</span>
    <h1>${data.name}</h1>
    <span class="bkg-steps">${step(data.previous, "‹", "Previous plug-in")}${step(data.next, "›", "Next plug-in")}</span>
  </nav>`;
}

function Facts({ row, facts }) {
  const fact = (label, body, hint) => html`<span class="bkg-fact" key=${label} title=${hint ?? ""}><i>${label}</i> ${body}</span>`;
  const beat = row.beat && html`<span class=${row.beat.tone === "ok" ? "" : `bkg-tone bkg-${row.beat.tone}`}><${Ago} at=${row.beat.at} /></span>`;
  return html`<div class="bkg-plugin-facts">
    ${row.up_since && fact("up", html`<${Since} at=${row.up_since} />`)}
    ${beat && fact("beat", beat, row.beat.hint)}
    ${row.cpu && fact("CPU", row.cpu, "percent of one core")}
    ${row.memory && fact("memory", row.memory, "resident memory")}
    ${fact("restarts", html`${row.restarts}${row.last_exit ? html` <span class="bkg-dim">(last exit: ${row.last_exit})</span>` : null}`)}
    ${facts.map(({ label, value, href, hint }) => fact(label, href
      ? html`<a href=${href} target="_blank" rel="noopener noreferrer">${value}</a>` : value, hint))}
  </div>`;
}

function Missing({ data, post }) {
  return html`<section class="bkg-card"><${Empty}>
    <b>${data.removed ? `${data.name} has been removed from this workspace.` : `This workspace has no plug-in named ${data.name}.`}</b>
    <br />${data.known.length
      ? html`It has ${data.known.map((name, index) => html`${index ? ", " : ""}<${PluginLink} key=${name} name=${name} post=${post} />`)}.`
      : "It has no plug-ins yet."}
    <br />The page comes to life by itself when a plug-in of that name appears.<//></section>`;
}

function Tabs({ tabs, tab, setTab }) {
  const list = useRef(null);
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = (tabs.findIndex((one) => one.key === tab) + step + tabs.length) % tabs.length;
    setTab(tabs[at].key);
    list.current.querySelectorAll('[role="tab"]')[at].focus();
    event.preventDefault();
  };
  return html`<div class="bkg-tabs" role="tablist" aria-label="Parts of the page" data-keys ref=${list} onKeyDown=${onKeyDown}>${tabs.map((one) => html`
    <button type="button" role="tab" key=${one.key} data-tab=${one.key} aria-selected=${one.key === tab ? "true" : "false"}
      tabIndex=${one.key === tab ? 0 : -1} onClick=${() => setTab(one.key)}>${one.title}${
      one.count ? html`<span class="bkg-tab-count">${one.count}</span>` : null}${
      one.tone ? html`<span class=${`bkg-tab-dot bkg-${one.tone}`} title="worth a look"></span>` : null}</button>`)}</div>`;
}

function PluginHead({ data, post }) {
  const root = useRef(null);
  const tabs = data.tabs ?? [];
  const [linked, setTab] = useLinked("tab", data.tab);
  const known = tabs.some((one) => one.key === linked);
  const tab = known ? linked : data.tab;
  const isThere = !data.missing && tabs.length > 0;
  const isBuilt = (data.built ?? []).includes(tab);
  useLayoutEffect(() => {
    // The first drawing may come before the element is in its page, and a quiet plug-in brings no other.
    let frame = 0;
    const mark = () => {
      const page = root.current?.closest(".bkg-plugin-page");
      if (page) page.dataset.tab = isThere ? tab : "";
      else frame = requestAnimationFrame(mark);
    };
    mark();
    if (isPage() && isThere) document.title = `${data.name} · BKG Workbench`;
    return () => cancelAnimationFrame(frame);
  });
  useEffect(() => {
    if (isThere && !isBuilt) post("look", { tab });
  }, [isThere, isBuilt, tab]);
  return html`<div ref=${root}>
    <${Banners} banners=${data.banners} />
    <header class="bkg-plugin-head" data-plugin=${data.name} data-state=${data.row?.badge.text ?? ""}>
      <div class="bkg-plugin-title"><${Trail} data=${data} post=${post} />
        ${data.row && html`<${Badge} ...${data.row.badge} />`}
        ${data.row && html`<${Actions} row=${data.row} act=${(verb) => post(verb)} />`}</div>
      ${data.row?.description && html`<p class="bkg-plugin-about">${data.row.description}</p>`}
      ${data.row?.note && html`<p class=${`bkg-plugin-note bkg-tone bkg-${data.row.note.tone}`}>${data.row.note.text}</p>`}
      ${data.row && html`<${Facts} row=${data.row} facts=${data.facts} />`}
    </header>
    ${data.missing && html`<${Missing} data=${data} post=${post} />`}
    ${isThere && html`<${Tabs} tabs=${tabs} tab=${tab} setTab=${setTab} />`}
    ${isThere && !isBuilt && html`<${Empty}>Loading ${LATER[tab]?.toLowerCase() ?? "the panel"}…<//>`}
  </div>`;
}

export default live(PluginHead);

// The capabilities of a plug-in: one of them chosen, its form, and the runs made here.

function Traits({ one }) {
  const chip = (text, hint, tone = "") => html`<span class=${`bkg-chip ${tone}`} title=${hint} key=${text}>${text}</span>`;
  return html`<span class="bkg-chips">
    ${one.stream && chip("stream", "answers piece by piece")}
    ${one.idempotent && chip("idempotent", "asking twice does no harm")}
    ${one.destructive && chip("destructive", "it asks before it runs", "bkg-bad")}
    ${!one.served && chip("not served now", "its plug-in is not up, or does not serve it", "bkg-idle")}
  </span>`;
}

function CapabilityList({ data, choose }) {
  return html`<nav class="bkg-card bkg-cap-list" aria-label="Capabilities">${data.order.map((name) => {
    const one = data.capabilities[name];
    return html`<button type="button" key=${name} aria-current=${name === data.chosen ? "true" : undefined}
      class=${one.served ? "" : "bkg-unserved"} onClick=${() => choose(name)}>
      <span class="bkg-mono">${name}</span>
      <span class="bkg-cap-marks" aria-hidden="true">${one.stream ? "≋" : ""}${one.destructive ? "!" : ""}</span></button>`;
  })}</nav>`;
}

const CODES = [["python", "Python"], ["bkg", "bkg"], ["curl", "curl"]];

function Code({ code }) {
  const [tongue, setTongue] = useState("python");
  return html`<details class="bkg-code"><summary>As code</summary>
    <div class="bkg-btns">${CODES.map(([key, title]) => html`<${Button} key=${key} label=${title} tone="quiet"
      aria-pressed=${key === tongue ? "true" : "false"} onClick=${() => setTongue(key)} />`)}
      <span class="bkg-push"><${Button} label="Copy" tone="quiet" name="Copy the code" onClick=${() => copyText(code[tongue])} /></span></div>
    <pre>${code[tongue]}</pre></details>`;
}

function Ask({ data, one, post }) {
  const box = useRef(null);
  const isValid = data.form.isValid !== false;
  const go = (confirmed) => {
    flushIn(box.current);
    post("run", { confirmed });
  };
  const disabled = data.stale || !one.served;
  const hint = data.stale ? "The Host is out of reach" : one.served ? "" : "The plug-in is not up; start it first";
  return html`<section class="bkg-card bkg-ask" ref=${box} aria-label=${`Try ${one.name}`}
      onKeyDown=${(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !disabled && !one.destructive) go(false);
      }}>
    <header class="bkg-card-head"><h2 class="bkg-mono">${one.name}</h2><${Traits} one=${one} />
      <span class="bkg-sub bkg-push" title="what a caller's key must cover">scope <code>${one.scope}</code></span></header>
    <div class="bkg-card-body">
      ${one.description && html`<p class="bkg-cap-about">${one.description}</p>`}
      ${!one.typed && html`<p class="bkg-sub">It gives no schema, so its payload is written as JSON.</p>`}
      <${Form} form=${data.form} onEdit=${(edit) => post("edit", edit)} key=${data.chosen} />
      <${Code} code=${data.code} />
    </div>
    <footer class="bkg-ask-foot">
      <${Button} label=${isValid ? "Run" : "Run anyway"} tone="primary" name=${`Run ${one.name}`} data-run="true" disabled=${disabled} hint=${hint || "Ctrl+Enter"}
        confirm=${one.destructive ? "This changes things. Run it?" : undefined} onClick=${() => go(one.destructive)} />
      ${one.stream && html`<label class="bkg-check"><input type="checkbox" checked=${data.streamed === true}
        onChange=${(event) => post("stream", { on: event.target.checked })} /> as a stream</label>`}
      <label class="bkg-check">give up after <input class="bkg-input bkg-seconds" type="number" min="1" max="86400" value=${data.timeout}
        aria-label="Timeout in seconds" onChange=${(event) => post("timeout", { seconds: Number(event.target.value) })} /> s</label>
      ${hint && html`<span class="bkg-sub">${hint}.</span>`}
    </footer>
  </section>`;
}

// --- runs --------------------------------------------------------------------------------------

const STATES = { running: ["running", "busy"], ok: ["ok", "ok"], failed: ["failed", "bad"], cancelled: ["cancelled", "idle"] };

function Bar({ progress }) {
  const share = progress.total ? Math.max(0, Math.min(1, progress.value / progress.total)) : null;
  return html`<div class="bkg-progress"><progress max="1" value=${share ?? undefined} aria-label="Progress"></progress>
    <span class="bkg-num">${share === null ? progress.value : `${Math.round(share * 100)} %`}</span>
    ${progress.message && html`<span class="bkg-dim">${progress.message}</span>`}</div>`;
}

function Measures({ run }) {
  const part = (label, text) => html`<span class="bkg-fact" key=${label}><i>${label}</i> ${text}</span>`;
  return html`<span class="bkg-measures">
    ${run.first !== undefined && part("first piece", secondsOf(run.first))}
    ${run.stream && part("pieces", run.count)}
    ${run.seconds === undefined ? part("for", html`<${Since} at=${run.at} />`) : part("took", secondsOf(run.seconds))}
    ${run.bytes > 0 && part("size", bytesOf(run.bytes))}
  </span>`;
}

function Verdict({ verdict }) {
  if (!verdict || verdict.ok) return null;
  return html`<div class="bkg-banner bkg-warn"><b>The answer is not as its schema says.</b>${Object.entries(verdict.problems).map(
    ([at, what]) => html`<div key=${at}><code>${at || "/"}</code> ${what}</div>`)}</div>`;
}

function Failure({ error }) {
  if (!error) return null;
  return html`<div class="bkg-banner bkg-bad" role="alert">${error.text} <code>${error.code}</code></div>`;
}

function RunCard({ run, one, post, on, stale }) {
  const [text, tone] = STATES[run.state];
  const destructive = one?.destructive;
  return html`<article class="bkg-card bkg-run" data-run-state=${run.state} aria-label=${`Run ${run.id} of ${run.capability}`}>
    <header class="bkg-card-head"><${Badge} text=${text} tone=${tone} /><span class="bkg-mono">${run.capability}</span>
      <${Measures} run=${run} />
      ${run.verdict?.ok && html`<span class="bkg-sub bkg-tone bkg-ok" title="The answer is as the capability's schema says">✓ fits its schema</span>`}
      <span class="bkg-push bkg-btns">
        ${run.state === "running"
          ? html`<${Button} label="Cancel" name=${`Cancel run ${run.id}`} data-cancel="true" onClick=${() => post("cancel", { run: run.id })} />`
          : html`<${Button} label="Again" tone="quiet" name=${`Run ${run.capability} again`} hint="The same payload once more" disabled=${stale || !one?.served}
              confirm=${destructive ? "Run it again?" : undefined} onClick=${() => post("again", { run: run.id, confirmed: destructive })} />`}
        <${Button} label="To form" tone="quiet" name="Put its payload into the form" onClick=${() => post("load", { run: run.id })} /></span></header>
    <div class="bkg-card-body">
      <div class="bkg-asked" title=${run.payload}><span class="bkg-dim">payload</span> <code>${run.payload}</code> <span class="bkg-dim bkg-num"><${Ago} at=${run.at} /></span></div>
      ${run.progress && html`<${Bar} progress=${run.progress} />`}
      <${Failure} error=${run.error} />
      <${Verdict} verdict=${run.verdict} />
      <${Answer} run=${run} post=${post} on=${on} />
    </div>
  </article>`;
}

function History({ runs, shown, show, post }) {
  if (runs.length < 2) return null;
  return html`<section class="bkg-card bkg-history" aria-label="Runs"><header class="bkg-card-head"><h3>Runs</h3><span class="bkg-sub">${runs.length}</span>
      <span class="bkg-push"><${Button} label="Clear" tone="quiet" name="Forget the runs that have ended" onClick=${() => post("forget")} /></span></header>
    <div class="bkg-history-list">${runs.map((run) => html`<button type="button" key=${run.id} aria-current=${run.id === shown ? "true" : undefined} onClick=${() => show(run.id)}>
      <${Badge} text=${STATES[run.state][0]} tone=${STATES[run.state][1]} /><span class="bkg-mono">${run.capability}</span>
      <code>${run.payload}</code><span class="bkg-num bkg-dim">${run.seconds === undefined ? "" : secondsOf(run.seconds)}</span></button>`)}</div></section>`;
}

function TryIt({ data, post, on }) {
  const [linked, setLinked] = useLinked("capability");
  const [picked, setPicked] = useState(null);
  const newest = data.history?.[0];
  const answer = useRef(null);
  const before = useRef(undefined);
  useEffect(() => {
    setPicked(null);
    // A run that was just begun comes into view, where a long form has pushed it out.
    const isNew = before.current !== undefined && newest > before.current;
    if (data.history) before.current = newest ?? 0;
    const top = answer.current?.getBoundingClientRect().top ?? 0;
    if (isNew && top > window.innerHeight - 160) answer.current.scrollIntoView({ block: "start" });
  }, [newest, Boolean(data.history)]);
  useEffect(() => {
    if (linked && data.capabilities?.[linked] && linked !== data.chosen) post("choose", { capability: linked });
  }, [Boolean(data.capabilities)]);
  if (!data.order) return null;
  if (!data.order.length) {
    return html`<section class="bkg-card"><${Empty}><b>${data.plugin} declares no capabilities.</b><br />
      List them in its definition (<code>plugins/plugins.json</code>), and serve them with <code>@plugin.capability</code>.<//></section>`;
  }
  const choose = (capability) => {
    setLinked(capability);
    post("choose", { capability });
  };
  const runs = data.history.map((id) => data.runs[id]).filter(Boolean);
  const run = runs.find((r) => r.id === picked) ?? runs[0];
  const one = data.capabilities[data.chosen];
  return html`<div class="bkg-try"><${CapabilityList} data=${data} choose=${choose} />
    <div class="bkg-try-main">
      <${Ask} data=${data} one=${one} post=${post} key=${data.chosen} />
      <div class="bkg-run-place" ref=${answer}></div>
      ${run && html`<${RunCard} key=${run.id} run=${run} one=${data.capabilities[run.capability]} post=${post} on=${on} stale=${data.stale} />`}
      <${History} runs=${runs} shown=${run?.id} show=${setPicked} post=${post} />
    </div></div>`;
}

export default live(TryIt);

// The settings of one plug-in: form, what differs, save with reason and probation, conflict, versions.
//
// Owns the section's frame and what the operator asks for; the form itself is forms.js. Nothing here
// knows what is saved: all of it comes from `config_panel.ConfigPanel`.

const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const WATCH_SECONDS = 60;

function Config({ data, post }) {
  const root = useRef(null);
  const dirty = data.isDirty === true;
  useEffect(() => {
    if (!dirty) return undefined;
    const warn = (event) => {
      event.preventDefault();
      event.returnValue = "";
    };
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [dirty]);
  const act = (verb, fields) => {
    flushIn(root.current); // what was just typed belongs to it
    post(verb, fields);
  };
  if (data.isGone) return html`<${Empty}>${data.plugin} is not in this workspace any more.<//>`;
  return html`<div class="bkg-config" ref=${root} data-dirty=${dirty ? "true" : "false"}>
    <${ConfigHead} data=${data} act=${act} />
    <${ConfigBanners} data=${data} act=${act} />
    ${data.conflict && html`<${Conflict} conflict=${data.conflict} act=${act} />`}
    ${data.history && html`<${History} history=${data.history} data=${data} act=${act} />`}
    ${data.form ? html`<${Form} form=${data.form} onEdit=${(edit) => post("edit", edit)} />`
      : !data.failure && html`<div class="bkg-config-wait" role="status">Reading the settings…</div>`}
    ${data.form && dirty && html`<${SaveBar} data=${data} act=${act} root=${root} />`}
  </div>`;
}

function ConfigHead({ data, act }) {
  return html`<div class="bkg-config-head">
    <span class="bkg-config-title">Settings</span>
    ${data.version !== undefined && html`<span class="bkg-sub" data-version=${data.version}>version ${data.version}</span>`}
    ${data.busy && data.busy !== "loading" && html`<span class="bkg-sub" role="status">${data.busy}…</span>`}
    <span class="bkg-push"></span>
    ${data.form && html`<button type="button" class="bkg-btn" aria-pressed=${data.history ? "true" : "false"}
      onClick=${() => act("history", { open: !data.history })}>History</button>`}
  </div>`;
}

function ConfigBanners({ data, act }) {
  const { outcome, failure } = data;
  return html`<div class="bkg-config-banners" aria-live="polite">
    ${data.isStale && html`<${Say} tone="warn">The Host is out of reach: nothing can be saved now.<//>`}
    ${failure && html`<${Say} tone="bad">The settings could not be read: ${failure}
      <${Button} label="Try again" onClick=${() => act("reload")} busy=${data.busy === "loading"} /><//>`}
    ${outcome && html`<${Say} tone=${outcome.tone} name="outcome">${outcome.text}
      ${outcome.restart && html`<${Button} label="Restart now" confirm=${`Restart ${data.plugin}?`} onClick=${() => act("restart")} />`}
      <button type="button" class="bkg-f-icon" aria-label="Dismiss" onClick=${() => act("dismiss")}>×</button><//>`}
    ${data.restartNeeded && !outcome?.restart && html`<${Say} tone="warn" name="restart">What is saved counts once ${data.plugin} is restarted.
      <${Button} label="Restart now" confirm=${`Restart ${data.plugin}?`} onClick=${() => act("restart")} /><//>`}
    ${data.watchedUntil && html`<${Probation} until=${data.watchedUntil} version=${data.version} />`}
    ${data.takenBack && html`<${Say} tone="warn" name="taken-back">${data.takenBack.text} <${Ago} at=${data.takenBack.at} /><//>`}
  </div>`;
}

const Say = ({ tone, name, children }) => html`<div class=${`bkg-banner bkg-${tone}`} data-say=${name}><div class="bkg-config-say">${children}</div></div>`;

function Probation({ until, version }) {
  const left = (until - useClock()) / 1000;
  return html`<${Say} tone="busy" name="probation"><span>Version ${version} is on probation: it is taken back by itself if the plug-in
    degrades or fails.</span> <b>${left > 0 ? `${duration(Math.ceil(left))} left` : "about to be confirmed"}</b><//>`;
}

// --- differences -------------------------------------------------------------------------------

function Changes({ changes, clashes = [], empty = "No difference." }) {
  if (!changes?.length) return html`<p class="bkg-sub">${empty}</p>`;
  return html`<ul class="bkg-diff">${changes.map((change) => html`<li key=${change.path} data-path=${change.path} data-op=${change.op}
      class=${clashes.some((at) => at === change.path || change.path.startsWith(`${at}/`)) ? "bkg-clash" : ""}>
    <code class="bkg-diff-path">${change.path}</code>
    ${change.secret ? html`<span class="bkg-sub">secret replaced</span>` : html`<span class="bkg-diff-values">
      ${change.before !== undefined ? html`<del>${change.before}</del>` : html`<span class="bkg-sub">not set</span>`}
      <span class="bkg-diff-arrow" aria-label="becomes">→</span>
      ${change.after !== undefined ? html`<ins>${change.after}</ins>` : html`<span class="bkg-sub">not set</span>`}</span>`}
  </li>`)}</ul>`;
}

function SaveBar({ data, act, root }) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const [watched, setWatched] = useState(false);
  const [seconds, setSeconds] = useState(String(WATCH_SECONDS));
  const problems = Object.entries(data.form.errors ?? {});
  const busy = data.busy === "saving";
  const canary = watched && data.isUp;
  const isTime = Number(seconds) > 0 && Number(seconds) <= 86400;
  const able = data.isValid && !data.isStale && !data.conflict && (!canary || isTime);
  const count = data.changes?.length ?? 0;
  const save = () => act("save", { reason, ...(canary ? { canarySeconds: Number(seconds) } : {}) });
  const first = () => revealIn(root.current, problems[0][0]);
  return html`<div class="bkg-savebar" role="region" aria-label="Unsaved changes">
    ${open && html`<div class="bkg-review">
      <${Changes} changes=${data.changes} empty="Nothing that would be saved differs." />
      <div class="bkg-review-how">
        <label class="bkg-review-reason"><span class="bkg-hidden">Reason</span>
          <input class="bkg-input" type="text" placeholder="Reason (optional, kept with the version)" maxlength="500" value=${reason}
            onInput=${(event) => setReason(event.target.value)} /></label>
        ${data.isUp && html`<span class="bkg-review-canary"><label><input type="checkbox" checked=${watched}
            onChange=${(event) => setWatched(event.target.checked)} /> Apply now, watch for</label>
          <input class="bkg-input" type="text" inputmode="numeric" aria-label="Seconds to watch" value=${seconds} disabled=${!watched}
            aria-invalid=${canary && !isTime ? "true" : undefined} onInput=${(event) => setSeconds(event.target.value)} /> s,
          and take back what does harm</span>`}
      </div>
    </div>`}
    <div class="bkg-savebar-line">
      <span class="bkg-savebar-count">${count ? plural(count, "unsaved change") : "Unsaved input"}</span>
      ${problems.length > 0 && html`<button type="button" class="bkg-f-link bkg-savebar-problems" onClick=${first}>${plural(problems.length, "problem")} to mend</button>`}
      ${data.conflict && html`<span class="bkg-sub">decide about the other version first</span>`}
      <span class="bkg-push"></span>
      <${Button} label="Discard" confirm="Discard what you typed?" disabled=${busy} onClick=${() => act("discard")} />
      ${!open ? html`<button type="button" class="bkg-btn bkg-primary" disabled=${!able} onClick=${() => {
          flushIn(root.current);
          setOpen(true);
        }}>Review and save…</button>`
        : html`<button type="button" class="bkg-btn bkg-quiet" onClick=${() => setOpen(false)}>Hide changes</button>
          <button type="button" class="bkg-btn bkg-primary" disabled=${!able || busy} aria-busy=${busy ? "true" : undefined}
            onClick=${save}>${busy ? "Saving…" : `Save ${count ? plural(count, "change") : ""}`}</button>`}
    </div>
  </div>`;
}

function Conflict({ conflict, act }) {
  const { version, author, at, changes, clashes } = conflict;
  return html`<div class="bkg-banner bkg-warn bkg-conflict" role="alert" data-say="conflict">
    <p><b>Version ${version} was saved ${author ? `by ${author} ` : "by somebody else "}</b>${at && html`<${Ago} at=${at} /> `}while you were editing.
      ${clashes.length ? ` ${plural(clashes.length, "value")} of yours and theirs clash (marked).` : " Nothing of it clashes with yours."}</p>
    <${Changes} changes=${changes} clashes=${clashes} empty="It changes no settings." />
    <div class="bkg-btns">
      <${Button} tone="primary" label=${clashes.length ? "Keep mine on top of theirs" : "Bring both together"} onClick=${() => act("merge")} />
      <${Button} label="Take theirs" confirm="Drop what you typed?" onClick=${() => act("theirs")} />
    </div>
  </div>`;
}

// --- versions ----------------------------------------------------------------------------------

function History({ history, data, act }) {
  if (history.isLoading) return html`<div class="bkg-history bkg-sub" role="status">Reading the versions…</div>`;
  return html`<div class="bkg-history" role="region" aria-label="Versions">
    <table class="bkg-table"><thead><tr><th scope="col">Version</th><th scope="col">Saved</th><th scope="col">By</th>
      <th scope="col">Reason</th><th scope="col"></th></tr></thead>
    <tbody>${history.versions.map((one) => {
      const open = history.open?.version === one.version;
      return html`<tr key=${one.version} data-row=${one.version}><td class="bkg-num">${one.version}</td>
        <td class="bkg-num"><${Ago} at=${one.at} /></td><td>${one.author}</td>
        <td class="bkg-history-reason">${one.reason ?? html`<span class="bkg-sub">–</span>`}</td>
        <td class="bkg-right bkg-history-tools">
          <button type="button" class="bkg-btn bkg-quiet" aria-expanded=${open ? "true" : "false"} onClick=${() => act("version", { version: one.version })}>
            ${open ? "Hide" : plural(one.count, "change")}</button>
          ${one.isCurrent ? html`<span class="bkg-badge bkg-ok">current</span>`
            : one.canRestore && html`<${Button} label="Restore" confirm=${`Restore ${one.version}?`} disabled=${Boolean(data.busy) || data.isStale}
                name=${`Restore version ${one.version}`} onClick=${() => act("restore", { version: one.version })} />`}</td></tr>
        ${open && html`<tr key=${`${one.version}-open`} class="bkg-history-open"><td colspan="5"><div class="bkg-history-two">
          <div><p class="bkg-sub">What it changed</p><${Changes} changes=${history.open.diff} /></div>
          ${!one.isCurrent && html`<div><p class="bkg-sub">What a restore would change</p><${Changes} changes=${history.open.restore} /></div>`}
        </div></td></tr>`}`;
    })}</tbody></table>
  </div>`;
}

export default live(Config);

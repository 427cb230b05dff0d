// A plug-in's story, newest first; what is amiss; what it was asked lately.

const STORY_ROWS = 12;
const CALL_ROWS = 15;

function Remarks({ remarks }) {
  if (!remarks.length) return null;
  return html`<div class="bkg-remarks" role="status">${remarks.map(
    (remark) => html`<div class=${`bkg-banner bkg-${remark.tone}`} key=${remark.text}>${remark.text}${
      remark.at ? html` <span class="bkg-dim"><${Ago} at=${remark.at} /></span>` : null}</div>`
  )}</div>`;
}

// How long a chapter lasted: until the next one, or until now.
function Lasted({ chapter, present }) {
  if (present) return html`<${Since} at=${chapter.at} />`;
  if (chapter.until === undefined) return null;
  const ms = chapter.until - chapter.at;
  return html`<span>${ms < 1000 ? `${ms} ms` : ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms / 1000)}</span>`;
}

function More({ shown, all, onClick }) {
  if (all <= shown) return null;
  return html`<button type="button" class="bkg-btn bkg-quiet bkg-more-rows" onClick=${onClick}>Show ${all - shown} more</button>`;
}

function Chapters({ data, post }) {
  const [rows, setRows] = useState(STORY_ROWS);
  const chapters = data.chapters ?? [];
  const earlier = () => {
    setRows(1000);
    post("earlier");
  };
  return html`<section class="bkg-card" aria-label="Story">
    <header class="bkg-card-head"><h3>Story</h3><span class="bkg-sub">${chapters.length || ""}</span>
      <span class="bkg-push bkg-btns">
        ${data.earlier && html`<${Button} label="Earlier" tone="quiet" hint="Ask the Host for older events" onClick=${earlier} />`}
        <${Export} post=${post} table="story" disabled=${!chapters.length} /></span></header>
    ${chapters.length
      ? html`<ol class="bkg-chapters">${chapters.slice(0, rows).map((chapter, index) => html`
          <li key=${`${chapter.at} ${chapter.event} ${chapter.state}`} class=${`bkg-${chapter.tone}`}>
            <span class="bkg-dot" aria-hidden="true"></span>
            <span class="bkg-chapter-state bkg-tone">${chapter.state}</span>
            <span class="bkg-chapter-why">${chapter.event}${chapter.why && chapter.why !== chapter.event ? html`<span class="bkg-dim"> · ${chapter.why}</span>` : null}</span>
            <span class="bkg-num bkg-dim bkg-chapter-lasted" title="how long it stayed so"><${Lasted} chapter=${chapter}
              present=${index === 0 && !data.stale} /></span>
            <span class="bkg-num bkg-dim"><${Ago} at=${chapter.at} /></span>
          </li>`)}</ol>
        <${More} shown=${rows} all=${chapters.length} onClick=${() => setRows(1000)} />`
      : html`<${Empty}><b>Nothing has happened yet.</b><br />Start it, and its story begins here.<//>`}
  </section>`;
}

const took = (ms) => (ms < 1 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

function Calls({ data, post }) {
  const [rows, setRows] = useState(CALL_ROWS);
  const calls = data.calls;
  return html`<section class="bkg-card" aria-label="Requests">
    <header class="bkg-card-head"><h3>Requests</h3><span class="bkg-sub">${calls?.length ? `latest ${calls.length}` : ""}</span>
      <span class="bkg-push"><${Export} post=${post} table="calls" name="requests" disabled=${!calls?.length} /></span></header>
    ${calls === undefined
      ? html`<${Empty}>Loading…<//>`
      : calls.length
        ? html`<div class="bkg-scroll"><table class="bkg-table bkg-calls">
            <thead><tr><th scope="col">When</th><th scope="col">Capability</th><th scope="col">Asked by</th>
              <th scope="col">Outcome</th><th scope="col" class="bkg-right">Took</th></tr></thead>
            <tbody>${calls.slice(0, rows).map((call) => html`<tr key=${call.seq}>
              <td class="bkg-num bkg-dim"><${Ago} at=${call.at} /></td>
              <td class="bkg-mono">${call.capability}</td><td>${call.caller}</td>
              <td><span class=${`bkg-tone ${call.outcome === "ok" ? "bkg-ok" : "bkg-bad"}`}>${call.outcome}</span></td>
              <td class="bkg-num bkg-right">${took(call.duration_ms)}</td></tr>`)}</tbody></table></div>
          <${More} shown=${rows} all=${calls.length} onClick=${() => setRows(1000)} />`
        : html`<${Empty}><b>Nobody has asked it for anything yet.</b><br />Try one of its capabilities.<//>`}
  </section>`;
}

function StoryPanel({ data, post }) {
  if (!data.chapters) return null;
  return html`<${Remarks} remarks=${data.remarks} />
    <div class="bkg-story"><${Chapters} data=${data} post=${post} /><${Calls} data=${data} post=${post} /></div>`;
}

export default live(StoryPanel);

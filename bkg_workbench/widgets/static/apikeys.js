// The panel of apikeys: keys, users, sessions and the trail. A secret comes as a message, is shown to
// the page that asked for it, and is forgotten when it is put away.

const DAY = 86400;
const SPANS = [
  ["", "never"], [DAY, "in 1 day"], [7 * DAY, "in 7 days"], [30 * DAY, "in 30 days"],
  [90 * DAY, "in 90 days"], [365 * DAY, "in 1 year"],
];
const OVERLAPS = [[0, "ends now"], [3600, "1 hour"], [DAY, "1 day"], [7 * DAY, "7 days"]];
const REFRESH_MS = 10000;

const rowsOf = (table, key) => Object.values(table ?? {}).sort((a, b) => key(b) - key(a));
const dash = html`<span class="bkg-dim">–</span>`;
const moment = (at) => (at ? html`<${Ago} at=${at} />` : dash);

function Until({ at }) {
  const now = useClock();
  if (!at) return html`<span class="bkg-dim">never</span>`;
  const words = at <= now ? "has passed" : `in ${duration((at - now) / 1000)}`;
  return html`<time dateTime=${new Date(at).toISOString()} title=${exactly(at)}>${words}</time>`;
}

function Scopes({ scopes, used }) {
  if (!scopes?.length) return html`<span class="bkg-dim">none</span>`;
  const covers = (grant, name) => grant === name || grant === "admin" || grant === "*" ||
    (grant.endsWith(".*") && name.startsWith(grant.slice(0, -1)));
  const count = (grant) => Object.entries(used ?? {}).reduce((n, [name, uses]) => n + (covers(grant, name) ? uses : 0), 0);
  return html`<div class="bkg-chips">${scopes.map((scope) => {
    const uses = used ? count(scope) : 0;
    const hint = used ? (uses ? `used ${uses} times in 30 days` : "not used in 30 days") : "";
    return html`<span key=${scope} class=${`bkg-chip ${uses ? "ak-used" : ""}`} title=${hint}>${scope}</span>`;
  })}</div>`;
}

// Scopes, chosen one by one from what there is, or typed.
function Pick({ all, chosen, choose }) {
  const [text, setText] = useState("");
  const list = useMemo(() => `ak-${Math.random().toString(36).slice(2)}`, []);
  const add = (value) => {
    const words = value.split(/[\s,]+/).filter(Boolean).filter((w) => !chosen.includes(w));
    if (words.length) choose([...chosen, ...words]);
    setText("");
  };
  const type = (event) => (all.includes(event.target.value) ? add(event.target.value) : setText(event.target.value));
  return html`<div class="ak-picked">
    ${chosen.map((scope) => html`<button type="button" key=${scope} class="bkg-chip" aria-label=${`Remove ${scope}`}
      title="Remove" onClick=${() => choose(chosen.filter((s) => s !== scope))}>${scope} ×</button>`)}
    <input class="bkg-input" list=${list} value=${text} placeholder="repo.* or llm.chat" aria-label="Add a scope"
      onInput=${type} onBlur=${() => add(text)}
      onKeyDown=${(event) => event.key === "Enter" && (event.preventDefault(), add(text))} />
    <datalist id=${list}>${all.filter((s) => !chosen.includes(s)).map((s) => html`<option key=${s} value=${s} />`)}</datalist>
  </div>`;
}

function Secret({ secret, close }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(secret.token);
    setCopied(true);
  };
  return html`<div class="ak-secret" role="alert">
    <b>This is the only time the key is shown.</b> Keep it where your secrets are; apikeys has only its hash.
    ${secret.until && html` The secret before it is valid for <${Until} at=${secret.until} /> more.`}
    <output data-secret=${secret.id}>${secret.token}</output>
    <div class="bkg-btns">
      <${Button} label=${copied ? "Copied" : "Copy"} tone="primary" onClick=${copy} />
      <${Button} label="I have kept it" onClick=${close} data-verb="kept" />
    </div>
  </div>`;
}

// --- keys --------------------------------------------------------------------------------------

function NewKey({ data, ask, close }) {
  const users = Object.values(data.users ?? {}).filter((u) => !u.disabled);
  const [user, setUser] = useState(users.find((u) => u.name === "admin")?.name ?? users[0]?.name ?? "");
  const [scopes, setScopes] = useState([]);
  const [label, setLabel] = useState("");
  const [span, setSpan] = useState(String(90 * DAY));
  const [rate, setRate] = useState("");
  const make = (event) => {
    event.preventDefault();
    ask("createKey", {
      user, scopes, label, expiresInSeconds: span ? Number(span) : null, ratePerMinute: rate ? Number(rate) : null,
    });
    close();
  };
  return html`<form class="ak-form" onSubmit=${make}>
    <label>For<select class="bkg-input" value=${user} onChange=${(e) => setUser(e.target.value)}>${users.map(
      (u) => html`<option key=${u.name} value=${u.name}>${u.name}</option>`)}</select></label>
    <label>Label<input class="bkg-input" value=${label} maxlength="200" placeholder="what it is for" onInput=${(e) => setLabel(e.target.value)} /></label>
    <label>Ends<select class="bkg-input" value=${span} onChange=${(e) => setSpan(e.target.value)}>${SPANS.map(
      ([seconds, words]) => html`<option key=${words} value=${String(seconds)}>${words}</option>`)}</select></label>
    <label>Requests a minute<input class="bkg-input" type="number" min="1" max="1000000" value=${rate} placeholder="no limit" onInput=${(e) => setRate(e.target.value)} /></label>
    <label class="ak-wide">May<${Pick} all=${data.scopes ?? []} chosen=${scopes} choose=${setScopes} /></label>
    <div class="ak-end"><button class="bkg-btn bkg-primary" disabled=${!user || !scopes.length}>Create key</button>
      <${Button} label="Cancel" onClick=${close} />
      ${!scopes.length && html`<span class="bkg-sub">A key needs at least one scope.</span>`}</div>
  </form>`;
}

const keyBadge = (key) => key.revoked_at ? { text: "revoked", tone: "bad" }
  : !key.isValid ? { text: "expired", tone: "idle" }
    : key.overlap_until ? { text: "rotated", tone: "busy", hint: "the secret before it is valid for a while" }
      : { text: "valid", tone: "ok" };

function KeyRow({ entry, ask, rotating, rotate }) {
  const off = !entry.isValid;
  return html`<tr class=${off ? "ak-off" : ""} data-key=${entry.id}>
    <td><div class="ak-name">${entry.label || html`<span class="bkg-dim">no label</span>`}</div>
      <span class="bkg-mono bkg-dim">${entry.masked}</span></td>
    <td>${entry.user}</td>
    <td><${Badge} ...${keyBadge(entry)} /></td>
    <td><${Scopes} scopes=${entry.scopes} used=${entry.usedScopes} />
      ${entry.ratePerMinute && html`<span class="bkg-sub">${entry.ratePerMinute} a minute</span>`}</td>
    <td class="bkg-num"><${Until} at=${entry.expires_at} /></td>
    <td class="bkg-num">${moment(entry.last_used_at)}</td>
    <td class="ak-actions">${!off && html`<div class="bkg-btns">${rotating
      ? html`<span class="bkg-sub">old secret:</span>${OVERLAPS.map(([seconds, words]) => html`<${Button} key=${words} label=${words}
          name=${`Rotate ${entry.id}, old secret: ${words}`} onClick=${() => { ask("rotateKey", { id: entry.id, overlapSeconds: seconds }); rotate(null); }} />`)}
        <${Button} label="×" name="Do not rotate" tone="quiet" onClick=${() => rotate(null)} />`
      : html`<${Button} label="Rotate" name=${`Rotate ${entry.id}`} onClick=${() => rotate(entry.id)} data-verb="rotate" />
        <${Button} label="Revoke" name=${`Revoke ${entry.id}`} confirm="Revoke?" onClick=${() => ask("revokeKey", { id: entry.id })} data-verb="revoke" />`}
    </div>`}</td>
  </tr>`;
}

function Keys({ data, ask, post }) {
  const [making, setMaking] = useState(false);
  const [rotating, setRotating] = useState(null);
  const keys = rowsOf(data.keys, (key) => key.created_at);
  return html`<section class="bkg-card" aria-label="API keys">
    <header class="bkg-card-head"><h2>API keys</h2>
      <label class="bkg-sub bkg-push"><input type="checkbox" checked=${data.ended} onChange=${(e) => post("ended", { on: e.target.checked })} /> with ended ones</label>
      <${Button} label="New key" tone="primary" disabled=${!data.up || making} onClick=${() => setMaking(true)} data-verb="new-key" /></header>
    ${making && html`<${NewKey} data=${data} ask=${ask} close=${() => setMaking(false)} />`}
    ${keys.length ? html`<div class="bkg-scroll"><table class="bkg-table"><thead><tr>
      <th>Key</th><th>User</th><th>State</th><th>May</th><th>Ends</th><th>Last used</th><th></th></tr></thead>
      <tbody>${keys.map((key) => html`<${KeyRow} key=${key.id} entry=${key} ask=${ask} rotating=${rotating === key.id} rotate=${setRotating} />`)}</tbody></table></div>`
      : html`<${Empty}>No keys yet. <b>New key</b> makes one for a program that uses the gateway.<//>`}
  </section>`;
}

// --- users -------------------------------------------------------------------------------------

function UserForm({ data, ask, close, user, kind }) {
  const [name, setName] = useState(user?.name ?? "");
  const [password, setPassword] = useState("");
  const [scopes, setScopes] = useState(user?.scopes ?? []);
  const save = (event) => {
    event.preventDefault();
    if (kind === "password") ask("setPassword", { user: name, password });
    else if (kind === "scopes") ask("updateUser", { name, scopes });
    else ask("createUser", { name, password, scopes });
    close();
  };
  const ready = name && (kind === "scopes" || password);
  return html`<form class="ak-form" onSubmit=${save}>
    <label>Name<input class="bkg-input" value=${name} disabled=${!!user} autocomplete="off" pattern="[a-z0-9][a-z0-9._@\\-]*" maxlength="64" onInput=${(e) => setName(e.target.value)} /></label>
    ${kind !== "scopes" && html`<label>Password<input class="bkg-input" type="password" autocomplete="new-password" value=${password} onInput=${(e) => setPassword(e.target.value)} /></label>`}
    ${kind !== "password" && html`<label class="ak-wide">May<${Pick} all=${data.scopes ?? []} chosen=${scopes} choose=${setScopes} /></label>`}
    <div class="ak-end"><button class="bkg-btn bkg-primary" disabled=${!ready}>${{ password: "Set password", scopes: "Save scopes" }[kind] ?? "Create user"}</button>
      <${Button} label="Cancel" onClick=${close} />
      ${kind === "password" && html`<span class="bkg-sub">The user's sessions end; keys stay.</span>`}</div>
  </form>`;
}

function Users({ data, ask }) {
  const [form, setForm] = useState(null); // {kind, user}
  const users = Object.values(data.users ?? {}).sort((a, b) => (a.name < b.name ? -1 : 1));
  const edit = (kind, user) => setForm({ kind, user });
  return html`<section class="bkg-card" aria-label="Users">
    <header class="bkg-card-head"><h2>Users</h2>
      <span class="bkg-push"></span><${Button} label="New user" tone="primary" disabled=${!data.up} onClick=${() => edit("new")} data-verb="new-user" /></header>
    ${form && html`<${UserForm} key=${form.kind + (form.user?.name ?? "")} data=${data} ask=${ask} ...${form} close=${() => setForm(null)} />`}
    <div class="bkg-scroll"><table class="bkg-table"><thead><tr><th>User</th><th>State</th><th>May</th><th>Last login</th><th></th></tr></thead>
    <tbody>${users.map((user) => html`<tr key=${user.name} data-user=${user.name} class=${user.disabled ? "ak-off" : ""}>
      <td class="ak-name">${user.name}</td>
      <td><${Badge} ...${user.disabled ? { text: "disabled", tone: "bad" } : { text: "enabled", tone: "ok" }} /></td>
      <td><${Scopes} scopes=${user.scopes} /></td>
      <td class="bkg-num">${moment(user.last_login_at)}</td>
      <td class="ak-actions"><div class="bkg-btns">
        <${Button} label="Scopes" name=${`Scopes of ${user.name}`} onClick=${() => edit("scopes", user)} />
        <${Button} label="Password" name=${`Password of ${user.name}`} onClick=${() => edit("password", user)} />
        ${user.disabled
          ? html`<${Button} label="Enable" name=${`Enable ${user.name}`} onClick=${() => ask("updateUser", { name: user.name, disabled: false })} />`
          : html`<${Button} label="Disable" name=${`Disable ${user.name}`} confirm="Disable?" onClick=${() => ask("updateUser", { name: user.name, disabled: true })} />`}
        <${Button} label="Delete" name=${`Delete ${user.name}`} confirm="Delete?" onClick=${() => ask("deleteUser", { name: user.name })} data-verb="delete" />
      </div></td></tr>`)}</tbody></table></div>
  </section>`;
}

// --- sessions ----------------------------------------------------------------------------------

function Sessions({ data, ask }) {
  const sessions = rowsOf(data.sessions, (one) => one.created_at);
  return html`<section class="bkg-card" aria-label="Sessions">
    <header class="bkg-card-head"><h2>Sessions</h2></header>
    ${sessions.length ? html`<div class="bkg-scroll"><table class="bkg-table"><thead><tr><th>User</th><th>Since</th><th>From</th><th>Ends</th><th>Last used</th><th></th></tr></thead>
      <tbody>${sessions.map((one) => html`<tr key=${one.id} data-session=${one.id}>
        <td><span class="ak-name">${one.user}</span> <span class="bkg-mono bkg-dim">${one.id}</span></td>
        <td class="bkg-num">${moment(one.created_at)}</td><td>${one.source || dash}</td>
        <td class="bkg-num"><${Until} at=${one.expires_at} /></td><td class="bkg-num">${moment(one.last_used_at)}</td>
        <td class="ak-actions"><div class="bkg-btns"><${Button} label="End" name=${`End session ${one.id}`} confirm="End it?" onClick=${() => ask("revokeSession", { id: one.id })} />
          <${Button} label="End all" name=${`End all sessions of ${one.user}`} confirm=${`End all of ${one.user}?`} onClick=${() => ask("revokeSessions", { user: one.user })} /></div></td>
      </tr>`)}</tbody></table></div>`
      : html`<${Empty}>Nobody is logged in. <code>bkg login</code> or <code>POST /auth/login</code> begins a session.<//>`}
  </section>`;
}

// --- the trail ---------------------------------------------------------------------------------

const told = (detail) => Object.entries(detail ?? {}).map(([k, v]) => `${k} ${Array.isArray(v) ? v.join(" ") : v}`).join(" · ");

function Trail({ data, post }) {
  const rows = rowsOf(data.trail, (row) => row.seq);
  const verdict = data.verdict;
  return html`<section class="bkg-card" aria-label="Audit">
    <header class="bkg-card-head"><h2>Audit trail</h2><span class="bkg-sub">the newest ${rows.length}</span>
      <span class="bkg-push"></span><${Button} label="Verify" disabled=${!data.up} onClick=${() => post("verify")} hint="Check the chain from its first row" data-verb="verify" /></header>
    ${verdict && html`<div class=${`ak-verdict bkg-${verdict.isWhole ? "ok" : "bad"}`} role="status">
      <${Badge} text=${verdict.isWhole ? "whole" : "broken"} tone=${verdict.isWhole ? "ok" : "bad"} /> ${
        verdict.isWhole ? `${verdict.records} records. Note the head elsewhere: ` : verdict.why}
      ${verdict.isWhole && html`<code>${verdict.records}:${verdict.head}</code>`}</div>`}
    <div class="bkg-scroll"><table class="bkg-table"><thead><tr><th class="bkg-right">#</th><th>When</th><th>Who</th><th>What</th><th>Whom</th><th>Outcome</th></tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.seq} data-seq=${row.seq}><td class="bkg-right bkg-num bkg-dim">${row.seq}</td>
        <td class="bkg-num">${moment(row.at)}</td><td class="ak-name">${row.actor}</td>
        <td><span class="bkg-mono">${row.action.replace(/^auth\./, "")}</span> <div class="ak-detail">${told(row.detail)}</div></td>
        <td class="bkg-mono">${row.target}</td>
        <td>${row.outcome === "ok" ? html`<span class="bkg-dim">ok</span>` : html`<${Badge} text=${row.outcome.replaceAll("_", " ")} tone="warn" />`}</td></tr>`)}</tbody></table></div>
  </section>`;
}

// --- first start -------------------------------------------------------------------------------

function FirstStart({ ask }) {
  const [one, setOne] = useState("");
  const [two, setTwo] = useState("");
  const begin = (event) => {
    event.preventDefault();
    ask("begin", { password: one });
    setOne("");
    setTwo("");
  };
  const why = one.length < 12 ? "At least 12 characters." : one !== two ? "Type the same twice." : "";
  return html`<section class="bkg-card" aria-label="First start"><header class="bkg-card-head"><h2>First start</h2></header>
    <form class="ak-form" onSubmit=${begin}>
      <div class="ak-wide">Choose the password of <b>admin</b>. apikeys keeps only its hash and starts with it.</div>
      <label>Password<input class="bkg-input" type="password" autocomplete="new-password" value=${one} onInput=${(e) => setOne(e.target.value)} /></label>
      <label>The same again<input class="bkg-input" type="password" autocomplete="new-password" value=${two} onInput=${(e) => setTwo(e.target.value)} /></label>
      <div class="ak-end"><button class="bkg-btn bkg-primary" disabled=${!!why}>Begin with this password</button><span class="bkg-sub">${why}</span></div>
    </form></section>`;
}

// --- all of it ---------------------------------------------------------------------------------

const TABS = [
  ["keys", "Keys", Keys, (d) => d.keyCount], ["users", "Users", Users, (d) => Object.keys(d.users ?? {}).length],
  ["sessions", "Sessions", Sessions, (d) => Object.keys(d.sessions ?? {}).length], ["audit", "Audit", Trail, () => null],
];

function ApikeysPanel({ data, post, on }) {
  const [tab, setTab] = useLinked("part", "keys");
  const [secret, setSecret] = useState(null);
  const asked = useRef(new Set());
  const ask = (verb, fields) => {
    const number = Math.floor(Math.random() * 2 ** 48);
    asked.current.add(number);
    post(verb, { ...fields, ask: number });
  };
  useEffect(() => on("secret", (message) => asked.current.delete(message.ask) && setSecret(message)), []);
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && data.up && post("refresh"), REFRESH_MS);
    return () => clearInterval(timer);
  }, [data.up]);
  if (data.first) return html`<div class="ak"><${FirstStart} ask=${ask} /></div>`;
  if (!data.users) {
    return html`<div class="ak"><div class="bkg-card"><${Empty}>${data.up ? "Reading …" : html`apikeys is ${data.state ?? "not known"}. <b>Start</b> it to see users and keys; until then the gateway lets nobody in.`}<//></div></div>`;
  }
  const [, , Part] = TABS.find(([key]) => key === tab) ?? TABS[0];
  return html`<div class="ak">
    ${!data.up && html`<div class="bkg-banner bkg-warn" role="status">apikeys is ${data.state}: this is what was last known, and the gateway lets nobody in.</div>`}
    ${secret && html`<${Secret} key=${secret.token} secret=${secret} close=${() => setSecret(null)} />`}
    <div class="ak-tabs" role="tablist" aria-label="Parts of apikeys">${TABS.map(([key, title, , count]) => html`<button key=${key} type="button" role="tab"
      class="bkg-btn" aria-selected=${key === tab ? "true" : "false"} onClick=${() => setTab(key)} data-part=${key}>${title} ${count(data) != null && html`<small>${count(data)}</small>`}</button>`)}</div>
    <${Part} data=${data} ask=${ask} post=${post} />
  </div>`;
}

export default live(ApikeysPanel);

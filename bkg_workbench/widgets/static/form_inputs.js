// The controls of a form's leaves, one per kind.
//
// Owns what a leaf's control looks like, says and sends. When it is sent is form_desk.js's, the frame
// around it forms.js's. The neutral form description comes from `bkg_workbench.protocol.forms`. All text
// of a schema is shown as text.

const FEW_OPTIONS = 4; // up to so many are shown side by side
const FEW_LETTERS = 36;
const MASKED = "***"; // stands for a secret that is kept, as in protocol/masks.py

// --- words -------------------------------------------------------------------------------------

const lastKey = (at) => at.slice(at.lastIndexOf("/") + 1).replaceAll("~1", "/").replaceAll("~0", "~");
const titleOf = (node) => node.title || lastKey(node.at) || "Settings";
const asText = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value));

function briefly(value, most = 48) {
  const text = typeof value === "string" ? value || "empty text" : JSON.stringify(value ?? null);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function boundsOf(node) {
  const { minimum: low, maximum: high, exclusiveMinimum: above, exclusiveMaximum: below } = node;
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  const words = [];
  if (low !== undefined) words.push(`at least ${low}`);
  if (above !== undefined) words.push(`more than ${above}`);
  if (high !== undefined) words.push(`at most ${high}`);
  if (below !== undefined) words.push(`less than ${below}`);
  return words.join(", ");
}

function hintOf(node) {
  const words = [boundsOf(node)];
  if (node.step !== undefined && node.step !== 1) words.push(`in steps of ${node.step}`);
  const examples = (node.examples ?? []).slice(0, 3).map((example) => briefly(example, 32));
  if (examples.length) words.push(`e.g. ${examples.join(", ")}`);
  if (node.isSet && node.default !== undefined && asText(node.default) !== asText(node.value) && !node.secret) {
    words.push(`default ${briefly(node.default, 32)}`);
  }
  return words.filter(Boolean).join(" · ");
}

// What an empty control says; in a table's cell (`label`) there is room for less.
const placeholderOf = (node, label) => {
  if (node.isNull) return "null";
  if (node.isSet) return node.kind === "text" && !label ? "empty text" : "";
  if (node.default !== undefined) return briefly(node.default);
  if (label) return "–";
  return node.required ? "" : SAMPLES[node.format] ?? "not set";
};

// What every control of a leaf has: its id, its name for those who do not see it, and its error.
function access(desk, node, label) {
  const told = [node.description && !label && desk.id(node.at, "d"), node.error && desk.id(node.at, "e")];
  return {
    id: desk.id(node.at),
    "aria-label": label || undefined,
    "aria-invalid": node.error ? "true" : undefined,
    "aria-required": node.required ? "true" : undefined,
    "aria-describedby": told.filter(Boolean).join(" ") || undefined,
  };
}

// --- text --------------------------------------------------------------------------------------

const MODES = { email: "email", "idn-email": "email", uri: "url", "uri-reference": "url", iri: "url" };
const SAMPLES = { "date-time": "2026-01-31T12:00:00Z", time: "12:00:00Z", uri: "https://…", email: "name@example.org" };
const LONG = new Set(["textarea", "multiline", "markdown"]);
const isDate = (text) => /^\d{4}-\d\d-\d\d$/.test(text);

function TextInput({ node, label }) {
  const desk = useForm();
  const value = node.isNull ? "" : asText(node.value);
  const { text, take, bind } = useDraft(node, value, (typed) => ({ op: "set", at: node.at, value: typed }));
  const [long, setLong] = useState(false);
  const area = useRef(null);
  useEffect(() => {
    if (long) area.current?.focus();
  }, [long]);
  if (value.includes("\r")) return html`<${EscapedInput} node=${node} label=${label} />`;
  const common = {
    ...access(desk, node, label),
    ...bind,
    value: text,
    class: "bkg-f-input",
    readOnly: node.readOnly,
    placeholder: placeholderOf(node, label),
    spellcheck: false,
    autocomplete: "off",
  };
  if (long || text.includes("\n") || LONG.has(node.format)) {
    const rows = Math.min(14, Math.max(2, text.split("\n").length));
    return html`<textarea ...${common} ref=${area} rows=${rows} />`;
  }
  const grow = (event, added) => {
    const { selectionStart: from, selectionEnd: to, value: before } = event.target;
    event.preventDefault();
    setLong(true);
    take(before.slice(0, from) + added + before.slice(to));
  };
  const list = node.examples?.some((example) => typeof example === "string") ? desk.id(node.at, "x") : undefined;
  const type = node.format === "date" && (text === "" || isDate(text)) ? "date" : "text";
  return html`<input ...${common} type=${type} list=${list} inputmode=${MODES[node.format]}
      onPaste=${(event) => {
        const pasted = event.clipboardData?.getData("text") ?? "";
        if (/[\r\n]/.test(pasted.replace(/\s+$/, ""))) grow(event, pasted.replaceAll("\r\n", "\n"));
      }}
      onKeyDown=${(event) => event.key === "Enter" && event.shiftKey && grow(event, "\n")} />
    ${list && html`<datalist id=${list}>${node.examples.map((example) => html`<option value=${asText(example)} />`)}</datalist>`}
    ${node.format === "date-time" && !node.readOnly && html`<${Calendar} name=${titleOf(node)} text=${text} pick=${take} />`}`;
}

// A text that no control of the browser shows as it is is edited as a JSON string.
function EscapedInput({ node, label }) {
  const desk = useForm();
  const { text, bind } = useDraft(node, JSON.stringify(node.value), (typed) => {
    try {
      const value = JSON.parse(typed);
      return typeof value === "string" ? { op: "set", at: node.at, value } : null;
    } catch {
      return null;
    }
  });
  return html`<input ...${access(desk, node, label)} ...${bind} value=${text} class="bkg-f-input bkg-f-code"
    data-escaped="true" type="text" spellcheck=${false} readOnly=${node.readOnly}
    title="Shown as a JSON string: it holds control characters" />`;
}

// The browser's own calendar, which knows no time zones: what is picked is local time.
function Calendar({ name, text, pick }) {
  const ref = useRef(null);
  const two = (n) => String(n).padStart(2, "0");
  const moment = new Date(text);
  const local = Number.isNaN(moment.getTime()) ? "" :
    `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}`;
  return html`<span class="bkg-f-calendar">
    <button type="button" class="bkg-f-icon" aria-label=${`Pick ${name}`} title="Pick a time (yours)"
      onClick=${() => ref.current.showPicker?.()}>◷</button>
    <input ref=${ref} type="datetime-local" tabindex="-1" aria-hidden="true" value=${local} data-aid="true"
      onChange=${(event) => event.target.value && pick(new Date(event.target.value).toISOString().replace(".000", ""))} />
  </span>`;
}

function SecretInput({ node, label }) {
  const desk = useForm();
  const [shown, setShown] = useState(false);
  const { text, draft, drop, bind } = useDraft(node, "", (typed) =>
    typed === "" ? null : { op: "set", at: node.at, value: typed }, { keep: true });
  const isNew = node.dirty === true;
  const isKept = node.value === MASKED && !isNew;
  const hadOne = useRef(isKept).current;
  useEffect(() => {
    // Discarded, saved or reset elsewhere: what was typed here is no more.
    if (draft !== null && !isNew) drop();
  }, [isNew]);
  const state = isKept ? "•••••••• unchanged" : node.isSet && !node.isNull ? "•••••••• new, not saved yet" : placeholderOf(node, label);
  return html`<input ...${access(desk, node, label)} ...${bind} value=${text} class="bkg-f-input"
      type=${shown ? "text" : "password"} placeholder=${state} data-secret=${isKept ? "kept" : node.isSet && !node.isNull ? "new" : "unset"}
      autocomplete="new-password" spellcheck=${false} readOnly=${node.readOnly} />
    ${text && html`<button type="button" class="bkg-f-icon" aria-pressed=${shown} title=${shown ? "Hide" : "Show"}
      aria-label=${`${shown ? "Hide" : "Show"} ${titleOf(node)}`} onClick=${() => setShown(!shown)}>${shown ? "◉" : "◎"}</button>`}
    ${isNew && hadOne && html`<button type="button" class="bkg-f-link" title="Keep the secret that is saved"
      onClick=${() => desk.send({ op: "set", at: node.at, value: MASKED })}>Undo</button>`}`;
}

// --- numbers -----------------------------------------------------------------------------------

// The text as typed goes to the model, which reads numbers of any size and says what is wrong.
function NumberInput({ node, label }) {
  const desk = useForm();
  const { text, take, bind } = useDraft(node, node.isNull ? "" : asText(node.value), (typed) =>
    ({ op: "set", at: node.at, value: typed.trim() }));
  const nudge = (event) => {
    const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!sign || event.altKey || node.readOnly) return;
    event.preventDefault();
    const step = (node.step || 1) * (event.shiftKey ? 10 : 1);
    const from = Number(text || node.default || 0);
    if (Number.isNaN(from)) return;
    const digits = Math.max(...[from, step].map((n) => (String(n).split(".")[1] ?? "").length));
    const to = Math.min(node.maximum ?? Infinity, Math.max(node.minimum ?? -Infinity, from + sign * step));
    take(to.toFixed(Math.min(digits, 20)));
  };
  return html`<span class="bkg-f-number">
    <input ...${access(desk, node, label)} ...${bind} value=${text} class="bkg-f-input" type="text"
      inputmode=${node.kind === "integer" ? "numeric" : "decimal"} placeholder=${placeholderOf(node, label)}
      autocomplete="off" readOnly=${node.readOnly} onKeyDown=${nudge} />
    ${node.unit && html`<span class="bkg-f-unit">${node.unit}</span>`}
  </span>`;
}

// --- switches and choices ----------------------------------------------------------------------

function Switch({ node, label }) {
  const desk = useForm();
  const on = node.isSet && !node.isNull ? node.value === true : node.default === true;
  const odd = node.isSet && !node.isNull && typeof node.value !== "boolean";
  const words = odd ? JSON.stringify(node.value) : node.isNull ? "null" : node.isSet ? (on ? "On" : "Off")
    : node.default !== undefined ? `${on ? "On" : "Off"} by default` : "not set";
  return html`<label class="bkg-f-switch">
    <input ...${access(desk, node, label || titleOf(node))} type="checkbox" role="switch" checked=${on} disabled=${node.readOnly}
      onChange=${(event) => desk.send({ op: "set", at: node.at, value: event.target.checked })} />
    <span class="bkg-f-track" aria-hidden="true"></span><span class="bkg-f-state">${words}</span>
  </label>`;
}

const valueOf = (option) => (option.text === undefined ? option.value : JSON.parse(option.text));

function Choice({ node, label, inBody }) {
  const desk = useForm();
  const { options, chosen } = node;
  // Inside of a variant `choose` would choose the variant's form: both stand at one place.
  const choose = (index) => desk.send(inBody ? { op: "set", at: node.at, value: valueOf(options[index]) }
    : { op: "choose", at: node.at, index });
  const odd = node.isSet && chosen === undefined && !node.isNull;
  const letters = options.reduce((sum, option) => sum + option.label.length, 0);
  if (!label && !odd && !node.isNull && options.length <= FEW_OPTIONS && letters <= FEW_LETTERS) {
    const { id, ...named } = access(desk, node, titleOf(node));
    const fallback = node.isSet ? -1 : options.findIndex((o) => asText(valueOf(o)) === asText(node.default));
    return html`<span class="bkg-f-segments" role="radiogroup" ...${named}>
      ${options.map((option, index) => html`<label class=${index === fallback && node.default !== undefined ? "bkg-f-fallback" : ""} title=${
          index === fallback && node.default !== undefined ? "by default" : ""}>
        <input type="radio" id=${index ? undefined : id} name=${id} checked=${chosen === index} disabled=${node.readOnly}
          onChange=${() => choose(index)} /><span>${option.label}</span></label>`)}
    </span>`;
  }
  const pick = (event) => {
    if (event.target.value === "") desk.send({ op: "unset", at: node.at });
    else choose(Number(event.target.value));
  };
  const none = node.isNull ? "null" : odd ? `${JSON.stringify(node.value)} (not an option)`
    : node.default !== undefined ? `${labelOf(options, node.default)} (default)` : node.required ? "Choose…" : "not set";
  return html`<select ...${access(desk, node, label)} class="bkg-f-input" disabled=${node.readOnly}
    value=${chosen === undefined ? "" : String(chosen)} onChange=${pick}>
    ${(chosen === undefined || !node.required || node.default !== undefined) && html`<option value="">${none}</option>`}
    ${options.map((option, index) => html`<option value=${String(index)} selected=${chosen === index}>${option.label}</option>`)}
  </select>`;
}

const labelOf = (options, value) =>
  options.find((option) => asText(valueOf(option)) === asText(value))?.label ?? briefly(value);

function Constant({ node }) {
  const desk = useForm();
  return html`<span class="bkg-f-constant" id=${desk.id(node.at)} title="This value is fixed">${node.isNull ? "null" : node.text ?? briefly(constantOf(node), 80)}</span>
    ${!node.isSet && !node.readOnly && html`<button type="button" class="bkg-f-link"
      onClick=${() => desk.send({ op: "set", at: node.at, value: constantOf(node) })}>Set</button>`}`;
}

const constantOf = (node) => (node.text !== undefined ? JSON.parse(node.text) : node.value ?? node.default ?? null);

function JsonInput({ node, label, rows = 3 }) {
  const desk = useForm();
  const { text, bind } = useDraft(node, node.text ?? "", (typed) => ({ op: "text", at: node.at, text: typed }), { delay: TYPING_JSON_MS });
  const lines = Math.min(28, Math.max(rows, text.split("\n").length));
  return html`<textarea ...${access(desk, node, label)} ...${bind} value=${text} rows=${lines}
    class="bkg-f-input bkg-f-code" spellcheck=${false} autocomplete="off" readOnly=${node.readOnly}
    placeholder=${node.default !== undefined ? briefly(node.default) : "JSON"} />`;
}

function NullValue({ node }) {
  const desk = useForm();
  const words = node.isNull ? "null" : node.isSet ? briefly(node.value, 80) : "not set";
  return html`<span class="bkg-f-constant" id=${desk.id(node.at)}>${words}</span>
    ${!node.isNull && !node.readOnly && html`<button type="button" class="bkg-f-link"
      onClick=${() => desk.send({ op: "set", at: node.at, value: null })}>Set to null</button>`}`;
}

const CONTROLS = {
  text: (props) => (props.node.secret ? preact.h(SecretInput, props) : preact.h(TextInput, props)),
  number: NumberInput,
  integer: NumberInput,
  boolean: Switch,
  choice: Choice,
  constant: Constant,
  json: JsonInput,
  null: NullValue,
};
const IN_CELLS = new Set(["text", "number", "integer", "boolean", "choice", "constant", "null"]);
const isLeaf = (node) => node.kind in CONTROLS;

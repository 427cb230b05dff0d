// What the controls of a form share: the order in which edits leave, drafts, folds and the focus.
//
// Owns the rule that what a focused control shows is never overwritten by an echo: a page numbers its
// edits, and the description says up to which one it is the answer (`heard`).

const FormContext = preact.createContext(null);
const useForm = () => preact.useContext(FormContext);

const TYPING_MS = 120; // from the last key to the edit
const TYPING_JSON_MS = 300;
const FOCUS_MS = 3000; // a place that is not there by then gets no focus

// A component that is drawn again only when one of its properties is another one. A merge patch
// keeps the identity of what did not change, so a key typed into one of 500 cells draws one cell.
function kept(draw) {
  return class extends preact.Component {
    shouldComponentUpdate(next) {
      const keys = new Set([...Object.keys(next), ...Object.keys(this.props)]);
      for (const key of keys) if (next[key] !== this.props[key]) return true;
      return false;
    }
    render() {
      return preact.h(draw, this.props);
    }
  };
}

// --- edits on their way ------------------------------------------------------------------------

let formCount = 0;

// What the controls of one drawn form share. It is the same object for the form's whole life.
class FormDesk {
  constructor() {
    this.page = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    this.prefix = `bkg-f${(formCount += 1)}`;
    this.sent = 0;
    this.heard = 0;
    this.waiting = new Map(); // pointer -> {timer, edit, told}
    this.drafts = new Map(); // what a control wants to hear when its edit was heard -> its number
    this.folds = new Map(); // pointer -> is it open
    this.folders = new Map(); // pointer -> what opens or closes it
    this.wanted = null; // pointer whose control gets the focus once it is there
    this.onEdit = () => {};
    this.el = null;
  }

  id(at, part = "") {
    return `${this.prefix}${encodeURIComponent(at)}${part && `--${part}`}`;
  }

  // Sends an edit at once; what was typed before it leaves first.
  send(edit) {
    this.flush();
    this.sent += 1;
    this.onEdit({ edit, page: this.page, n: this.sent });
    return this.sent;
  }

  // Sends an edit once nothing was typed for a moment. `told` gets its number.
  later(edit, told, delay = TYPING_MS) {
    clearTimeout(this.waiting.get(edit.at)?.timer);
    const leave = () => {
      this.waiting.delete(edit.at);
      this.sent += 1;
      this.onEdit({ edit, page: this.page, n: this.sent });
      told(this.sent);
    };
    this.waiting.set(edit.at, { timer: setTimeout(leave, delay), leave });
  }

  flush() {
    for (const { timer, leave } of [...this.waiting.values()]) {
      clearTimeout(timer);
      leave();
    }
  }

  // The kernel has answered all edits up to `n`.
  hear(n) {
    this.heard = n;
    for (const [settle, number] of [...this.drafts]) {
      if (number <= n) {
        this.drafts.delete(settle);
        settle();
      }
    }
  }

  isOpen(at, otherwise) {
    return this.folds.get(at) ?? otherwise;
  }

  fold(at, open) {
    this.folds.set(at, open);
    this.folders.get(at)?.(open);
  }

  // Opens all that lies around `at` and gives it the focus.
  reveal(at) {
    for (let end = at.indexOf("/", 1); end > 0; end = at.indexOf("/", end + 1)) {
      this.fold(at.slice(0, end), true);
      this.folders.get(`${at.slice(0, end)}!all`)?.();
    }
    this.fold(at, true);
    this.focus(at);
  }

  focus(at) {
    this.wanted = at;
    this.wantedUntil = Date.now() + FOCUS_MS;
    requestAnimationFrame(() => this.settleFocus());
  }

  settleFocus() {
    if (this.wanted === null || !this.el) return;
    if (Date.now() > this.wantedUntil) {
      this.wanted = null;
      return;
    }
    const place = this.el.querySelector(`[data-at="${CSS.escape(this.wanted)}"]`);
    if (!place) return;
    this.wanted = null;
    const target = place.matches("button, input, select, textarea") ? place
      : place.querySelector("input:not([data-key], [data-aid]), select, textarea") ?? place.querySelector("button");
    target?.focus();
    (target ?? place).scrollIntoView?.({ block: "nearest" });
  }
}

// What a text-like control shows: the model's text, or what was typed and is not settled yet. While
// it has the focus, what was typed stays, whatever arrives.
function useDraft(node, shown, toEdit, { delay, keep = false } = {}) {
  const desk = useForm();
  const [draft, setDraft] = useState(null);
  const own = useRef({ focused: false, composing: false, n: 0 }).current;
  own.settle = () => {
    if (!own.focused && !keep) setDraft(null);
  };
  const settle = useRef(() => own.settle()).current;
  useEffect(() => () => desk.drafts.delete(settle), []);
  const leave = (text) => {
    const edit = toEdit(text);
    if (edit) {
      desk.later(edit, (n) => {
        own.n = n;
        desk.drafts.set(settle, n);
      }, delay);
    }
  };
  const take = (text) => {
    setDraft(text);
    if (!own.composing) leave(text);
  };
  return {
    text: draft ?? shown,
    draft,
    take,
    drop: () => setDraft(null),
    bind: {
      onInput: (event) => take(event.target.value),
      onFocus: () => {
        own.focused = true;
      },
      onBlur: () => {
        own.focused = false;
        desk.flush();
        if (own.n <= desk.heard && !keep) setDraft(null);
      },
      // In lower case: Preact knows no property of these names, and takes the rest as it is written.
      oncompositionstart: () => {
        own.composing = true;
      },
      oncompositionend: (event) => {
        own.composing = false;
        take(event.target.value);
      },
    },
  };
}

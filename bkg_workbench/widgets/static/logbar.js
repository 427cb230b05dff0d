// The controls of a log view and its layout: elements only, what they do is the view's.

function logBar(only, height) {
  const bar = element("div", "bkg-log-bar", { role: "toolbar", "aria-label": "Log" });
  const choice = (className, title, options) => {
    const select = element("select", className, { title, "aria-label": title });
    for (const [label, value] of options) select.append(new Option(label, value));
    return select;
  };
  const ui = {
    plugins: choice("bkg-log-plugin", "Plug-in", [["all plug-ins", ""]]),
    source: choice("bkg-log-source", "Source", [["all sources", ""], ...SOURCES.map((s) => [s, s])]),
    level: choice("bkg-log-level", "Least level", [
      ["all levels", "debug"], ["info and above", "info"], ["warn and above", "warn"], ["error", "error"],
    ]),
    text: element("input", "bkg-log-filter", {
      type: "search", placeholder: "Filter lines  ( / )", spellcheck: false, autocomplete: "off",
      title: "Only lines with this. Enter goes to the next older match, Shift+Enter to the newer one",
      "aria-label": "Filter lines",
    }),
    regex: toggle(".*", "The filter is a regular expression", "bkg-log-inset"),
    mode: toggle("highlight", "Keep the lines that do not match, and only mark those that do", "bkg-log-inset"),
    wrap: toggle("Wrap", "Long lines go on below"),
    time: toggle("Relative", "How long ago, in place of the time"),
    copy: element("button", "bkg-log-button", {
      type: "button", textContent: "Copy",
      title: "The chosen lines (click one, Shift+click another), or all that are shown",
    }),
    save: choice("bkg-log-save", "Every line that passes the filters, from the Host and not only from this page", [
      ["Download", ""], ["as text (.log)", "log"], ["as JSON lines (.jsonl)", "jsonl"],
    ]),
    wipe: element("button", "bkg-log-button", {
      type: "button", textContent: "Clear", title: "Empty this view; the log itself is kept",
    }),
    follow: element("button", "bkg-log-button bkg-log-follow", { type: "button" }),
  };
  const search = element("span", "bkg-log-search", {}, ui.text, ui.regex, ui.mode);
  const actions = element("span", "bkg-log-actions", {},
    ui.wrap, ui.time, ui.copy, ui.save, ui.wipe, ui.follow);
  bar.append(element("span", "bkg-log-title", { textContent: "Log" }));
  if (!only) bar.append(ui.plugins);
  bar.append(ui.source, ui.level, search, actions);

  // Not live for screen readers: a flood that is read aloud helps nobody.
  ui.scroller = element("div", "bkg-log-lines", {
    tabIndex: 0, role: "log", "aria-live": "off", "aria-label": "Log lines",
  });
  ui.older = element("button", "bkg-log-pill bkg-log-older", { type: "button", hidden: true });
  ui.jump = element("button", "bkg-log-pill bkg-log-jump", { type: "button", hidden: true });
  ui.empty = element("div", "bkg-log-empty", { hidden: true });
  const body = element("div", "bkg-log-body", {}, ui.scroller, ui.empty, ui.older, ui.jump);
  ui.detail = element("div", "bkg-log-detail", { hidden: true, role: "region", "aria-label": "Line" });
  ui.count = element("span", "bkg-log-count");
  ui.notice = element("span", "bkg-log-notice", { role: "status" });
  ui.cancel = element("button", "bkg-log-button", { type: "button", textContent: "Cancel", hidden: true });
  const foot = element("div", "bkg-log-foot", {}, ui.count, ui.notice, ui.cancel);
  ui.root = element("div", "bkg-log", {}, bar, body, ui.detail, foot);
  ui.root.style.height = `${height}px`;
  return ui;
}

// On a dashboard the log takes what is left of the window. Gives what ends that.
function fillPage(root, least) {
  const fill = () => {
    const top = root.getBoundingClientRect().top + window.scrollY;
    if (top > 0) root.style.height = `${Math.max(least, window.innerHeight - top - 24)}px`;
  };
  const fills = new ResizeObserver(fill);
  fills.observe(document.getElementById("rendered_cells") ?? document.body);
  window.addEventListener("resize", fill);
  return () => {
    fills.disconnect();
    window.removeEventListener("resize", fill);
  };
}

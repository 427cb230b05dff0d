// Reads a drawn form back from what its controls show. It looks at no data of the widget.
//
// Gives a tree: {set, null, fields | items | entries | body | leaf}, with the sentences of mistakes.

(root) => {
  const own = (el, selector) => el.querySelector(`:scope > ${selector}`);
  const all = (el, selector) => [...el.querySelectorAll(`:scope > ${selector}`)];
  const keyOf = (el) => el.dataset.at.slice(el.dataset.at.lastIndexOf("/") + 1).replaceAll("~1", "/").replaceAll("~0", "~");

  const leaf = (el) => {
    const kind = el.dataset.kind;
    const input = [...el.querySelectorAll("input, textarea, select")].find((one) => !one.dataset.aid && !one.dataset.key);
    const found = { leaf: kind, set: el.dataset.set !== "false" };
    if (input?.type === "checkbox") {
      found.on = input.checked;
      found.words = el.querySelector(".bkg-f-state").textContent;
    } else if (input?.type === "radio") {
      const radios = [...el.querySelectorAll("input[type=radio]")];
      found.index = radios.findIndex((one) => one.checked);
    } else if (input?.tagName === "SELECT") {
      found.index = input.value === "" ? -1 : Number(input.value);
      found.words = input.selectedOptions[0]?.textContent ?? "";
    } else if (input) {
      found.text = input.dataset.escaped ? JSON.parse(input.value) : input.value;
      found.placeholder = input.placeholder;
      if (input.dataset.secret) found.secret = input.dataset.secret;
    } else {
      found.text = el.querySelector(".bkg-f-constant").textContent;
    }
    return found;
  };

  const fold = (el) => {
    const note = own(own(el, ".bkg-f-head"), ".bkg-f-note")?.textContent;
    return note === "not set" ? { set: false } : body(own(el, ".bkg-f-inside"));
  };

  const body = (el) => {
    const part = all(el, "*").find((one) => one.matches(".bkg-f-fields, .bkg-f-list, .bkg-f-variant, .bkg-f-bare, [data-null]"));
    if (!part) return { set: false };
    if (part.dataset.null) return { set: true, null: true };
    if (part.matches(".bkg-f-bare")) return leaf(part);
    if (part.matches(".bkg-f-fields")) return { set: true, fields: fields(part) };
    if (part.matches(".bkg-f-variant")) {
      const chosen = part.querySelector("[data-variant]");
      const radios = [...chosen.querySelectorAll(":scope > label > input")];
      const index = radios.length ? radios.findIndex((one) => one.checked) : Number(chosen.value || -1);
      const inside = own(part, ".bkg-f-body");
      return { set: Boolean(inside), chosen: index, body: inside ? body(inside) : null };
    }
    return part.dataset.list === "map" ? { set: true, entries: entries(part) } : { set: true, items: items(part) };
  };

  const items = (list) => {
    if (list.dataset.list === "table") {
      return [...list.querySelectorAll("tbody > tr[data-at]")].map((row) => ({
        set: true,
        fields: Object.fromEntries([...row.querySelectorAll("td > [data-at]")].map((cell) => [keyOf(cell), leaf(cell)])),
      }));
    }
    if (list.dataset.list === "lines") return all(list, ".bkg-f-item").map(leaf);
    return all(list, ".bkg-f-card").map((card) => fold(own(card, ".bkg-f-fold")));
  };

  const entries = (list) => Object.fromEntries(all(list, ".bkg-f-pair, :scope > .bkg-f-card").map((entry) => [
    entry.querySelector("[data-key]").value,
    entry.matches(".bkg-f-pair") ? leaf(entry) : fold(own(entry, ".bkg-f-fold")),
  ]));

  const fields = (...holders) => {
    const found = [];
    for (const holder of holders) {
      for (const el of all(holder, "*")) {
        if (el.matches(".bkg-f-row")) found.push([keyOf(el), leaf(el)]);
        else if (el.matches(".bkg-f-section")) found.push([keyOf(own(el, ".bkg-f-fold")), fold(own(el, ".bkg-f-fold"))]);
        else if (el.matches(".bkg-f-extras")) found.push(...Object.entries(entries(el)));
        else if (el.matches(".bkg-f-other")) {
          for (const entry of all(el, ".bkg-f-item")) found.push([entry.dataset.unknown, leaf(entry)]);
        }
      }
    }
    return Object.fromEntries(found);
  };

  const form = root.querySelector(".bkg-form");
  for (let closed; (closed = [...form.querySelectorAll('.bkg-f-toggle[aria-expanded="false"], .bkg-f-more')]).length;) {
    if (!root.opened) root.opened = 0;
    if ((root.opened += closed.length) > 5000) throw new Error("the folds do not end");
    return { closed: closed.map((one) => one.click()).length };
  }
  const top = form.querySelector('[data-at=""]');
  return {
    tree: top.matches(".bkg-f-root") ? { set: true, fields: fields(...all(top, ".bkg-f-panel")) } : body(top),
    isValid: form.dataset.valid === "true",
    notice: form.querySelector(".bkg-f-notice")?.textContent ?? "",
    errors: [...form.querySelectorAll(".bkg-f-error, .bkg-banner.bkg-bad p")].map((one) => one.textContent),
    markup: form.querySelectorAll("img, script, iframe, b:not(.bkg-f-error > b)").length,
  };
}

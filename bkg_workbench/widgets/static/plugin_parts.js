// What the inventory and a plug-in's page share: lifecycle buttons and banners, as `view` tells them.

const VERBS = ["start", "stop", "restart"];
const TITLES = { start: "Start", stop: "Stop", restart: "Restart" };

function Actions({ row, act, current = true }) {
  return html`<div class="bkg-actions" role="group" aria-label=${`Actions for ${row.name}`}>${VERBS.map(
    (verb) => html`<${Button}
      key=${verb}
      data-verb=${verb}
      label=${TITLES[verb]}
      name=${`${TITLES[verb]} ${row.name}`}
      confirm=${row.asks.includes(verb) ? `${TITLES[verb]}?` : undefined}
      disabled=${!row.can.includes(verb)}
      busy=${row.asked === verb}
      hint=${verb === "restart" ? `Restart ${row.name}; no request is lost` : `${TITLES[verb]} ${row.name}`}
      tabIndex=${current ? 0 : -1}
      onClick=${() => act(verb, [row.name])}
    />`
  )}</div>`;
}

function Banners({ banners }) {
  return html`<div class="bkg-banners" role="status">${(banners ?? []).map(
    (banner) => html`<div class=${`bkg-banner bkg-${banner.tone}`} key=${banner.text}>${banner.text}</div>`
  )}</div>`;
}

// The port table.

function Port({ port }) {
  const name = port.url
    ? html`<a href=${port.url} target="_blank" rel="noopener noreferrer">${port.shown}</a>`
    : port.shown;
  return html`<tr>
    <td>${port.name}</td>
    <td class="bkg-num bkg-right">${port.port}</td>
    <td class="bkg-mono">${name}</td>
    <td>${port.owner}</td>
  </tr>`;
}

function Ports({ data, post }) {
  const ports = data.ports ?? [];
  return html`<section class="bkg-card" aria-label="Ports">
    <header class="bkg-card-head">
      <h2>Ports</h2>
      <span class="bkg-sub">${ports.length || ""}</span>
      <span class="bkg-push"><${Export} post=${post} table="ports" disabled=${!ports.length} /></span>
    </header>
    ${ports.length
      ? html`<div class="bkg-scroll"><table class="bkg-table bkg-ports">
          <thead><tr><th scope="col">Name</th><th scope="col" class="bkg-right">Port</th>
            <th scope="col">Address</th><th scope="col">Owner</th></tr></thead>
          <tbody>${ports.map((port) => html`<${Port} key=${`${port.name} ${port.port}`} port=${port} />`)}</tbody>
        </table></div>`
      : html`<${Empty}><b>No ports are open.</b><br />Whoever listens is listed here: the bus, these
          pages, and plug-ins that serve a page of their own.<//>`}
  </section>`;
}

export default live(Ports);

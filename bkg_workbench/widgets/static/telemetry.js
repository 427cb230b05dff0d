// A plug-in's numbers over time, with the choice of how far back.

function Telemetry({ data, post, on }) {
  return html`<section class="bkg-card bkg-telemetry" aria-label="Telemetry">
    <header class="bkg-card-head">
      <h3>Telemetry</h3>
      <div class="bkg-btns bkg-push" role="group" aria-label="Range">${(data.ranges ?? []).map((range) =>
        html`<button type="button" class="bkg-btn bkg-quiet" key=${range} aria-pressed=${range === data.range}
          onClick=${() => post("range", { range })}>${range}</button>`)}</div>
      <${Export} post=${post} table="telemetry" />
    </header>
    <div class="bkg-card-body"><${Plots} data=${data} post=${post} on=${on} /></div>
  </section>`;
}

export default live(Telemetry);

// Feature cards: text only.

function Features({ data }) {
  const cards = data.cards ?? [];
  if (!cards.length) return null;
  return html`<section class="bkg-features" aria-label="Features">${cards.map(
    (card, index) => html`<article class="bkg-card bkg-feature" key=${index}>
      ${card.title && html`<h3>${card.title}</h3>`}<p>${card.text}</p></article>`
  )}</section>`;
}

export default live(Features);

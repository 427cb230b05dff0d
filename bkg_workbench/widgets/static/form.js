// A form of its own, as `widgets.forms.FormWidget` shows it.

export default live(({ data, post }) => html`<${Form} form=${data} onEdit=${(edit) => post("edit", edit)} />`);

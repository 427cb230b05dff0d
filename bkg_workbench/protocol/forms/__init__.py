"""Forms: JSON Schema and a value as a neutral description, and edits of it. Pure data both ways.

    form = Form(schema, value)
    form.describe()    # {"root": node, "errors": {pointer: sentence}, "isDirty", "isValid"}
    form.apply({"op": "set", "at": "/port", "value": "80"})
    form.value, form.errors, form.is_valid, form.is_dirty, form.undo(), form.reset(value)

With a `notice` the root is one json node: no form can be made of that schema or value.

A node is a dict; what would be null or false is absent, so that merge patches can carry it.

- each: `kind`, `at` (JSON pointer), `title`, `description`, `examples`, `required`, `nullable`,
  `readOnly`, `deprecated`, `isSet`, `isNull`, `default`, `error` (at exactly this pointer; of a
  json node also the first one inside it)
- text: `value`, `format`, `pattern`, `minLength`, `maxLength`, `unit`, `contentMediaType`,
  `contentEncoding`; `secret` (then `value` is the mask, and `dirty` tells that one was typed)
- integer, number: `value`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `step`,
  `unit`. What was typed and is no number stands in `value` as text
- boolean, null: `value`
- choice: `options` ({`label`, `value`}, or `text` where that is JSON), `chosen` (an index), and
  `value` (`text`), also one that is no option. constant: `value` (`text`), `default`
- group: `fields`, `order`, `unknown` (json nodes); `canAdd` where schemas describe further keys,
  whose nodes have `isExtra`; `isFolded` where a recursive schema has no value yet: `add` unfolds it
- list: `items` ({"0": node}), `count`, `canAdd`, `canRemove`, `canMove`
- map: `entries`, `order`, `canAdd`; `keyPattern`, `keyOptions` (as also in groups)
- variant: `options` (labels), `chosen`, `body` (absent without a value)
- json: `text`

Edits: `set` (`value`), `unset`, `add` (`key`), `remove`, `move` (`to`), `rename` (`key`), `choose`
(`index`, of variants and choices), `text` (`text`), each with `at`.
"""

from bkg_workbench.protocol.forms.changes import changes
from bkg_workbench.protocol.forms.form import Form

__all__ = ["Form", "changes"]

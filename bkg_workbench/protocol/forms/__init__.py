"""Forms: JSON Schema and a value as a neutral description, and edits of it."""

from bkg_workbench.protocol.forms.changes import changes
from bkg_workbench.protocol.forms.form import Form

__all__ = ["Form", "changes"]

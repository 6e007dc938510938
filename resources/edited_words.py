"""Who gave a clip other words than its series, and when: a part of its request and of its manifest."""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from resources.plain import shown


class EditedWords(BaseModel):
    """A clip has other words than its series declares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    """Who wrote them."""
    at: AwareDatetime
    """When."""
    fields: tuple[str, ...] = ()
    """The prompt's fields that have other words; empty where the whole text has."""

    def __str__(self) -> str:
        scope = ", ".join(self.fields) or "the whole text"
        return f"{scope} by {shown(self.by, longest=200)} on {self.at:%Y-%m-%d at %H:%M} UTC"

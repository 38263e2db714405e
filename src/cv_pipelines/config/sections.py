"""What sections of parameters files are made of: strict models, shared ranges, flat keys."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
AtMost = Annotated[float, Field(ge=0, le=1)] | None


class Strict(BaseModel):
    """A section of a parameters file: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Choice(Strict):
    """A section whose `name` says which of its other keys may be given.

    A key of `options` that is None is not given: what it names has its own default.

    Attributes:
        options: the keys that belong to each name; keys that occur in no list belong to all names.
    """

    options: ClassVar[dict[str, tuple[str, ...]]]

    name: str

    @model_validator(mode="after")
    def _only_own_options(self) -> Self:
        own = self.options[self.name]
        for key in sorted({key for keys in self.options.values() for key in keys} - set(own)):
            value = getattr(self, key)
            if value is not None:
                shared = type(self).model_fields.keys() - {k for keys in self.options.values() for k in keys}
                allowed = ", ".join(sorted({*own, *shared}))
                refuse(type(self).__name__, key, value, f"no option of {self.name}; allowed are {allowed}")
        return self


def refuse(title: str, key: str, value: Any, why: str) -> NoReturn:
    """Refuse one key of a section in a validator, so that the message names that key.

    Args:
        title: of the section.
        key: that is wrong.
        value: it has.
        why: what is wrong and what is allowed.

    Raises:
        ValidationError: always.
    """
    kind = PydanticCustomError("refused", "{why}", {"why": why})
    raise ValidationError.from_exception_data(title, [InitErrorDetails(type=kind, loc=(key,), input=value)])


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found

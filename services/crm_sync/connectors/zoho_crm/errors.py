"""What became of a request to Zoho CRM, or of a record in it: each has a code, and details by the code.

The one rule: of an error only codes and names of fields are told. Its sentences quote values.
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AliasChoices, TypeAdapter
from pydantic import Field as Key

from services.crm_sync.connectors.interface import LOGIN_REFUSED, RECORD_GONE, SETUP_NEEDED
from services.crm_sync.connectors.vendor.site import CODE_CHARS_MAX, PAUSE_S, Failed, refused_field
from services.runtime.effects import EffectFailure, Refused, Unavailable


@dataclass(frozen=True, slots=True)
class Named:
    """A user or a record that another one refers to, with what comes along of it."""

    id: str
    name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class _Module:
    name: Annotated[str, Key(validation_alias="api_name")] = ""


@dataclass(frozen=True, slots=True)
class There:
    """The record that has a value which was to be unique."""

    id: str
    of: Annotated[Named | None, Key(validation_alias="Owner")] = None
    module: _Module = field(default_factory=_Module)


@dataclass(frozen=True, slots=True)
class _Details:
    id: str | None = None
    name: Annotated[str | None, Key(validation_alias="api_name")] = None
    column: Annotated[str | None, Key(validation_alias="column_name")] = None
    where: Annotated[str | None, Key(validation_alias="json_path")] = None
    in_path: Annotated[int | None, Key(validation_alias="resource_path_index")] = None
    there: Annotated[There | None, Key(validation_alias="duplicate_record")] = None
    longest: Annotated[int | None, Key(validation_alias="maximum_length")] = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one record, or of a request as a whole."""

    code: str = ""
    status: str = ""
    details: _Details = field(default_factory=_Details)


@dataclass(frozen=True, slots=True)
class Said(Result):
    """What became of a request, or of each record in it."""

    data: Annotated[
        tuple[Result, ...], Key(validation_alias=AliasChoices("data", "__composite_requests"))
    ] = ()


SAID = TypeAdapter(Said)
OF_ITS_PATH = frozenset({None, "$.data[0].id", "$.data[0].Parent_Id.id"})
"""Where an id stands that is the record's, and no owner's."""
LATER = frozenset({"REQUEST_TIMEOUT", "PROCESSING_STOPPED"})


class AlreadyThere(Refused):
    """Another record has this value of a field that Zoho keeps unique."""

    def __init__(self, name: str, there: There) -> None:
        super().__init__(refused_field(name, "duplicate_data").code)
        self.field = name
        self.there = there


def judge(failed: Failed, *, own: str) -> EffectFailure | None:
    """Return what an error of Zoho means, or None where its status says it all. `own`: the field that is there for us."""
    said = failed.read(SAID) or Said()
    error = said.data[0] if said.data else said
    match failed.status:
        case 404:
            # A record that is gone is another error.
            return Unavailable("path_unknown")
        case 429:
            pauses = (failed.pause_s, error.details.retry_after, PAUSE_S)
            return Unavailable("rate_limited", retry_after_s=next(one for one in pauses if one is not None))
        case 400 | 409 | 412 | 422:
            return meaning(error, own=own)
    return None


def meaning(error: Result, *, own: str) -> EffectFailure | None:
    """Return what the error of a request, or of a record in it, means; None where it says nothing."""
    details = error.details
    match error.code:
        case "":
            return None
        case "DUPLICATE_DATA" if details.there is not None and details.name is not None:
            return AlreadyThere(details.name, details.there)
        case "INVALID_DATA" if details.in_path is not None or (
            details.name in {"id", "Parent_Id"} and details.where in OF_ITS_PATH
        ):
            return Refused(RECORD_GONE)
        case "INVALID_QUERY" | "INVALID_DATA" if details.column is not None or details.name == own:
            # Values in queries are quoted, and a marker is good for any field of text: there is no such field.
            return Unavailable(SETUP_NEEDED)
        case "AUTHORIZATION_FAILED" | "NO_PERMISSION":
            return Unavailable(LOGIN_REFUSED)
        case code if code in LATER:
            return Unavailable("timeout")
        case code if details.name is not None:
            return refused_field(details.name, code if details.longest is None else "too_long")
        case code:
            return Refused(code.lower()[:CODE_CHARS_MAX])

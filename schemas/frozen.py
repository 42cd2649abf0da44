"""`@dataclass(frozen=True, slots=True)` for what is made with every record.

The one rule: that it is frozen is for the type checker to see to. At run time a frozen dataclass sets each field by a call of
`object.__setattr__`, and takes more than twice as long to make.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> object:
        """What `dataclasses.dataclass` gives, hash included, but for the check at run time."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen, kw_only=kw_only)


__all__ = ("dataclass",)

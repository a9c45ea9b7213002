"""Reading an old config key by key, so that none is overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmaction.errors import ConfigError
from mmaction.utils.suggest import did_you_mean

__all__ = ['ConversionNotes', 'LegacySection']


@dataclass
class ConversionNotes:
    """What becomes of the keys that have no counterpart.

    Attributes:
        lost: Sentences about what the run does without.
        idle: Keys that nothing here needs: the result is the same without them.
    """

    lost: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for each loss, and one for all that is not needed."""
        lines = [f'warning: {text}' for text in self.lost]
        if self.idle:
            lines.append(f'note: not needed, so left out: {", ".join(self.idle)}')
        return lines


class LegacySection:
    """The keys of one dict of an old config, each to be taken.

    Args:
        values: The dict; None counts as empty.
        place: Its dotted place in the config, for messages.
        notes: Where keys without a counterpart are noted.

    Raises:
        ConfigError: The value is no dict.
    """

    def __init__(self, values: object, place: str, notes: ConversionNotes) -> None:
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(f'config key {place}: a dict was expected, found {values!r}')
        self.values = dict(values or {})
        self.place = place
        self.notes = notes
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def take(self, key: str, default: object = None) -> Any:
        """The value of a key, which counts as read."""
        self._known.add(key)
        return self.values.get(key, default)

    def need(self, key: str) -> Any:
        """The value of a key that must be there.

        Raises:
            ConfigError: It is not.
        """
        if key not in self.values:
            raise ConfigError(f'config key {self.way(key)} is missing')
        return self.take(key)

    def copy_to(self, target: dict[str, Any], *keys: str) -> None:
        """Take some keys over as they are, where they are given."""
        for key in keys:
            value = self.take(key)
            if key in self.values:
                target[key] = value

    def not_needed(self, *keys: str) -> None:
        """Take keys whose work is done here without them."""
        for key in keys:
            if self.take(key) is not None:
                self.notes.idle.append(self.way(key))

    def lost(self, key: str, why: str) -> None:
        """Take a key that has no counterpart."""
        if self.take(key):
            self.notes.lost.append(
                f'{self.way(key)}={self.values[key]!r} has no counterpart: {why}'
            )

    def others(self) -> dict[str, Any]:
        """What was not taken yet."""
        return {key: value for key, value in self.values.items() if key not in self._known}

    def way(self, key: str) -> str:
        """The dotted place of a key."""
        return f'{self.place}.{key}' if self.place else key

    def close(self) -> None:
        """End the section.

        Raises:
            ConfigError: A key was never taken: nothing knows it.
        """
        for key in self.others():
            raise ConfigError(
                f'config key {self.way(key)}: {self.place} of mmaction2 0.x has no key '
                f'"{key}"{did_you_mean(key, self._known, list_known=True)}'
            )

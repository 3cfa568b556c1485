"""The model that answers where none was chosen."""

from __future__ import annotations

from gptsmith.serve.studio.database import Database

SETTING = "default_model"


class DefaultModel:
    """The default model of a studio, by its name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def name(self) -> str | None:
        """Its name; None if none was chosen."""
        found: str | None = self._database.setting(SETTING)
        return found

    def choose(self, name: str | None) -> None:
        """Makes a model, or none, the default one."""
        self._database.set(SETTING, name)

    def renamed(self, name: str, new: str | None) -> None:
        """Follows a model to its new name; to none if it is gone."""
        with self._database.transaction():
            if self.name() == name:
                self.choose(new)

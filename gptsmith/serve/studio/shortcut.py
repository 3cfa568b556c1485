"""A desktop entry of the studio, as freedesktop.org's specification has it: a person starts it from the menu."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.serve.static import FOLDER

NAME = "gptsmith-studio"
ENTRY = """\
[Desktop Entry]
Type=Application
Name=gptsmith
GenericName=Studio for language models
GenericName[zh]=语言模型工作室
Comment=Make, tune and talk to models of your own
Comment[zh]=制作、调整自己的模型,并与之对话
Exec={command}
Icon={icon}
Terminal=false
Categories=Office;Science;
"""


def install_shortcut(folder: Path) -> Path:
    """Adds an entry to the desktop's menu, which opens the studio of a folder, or replaces the one of before; its path.

    Raises:
        UserError: this is no desktop with such entries, or its folder cannot be written.
    """
    if not sys.platform.startswith("linux"):
        raise UserError(
            f"--install-shortcut is for desktops on Linux: elsewhere, start it by {shell_command('studio')}"
        )
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    icon, entry = data / "icons" / f"{NAME}.svg", data / "applications" / f"{NAME}.desktop"
    words = [sys.executable, "-P", "-m", "gptsmith", "studio", str(folder)]
    try:
        for path in (icon, entry):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(icon, (FOLDER / "icon.svg").read_bytes())
        write_atomically(entry, ENTRY.format(command=" ".join(map(_quoted, words)), icon=icon))
    except OSError as error:
        raise UserError(f"{data} cannot be written: {error.strerror}") from None
    return entry


def _quoted(word: str) -> str:
    """A word of an Exec line: in quotation marks, with a backslash before what means something in them, and doubled
    percent signs; the value of the key doubles backslashes once more.

    Raises:
        UserError: it has a line end, which an entry cannot hold.
    """
    if not word.isprintable():
        raise UserError(f"{word!r}: a desktop entry cannot hold this name")
    for character in '\\"`$':
        word = word.replace(character, f"\\{character}")
    return '"' + word.replace("\\", "\\\\").replace("%", "%%") + '"'

"""A terminal, as far as it takes to see what a program has written into it."""

from __future__ import annotations

import re

_CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Emulator:
    """Rows of text, a cursor, and what has scrolled away.

    Lines break at the last column, and are broken anew when the window changes, as in most
    terminals of today.
    """

    def __init__(self, columns: int = 80, height: int = 24) -> None:
        self.columns, self.height = columns, height
        # Each with whether it goes on in the next one.
        self.rows: list[tuple[str, bool]] = [("", False)]
        self.row = self.column = 0
        self.colours: set[str] = set()
        self.codes = 0
        self._rest = ""

    @property
    def text(self) -> str:
        """All rows, from the first that was ever written."""
        return "\n".join(row for row, _ in self.rows)

    @property
    def screen(self) -> str:
        """What is in view."""
        return "\n".join(row for row, _ in self.rows[-self.height :])

    def feed(self, data: str) -> None:
        data = self._rest + data
        at = 0
        while at < len(data):
            if data[at] != "\x1b":
                self._put(data[at])
                at += 1
                continue
            found = _CODE.match(data, at)
            if found is None and len(data) - at < 12:
                break
            if found is not None:
                self._obey(*found.groups())
            at = at + 1 if found is None else found.end()
        self._rest = data[at:]

    def resize(self, columns: int, height: int) -> None:
        lines, whole = [], ""
        for row, goes_on in self.rows:
            whole += row
            if not goes_on:
                lines.append(whole)
                whole = ""
        self.rows = []
        for line in [*lines, *([whole] if whole else [])]:
            parts = [line[n : n + columns] for n in range(0, len(line), columns)] or [""]
            self.rows += [(part, part is not parts[-1]) for part in parts]
        self.columns, self.height, self.row = columns, height, len(self.rows) - 1

    def _put(self, sign: str) -> None:
        if sign == "\n":
            self._down()
        elif sign == "\r":
            self.column = 0
        elif sign.isprintable():
            if self.column >= self.columns:
                self.rows[self.row] = (self.rows[self.row][0], True)
                self._down()
                self.column = 0
            row, goes_on = self.rows[self.row]
            row = row.ljust(self.column)
            self.rows[self.row] = (row[: self.column] + sign + row[self.column + 1 :], goes_on)
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append(("", False))

    def _obey(self, given: str, what: str) -> None:
        self.codes += 1
        if what == "A":
            self.row = max(self.row - int(given or 1), len(self.rows) - self.height, 0)
        elif what == "m":
            self.colours.add(given)
        elif what in "KJ":
            self.rows[self.row] = (self.rows[self.row][0][: self.column], False)
            if what == "J":
                del self.rows[self.row + 1 :]

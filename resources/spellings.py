"""A secret in every spelling in which a text may repeat it: plain, escaped, encoded or cut off."""

import base64
import functools
import re
from collections.abc import Callable

SHORTEST = 8
"""Characters; a shorter secret is not replaced, because no provider issues one and texts would be damaged."""

_SHORTEST_CUT = 16
"""Fewest characters of a secret's beginning that is replaced alone: its first half, and at least these."""
_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos", "/": "sol", "+": "plus", "=": "equals"}
_ESCAPES = re.compile(r"[%\\&]")


class Spellings:
    """Replaces secrets in texts.

    It replaces the secret itself, its base64 (also URL-safe, and inside of a longer text), its hexadecimal form, and each of
    these percent-encoded up to three times, escaped as JSON or as HTML. It takes time in proportion to the text.

    Args:
        secrets: Shorter ones than `SHORTEST` are not replaced.
        instead: The replacement.
    """

    __slots__ = ("_any", "_instead", "_literals")

    def __init__(self, *secrets: str, instead: str = "[key]") -> None:
        self._instead = instead
        long = [secret for secret in secrets if len(secret) >= SHORTEST]
        self._literals = [literal for secret in long for literal in _literals(secret)]
        self._any = re.compile("|".join(literal.beginning for literal in self._literals) or "(?!)")

    def __repr__(self) -> str:
        return "Spellings(***)"

    def hide(self, text: str) -> str:
        """The text without the secrets."""
        escaped = _ESCAPES.search(text) is not None
        # a listing has thousands of short texts, and one search is eight times as fast as five
        if not escaped and self._any.search(text) is None:
            return text
        for literal in self._literals:
            text = literal.replaced(text, self._instead, escaped=escaped)
        return text


class _Literal:
    """One form of a secret, with two spellings of each character, and the length that already reveals it."""

    __slots__ = ("_beginning", "_escaped", "_escaped_rest", "_rest")

    def __init__(self, text: str, otherwise: str | None = None) -> None:
        enough = max(12, len(text) // 2) if len(text) >= _SHORTEST_CUT else len(text)
        units = _units(text)
        others = units if otherwise is None else _units(otherwise)
        taken, count = 0, 0
        while taken < enough:
            taken += len(units[count])
            count += 1

        def patterns(spell: Callable[[str], str]) -> list[str]:
            pairs = zip(units, others, strict=True)
            return [
                spell(one) if one == other else f"(?:{spell(one)}|{spell(other)})" for one, other in pairs
            ]

        plain, escaped = patterns(re.escape), patterns(_spelled)
        self._beginning, self._escaped = (re.compile("".join(p[:count])) for p in (plain, escaped))
        self._rest, self._escaped_rest = ([re.compile(one) for one in p[count:]] for p in (plain, escaped))

    @property
    def beginning(self) -> str:
        """The pattern of the length that reveals it, in a text without escapes."""
        return self._beginning.pattern

    def replaced(self, text: str, instead: str, *, escaped: bool) -> str:
        beginning, rest = (self._escaped, self._escaped_rest) if escaped else (self._beginning, self._rest)
        pieces: list[str] = []
        position = 0
        while (match := beginning.search(text, position)) is not None:
            end = match.end()
            for unit in rest:
                more = unit.match(text, end)
                if more is None:
                    break
                end = more.end()
            pieces += [text[position : match.start()], instead]
            position = end
        return "".join([*pieces, text[position:]]) if pieces else text


def _literals(secret: str) -> list[_Literal]:
    """The secret, its hexadecimal form, and its base64 at each of the three offsets in a longer text.

    Characters of base64 that depend on the neighbours are left out.
    """
    data = secret.encode("utf-8", "replace")
    literals = [_Literal(secret), _Literal(data.hex(), data.hex().upper())]
    for before, changed in ((0, 0), (1, 2), (2, 3)):
        whole = bytes(before) + data
        last = len(whole) * 8 // 6
        plain, for_addresses = base64.b64encode(whole).decode(), base64.urlsafe_b64encode(whole).decode()
        literals.append(_Literal(plain[changed:last], for_addresses[changed:last]))
    return literals


def _units(text: str) -> list[str]:
    """Its characters; a run of backslashes counts as one, because escaping makes it longer."""
    return re.findall(r"\\+|[^\\]", text, re.DOTALL)


@functools.cache
def _spelled(unit: str) -> str:
    """A pattern for one character in every spelling. No repetition in it can match in two ways."""
    if unit[0] == "\\":
        escaped = r"%(?:25){0,2}5[cC]|\\{1,4}(?:u00|x)5[cC]|&#0{0,5}92;|&#[xX]0{0,5}5[cC];|&bsol;"
        return rf"(?:(?:{escaped}){{{len(unit)}}}|\\{{{len(unit)},{8 * len(unit)}}}+)"
    ways = ["".join(rf"%(?:25){{0,2}}{_hex(f'{byte:02x}')}" for byte in unit.encode("utf-8", "replace"))]
    halves = unit.encode("utf-16-be", "surrogatepass").hex()
    ways.append("".join(rf"\\{{1,4}}u{_hex(halves[at : at + 4])}" for at in range(0, len(halves), 4)))
    if ord(unit) < 256:
        ways.append(rf"\\{{1,4}}x{_hex(f'{ord(unit):02x}')}")
    if unit in "/\"'":
        ways.append(rf"\\{{1,4}}{unit}")
    ways += [rf"&#0{{0,5}}{ord(unit)};", rf"&#[xX]0{{0,5}}{_hex(f'{ord(unit):x}')};"]
    if unit in _NAMED:
        ways.append(f"&{_NAMED[unit]};")
    # the plain character is last, because `%25` begins with the `%` that it encodes
    return f"(?:{'|'.join([*ways, re.escape(unit)])})"


def _hex(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)

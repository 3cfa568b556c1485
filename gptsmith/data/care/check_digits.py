"""The check digits of numbers that are given to people and accounts."""

from __future__ import annotations

from collections.abc import Sequence


def passes_luhn(digits: str) -> bool:
    """Whether the last digit of a number is its check digit by Luhn's algorithm (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def passes_mod_97(code: str) -> bool:
    """Whether the characters of an IBAN, without spaces, have the check digits at places 3 and 4 (ISO 13616)."""
    moved = code[4:] + code[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def weighted_sum(digits: str, weights: Sequence[int]) -> int:
    """The sum of the first digits, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))

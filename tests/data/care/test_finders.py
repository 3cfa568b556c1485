"""Data of persons and secrets: what is found, what only looks like it, and where it stands."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptsmith
from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.data.care import placed_findings
from gptsmith.data.care.check_digits import passes_luhn, passes_mod_97
from gptsmith.data.care.finders import kinds_by_form
from gptsmith.data.care.findings import all_finders, findings, hidden, redacted

FOUND = {
    "email": ["anna.berg@example.org", "o'hara+x@mail.example.co.uk", "bjørn@eksempel.no"],
    "phone": [
        "+47 22 12 34 56",
        "+1 (212) 555-0123",
        "(212) 555-0123",
        "030 1234567",
        "0171/123 45 67",
        "0047 22123456",
    ],
    "payment_card": ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947"],
    "national_number": ["01010750160", "529.982.247-25", "11010519491231002X", "BSN: 111222333", "SSN 078-05-1120"],
    "api_key": ["AKIAIOSFODNN7EXAMPLE", "ghp_" + "aB3" * 12, 'api_key = "Zr8kQ2mP9xL4vT7n"', "TOKEN: Zr8kQ2mP9xL4vT7n"],
    "private_key": [
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
    ],
    "url_password": ["postgres://anna:hunter22@db.example.org/x", "https://:t0ken99@example.org"],
}
NOT_FOUND = [
    "anna@localhost, @handle, a @ b.c, x@1.2.3",
    "2026-11-28 10:25:35, 192.168.100.200, 1,234,567.89, 3.14159265358979, 978-3-16-148410-0",
    "4111 1111 1111 1112, 0000 0000 0000 0000, 41111111111111111",
    "DE88 3704 0044 0532 0130 00, XX89 3704 0044 0532 0130 00",
    "01010750161, 529.982.247-26, 110105194912310021, 111222333, 078-05-1120, SSN 000-05-1120",
    "token: thisisjustaword, password=correcthorsebattery, the key: a word, AKIA is a prefix",
    "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
    "https://user:password@example.org, https://{user}:{password}@host, http://example.org:8080/a@b",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_a_kind_is_found_within_other_text(kind: str, text: str) -> None:
    for before, after in (("", ""), ("See ", "."), ("(", ")"), ("øæ: ", ",\nand more"), ("\n", "\n")):
        (found,) = findings(before + text + after, all_finders())
        assert found.kind == kind
        assert found.text in text
        assert (before + text + after)[found.start : found.stop] == found.text


def test_every_kind_is_among_the_examples() -> None:
    assert set(FOUND) == set(kinds_by_form())


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_looks_like_it_is_not_found(text: str) -> None:
    assert findings(text, all_finders()) == []


@given(st.text(st.sampled_from("0123456789 +-./@:=abcXYZ_\n\"'"), max_size=200))
def test_findings_are_in_order_do_not_overlap_and_are_gone_when_redacted(text: str) -> None:
    found = findings(text, all_finders())
    assert all(one.stop <= other.start for one, other in pairwise(found))
    assert all(text[one.start : one.stop] == one.text for one in found)
    kept = redacted(text, found)
    assert len(kept) == len(text) + sum(len(one.placeholder) - len(one.text) for one in found)


@given(st.integers(min_value=0, max_value=10**17))
def test_one_of_ten_last_digits_passes_luhn(number: int) -> None:
    assert sum(passes_luhn(f"{number}{digit}") for digit in range(10)) == 1


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=11, max_size=28))
def test_an_iban_with_its_check_digits_passes_and_a_changed_one_does_not(account: str) -> None:
    digits = next(number for number in range(2, 99) if passes_mod_97(f"DE{number:02}{account}"))
    assert not any(passes_mod_97(f"DE{number:02}{account}") for number in range(2, 99) if number != digits)


def test_findings_stand_where_they_are_said_to_in_any_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed_findings, "BLOCK_BYTES", 64)  # a document of many blocks
    monkeypatch.setattr(placed_findings, "AROUND_BYTES", 40)
    lines = [f'Zeile {number}: schreib æ{number}@example.org oder "ruf" an' for number in range(40)]
    (tmp_path / "letter.txt").write_text("\n".join(lines), encoding="utf-8")
    rows = [json.dumps({"text": line}) for line in lines[:9]]
    (tmp_path / "mails.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "page.html").write_text(
        "<html><body><p>x&#64;example.org is marked up</p></body></html>", encoding="utf-8"
    )
    out = tmp_path.with_name("found.jsonl")
    figures = gptsmith.audit(tmp_path, out=out)
    by_file: dict[str, list[dict[str, Any]]] = {}
    for found in figures["findings"]:
        by_file.setdefault(Path(found["file"]).name, []).append(found)
    assert {name: len(found) for name, found in by_file.items()} == {"letter.txt": 40, "mails.jsonl": 9, "page.html": 1}
    for name in ("letter.txt", "mails.jsonl"):
        content = (tmp_path / name).read_bytes()
        for number, found in enumerate(by_file[name]):
            assert found["line"] == number + 1
            spelled = content[found["start"] : found["stop"]].decode()
            assert found["text"] in (spelled, json.loads(f'"{spelled}"'))
    assert by_file["page.html"][0]["start"] is None
    assert out.stat().st_mode & 0o777 == 0o600
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == figures["findings"]


def test_a_run_beside_texts_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is a run, and the others are not"):
        gptsmith.audit([tmp_path, tmp_path / "run.toml"])


@pytest.mark.parametrize("option", ["out", "html"])
@pytest.mark.parametrize(
    ("sources", "written", "problem"),
    [
        (["texts"], "texts/letter.txt", "would be overwritten"),
        (["texts/letter.txt"], "texts/letter.txt", "would be overwritten"),
        (["texts/*.txt"], "texts/../texts/letter.txt", "would be overwritten"),
        (["texts"], "texts/deep/found.jsonl", r"read as one of its texts.*such as found\.jsonl"),
        (["."], "page.html", r"read as one of its texts.*such as \.\./page\.html"),
    ],
)
def test_an_audit_neither_overwrites_a_text_nor_becomes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, sources: list[str], written: str, problem: str
) -> None:
    letter = tmp_path / "texts" / "letter.txt"
    (letter.parent / "deep").mkdir(parents=True)
    letter.write_text("anna@example.org", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=problem):
        gptsmith.audit(sources, **{option: written})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [letter]
    assert letter.read_text(encoding="utf-8") == "anna@example.org"


def test_two_results_have_two_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="by --out and by --html"):
        gptsmith.audit([{"text": "anna@example.org"}], out=tmp_path / "a", html=tmp_path / "b" / ".." / "a")


def test_a_kind_is_chosen_by_name() -> None:
    texts = [{"text": "anna@example.org, +47 22 12 34 56"}]
    assert gptsmith.audit(texts, kind=["phone"])["counts"] == {"phone": 1}
    with pytest.raises(ConfigurationError, match="did you mean email"):
        gptsmith.audit(texts, kind=["emial"])


@given(st.text(max_size=40))
def test_no_more_than_a_third_of_a_secret_is_shown(secret: str) -> None:
    shown = hidden(secret).removesuffix("…")
    assert secret.startswith(shown)
    assert len(shown) <= min(4, len(secret) / 3)

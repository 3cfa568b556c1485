"""Each kind's known answers, and what it says of files that it cannot read."""

import json
import logging
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data import files, pdf_pages
from gptsmith.data.readers import KINDS, Chunk, ReadSettings, SourceFile, html
from tests.pdf_file import pdf_of_lines

SHARED_DATA = Path(__file__).parents[3].parent / "shared/data"


def read(path: Path, content: str | bytes | None = None, **settings: str) -> list[Chunk]:
    """The chunks of a file, which is written first where its content is given."""
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    kinds = {extension: kind for kind in KINDS.names() for extension in KINDS.settings(kind).extensions}
    reader = KINDS.validate(kinds[path.suffix])
    return list(reader.read(SourceFile(path, path.suffix), ReadSettings(**settings)))


def texts(path: Path, content: str | bytes | None = None, **settings: str) -> list[str]:
    return [chunk.text for chunk in read(path, content, **settings)]


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


class TestJsonl:
    @pytest.mark.parametrize(
        ("record", "text"),
        [
            ({"id": "a longer one", "text": "t"}, "t"),
            ({"Content": "t", "title": "a longer one"}, "t"),
            ({"n": 1, "wisdom": "t"}, "t"),
            ({"title": "short", "story_of_it": "the longer one"}, "the longer one"),
            ({"answer": "a", "question": "q", "id": "a longer one"}, "q\n\na"),
            ({"prompt": "p", "response": "r"}, "p\n\nr"),
            ({"instruction": "i", "input": "", "output": "o"}, "i\n\no"),
            ({"instruction": "i", "input": "n", "output": "o"}, "i\n\nn\n\no"),
            ({"messages": [{"role": "user", "content": "u"}, {"role": "x", "content": "a"}]}, "u\n\na"),
            ({"messages": [{"content": [{"type": "text", "text": "u"}, {"type": "image"}]}]}, "u"),
            ({"messages": [{"content": None, "tool_calls": []}, {"content": "a"}]}, "a"),
            ({"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}, "u\n\na"),
            ({"text": ["one", "two"]}, "one\n\ntwo"),
            ({"text": "half a pair: \ud83d!"}, "half a pair: \ufffd!"),
            ("a bare string", "a bare string"),
        ],
    )
    def test_text_of_a_record(self, record: object, text: str, tmp_path: Path) -> None:
        assert texts(tmp_path / "a.jsonl", lines(record)) == [text]

    def test_bytes_are_those_of_the_line(self, tmp_path: Path) -> None:
        content = '\ufeff{"text": "é"}\r\n\n{"text": "b"}'.encode()
        chunks = read(tmp_path / "a.ndjson", content)
        assert [content[one.start : one.end] for one in chunks] == [
            '{"text": "é"}\r\n'.encode(),
            b'{"text": "b"}',
        ]
        assert [one.text for one in chunks] == ["é", "b"]

    def test_blank_texts_are_left_out(self, tmp_path: Path) -> None:
        assert texts(tmp_path / "a.jsonl", lines({"text": "a"}, {"text": " "}, {"text": None})) == ["a"]

    def test_field_asked_for_is_read(self, tmp_path: Path) -> None:
        content = lines({"text": "a", "summary": "s"})
        assert texts(tmp_path / "a.jsonl", content, text_field="summary") == ["s"]

    def test_field_asked_for_that_is_not_there_lists_the_fields(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a\.jsonl has no field body \(fields: text, title\)"):
            read(tmp_path / "a.jsonl", lines({"text": "a", "title": "b"}), text_field="body")

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"text": "cut', "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("[1]", "not a record"),
            ('{"other": "b"}', "no field text"),
            ('{"text": 5}', "the value 5, not text"),
        ],
    )
    def test_bad_line_is_named_by_its_number(self, line: str, problem: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"a\.jsonl, line 3: .*{problem}"):
            read(tmp_path / "a.jsonl", lines({"text": "a"}) + "\n" + line + "\n")

    def test_records_without_text_list_the_fields(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no field that looks like text \(fields: n \(numbers\), m \(lists\)\)"):
            read(tmp_path / "a.jsonl", lines({"n": 1, "m": [2]}))

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ('[\n{"text": "a"},\n{"text": "b"}\n]', ["a", "b"]),
            ('{\n"text": "a"\n}', ["a"]),
            ('["a", "b"]', ["a", "b"]),
            ('{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
            ("[]", []),
            ("", []),
        ],
        ids=["list", "one", "strings", "lines", "none", "empty"],
    )
    def test_whole_file(self, content: str, expected: list[str], tmp_path: Path) -> None:
        assert texts(tmp_path / "a.json", content) == expected

    def test_whole_file_that_is_not_json(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a\.json is not JSON"):
            read(tmp_path / "a.json", '[{"text": "a"},')

    def test_whole_file_that_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gptsmith.data.readers.jsonl.MAX_BYTES", 10)
        with pytest.raises(UserError, match=r"over 10 bytes.*\.jsonl"):
            read(tmp_path / "a.json", '[{"text": "a"}]')

    @pytest.mark.parametrize(
        ("name", "fields"),
        [("gsm8k_test", ("question", "answer")), ("movie_reviews", ("text",)), ("udhr_languages", ("text",))],
    )
    def test_real_files(self, name: str, fields: tuple[str, ...]) -> None:
        path = SHARED_DATA / f"{name}.jsonl"
        if not path.exists():
            pytest.skip("the shared data is not here")
        content = path.read_bytes()
        records = [json.loads(line) for line in content.splitlines()]
        records = [record for record in records if record[fields[0]].strip()]
        chunks = read(path)
        assert [one.text for one in chunks] == ["\n\n".join(row[name] for name in fields) for row in records]
        assert [json.loads(content[one.start : one.end]) for one in chunks] == records


class TestCsv:
    def test_rows_and_their_bytes(self, tmp_path: Path) -> None:
        content = b'id,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,d\r\n'
        chunks = read(tmp_path / "a.csv", content)
        assert [one.text for one in chunks] == ['a, "b"\nc', "d"]
        assert [content[one.start : one.end] for one in chunks] == [b'1,"a, ""b""\r\nc"\r\n', b"2,d\r\n"]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "id;text\n1;a, b\n"),
            ("a.tsv", "id\ttext\n1\ta, b\n"),
            ("a.csv", '\ufeffid,text\n1,"a, b"\n'),
            ("a.csv", "\nid|text\n1|a, b\n".lstrip()),
            ("a.csv", 'n,remark\n1,"a, b"'),
        ],
    )
    def test_delimiters(self, name: str, content: str, tmp_path: Path) -> None:
        assert texts(tmp_path / name, content) == ["a, b"]

    def test_cell_over_the_limit_of_the_library(self, tmp_path: Path) -> None:
        long = "word " * 100_000
        assert texts(tmp_path / "a.csv", f"text\n{long}\n") == [long]

    @pytest.mark.parametrize("content", ["", "text\n", "\n\n"])
    def test_no_rows(self, content: str, tmp_path: Path) -> None:
        assert texts(tmp_path / "a.csv", content) == []

    @pytest.mark.parametrize(
        ("row", "problem"),
        [("1,a,b", "3 cells under a header of 2"), ('1,"a', "not a row"), ("1", "no field text")],
    )
    def test_bad_row_is_named_by_its_line(self, row: str, problem: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"a\.csv, line 4: .*{problem}"):
            read(tmp_path / "a.csv", f'id,text\n1,"a\nb"\n{row}\n')

    def test_field_asked_for_that_is_not_there_lists_the_fields(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no field body \(fields: id, text\)"):
            read(tmp_path / "a.csv", "id,text\n1,a\n", text_field="body")


class TestParquet:
    def write(self, path: Path, columns: dict[str, list], **options: object) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path, **options)
        return path

    def test_rows_over_several_groups_have_the_bytes_of_theirs(self, tmp_path: Path) -> None:
        rows = [f"row {number} " * 20 for number in range(1000)]
        columns = {"text_id": ["a longer name"] * 1000, "text": rows}
        path = self.write(tmp_path / "a.parquet", columns, row_group_size=400, compression="none")
        chunks = read(path)
        assert [one.text for one in chunks] == rows
        assert len({(one.start, one.end) for one in chunks}) == 3
        content = path.read_bytes()
        for one in chunks:
            assert one.text.encode() in content[one.start : one.end]
            assert b"a longer name" not in content[one.start : one.end]

    def test_messages(self, tmp_path: Path) -> None:
        messages = [[{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]]
        assert texts(self.write(tmp_path / "a.parquet", {"id": [1], "messages": messages})) == ["u\n\na"]

    def test_no_rows(self, tmp_path: Path) -> None:
        assert texts(self.write(tmp_path / "a.parquet", {"text": []})) == []

    def test_field_asked_for_that_is_not_there_lists_the_fields(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.parquet", {"id": [1], "text": ["a"]})
        with pytest.raises(UserError, match=r"no field body \(fields: id, text\)"):
            read(path, text_field="body")

    def test_columns_without_text_are_listed(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no field that looks like text \(fields: id, score\)"):
            read(self.write(tmp_path / "a.parquet", {"id": [1, 2], "score": [0.5, 0.7]}))

    def test_field_asked_for_that_is_not_text(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.parquet", {"id": [7], "text": ["a"]})
        with pytest.raises(UserError, match="row 1: the field id holds the value 7"):
            read(path, text_field="id")

    def test_damaged_page_is_a_user_error(self, tmp_path: Path) -> None:
        rows = [f"row {number} " * 20 for number in range(1000)]
        path = self.write(tmp_path / "a.parquet", {"text": rows}, compression="zstd")
        content = bytearray(path.read_bytes())
        content[200:400] = bytes(200)
        with pytest.raises(UserError, match="not a sound Parquet file"):
            read(path, bytes(content))

    @pytest.mark.parametrize("is_list", [False, True])
    def test_a_value_that_stands_in_many_rows_is_held_once(
        self, tmp_path: Path, is_list: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        value = "the old mill road " * 5_000
        rows = [[value] * 2] * 300 if is_list else [value] * 600
        path = self.write(tmp_path / "a.parquet", {"text": rows}, compression="zstd")
        assert path.stat().st_size < 2_000
        source, reader = SourceFile(path, ".parquet"), KINDS.validate("parquet")
        tracemalloc.start()
        number = sum(1 for _ in reader.read(source, ReadSettings()))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert number == len(rows)
        assert peak_bytes < 25_000_000  # of 54 MB
        monkeypatch.setattr(files, "FREE_EXPANSION_BYTES", 10_000_000)
        for found in (reader.read(source, ReadSettings()), reader.records(source, ReadSettings())):
            with pytest.raises(UserError, match="expands to over"):
                list(found)


STORY = (
    "The harbour was quiet when the boats came in, and nobody on the quay said much about the weather. "
    "By noon the market had sold every crate, and the gulls had gone back to the roofs above the town. "
)


class TestHtml:
    def test_main_text_without_menus_and_scripts(self, tmp_path: Path) -> None:
        page = (
            "<html><head><title>Harbour</title><script>var hidden = 1;</script></head><body>"
            "<nav><a href='/a'>Sign in</a> <a href='/b'>Our shops</a></nav>"
            f"<article><h1>News</h1><p>{STORY}</p><p>{STORY.upper()}</p></article>"
            "<footer>All rights reserved</footer></body></html>"
        )
        (text,) = texts(tmp_path / "a.html", page)
        assert STORY.strip() in text
        assert STORY.upper().strip() in text
        for unwanted in ("hidden", "Sign in", "All rights reserved"):
            assert unwanted not in text

    def test_all_text_where_there_is_no_main_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trafilatura.extract", lambda page, **options: None)
        page = (
            "<title>no</title><style>p {}</style><script>if (a < b) no()</script>"
            "<p>One <b>bold</b>\n word &amp; more<br>two<div>three</div><img src=a />"
        )
        assert texts(tmp_path / "a.htm", page) == ["One bold word & more\ntwo\nthree"]

    @pytest.mark.parametrize("page", ["", "<html></html>", "<script>only()</script>", "<<<>>>&&&<!--"])
    def test_page_without_text_is_quietly_nothing_or_its_words(
        self, page: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert "only" not in "".join(texts(tmp_path / "a.html", page))
        assert not caplog.records

    @pytest.mark.parametrize(
        ("declaration", "encoding"),
        [
            ('<meta charset="windows-1251">', "cp1251"),
            ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
            ("<meta charset=utf-8>", "utf-8"),
            ("<meta charset=no-such-thing>", "utf-8"),
            ("<meta charset=utf-16>", "utf-8"),
            ('<?xml version="1.0" encoding="UTF-8"?>', "utf-8"),
        ],
    )
    def test_declared_encoding(self, declaration: str, encoding: str, tmp_path: Path) -> None:
        words = "Гавань была тиха, когда лодки вернулись, и никто не жаловался. " * 4
        page = f"{declaration}<html><body><p>{words}</p></body></html>".encode(encoding)
        (text,) = texts(tmp_path / "a.html", page)
        assert words.strip() in text

    def test_latin_1_means_its_windows_superset(self, tmp_path: Path) -> None:
        page = "<meta charset=iso-8859-1><p>“Café”</p>".encode("cp1252")
        assert "“Café”" in texts(tmp_path / "a.html", page)[0]

    def test_named_encoding_is_for_pages_that_declare_none_or_a_wrong_one(self, tmp_path: Path) -> None:
        russian = "<p>Гавань</p>"
        declared = f"<meta charset=koi8-r>{russian}".encode("koi8-r")
        assert "Гавань" in texts(tmp_path / "a.html", declared, encoding="cp1251")[0]
        for declaration in ("", "<meta charset=utf-8>", "<meta charset=punycode>", "<meta charset=rot13>"):
            page = f"{declaration}{russian}".encode("cp1251")
            assert "Гавань" in texts(tmp_path / "a.html", page, encoding="cp1251")[0]

    def test_large_page_is_read_in_a_stream_and_that_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gptsmith.data.readers.html.MAX_TREE_BYTES", 10)
        monkeypatch.setattr("trafilatura.extract", None)
        path = tmp_path / "a.html"
        path.write_text("<nav>Menu</nav><p>some <b>words</b></p>" * 3, encoding="utf-8")
        file = SourceFile(path, ".html")
        (chunk,) = KINDS.validate("html").read(file, ReadSettings())
        assert chunk.text == "\n".join(["Menu", "some words"] * 3)
        assert chunk.end == path.stat().st_size
        assert "over 10 bytes" in file.remarks[0]

    def test_tag_that_never_ends_is_not_held(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gptsmith.data.readers.html.MAX_TAG_CHARACTERS", 100)
        shown = html.ShownText()
        for _ in range(50):
            shown.feed("<a " + "x" * 60)
            assert len(shown.rawdata) <= 100

    def test_a_page_without_blocks_is_read_in_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(html, "MAX_LINE_CHARACTERS", 100)
        monkeypatch.setattr(html, "FED_CHARACTERS", 30)
        words = [f"word{number}" for number in range(200)]
        for separator in (" ", ""):
            found = list(html.shown_lines([f"<body>{separator.join(words)}", " the end</body>"]))
            assert max(map(len, found)) <= 140
            assert "".join(found).replace("\n", separator).split() == [*separator.join(words).split(), "the", "end"]


class TestPdf:
    @pytest.fixture(autouse=True)
    def needs_the_library(self) -> None:
        pytest.importorskip("pypdfium2")

    def test_pages_are_one_document(self, tmp_path: Path) -> None:
        content = pdf_of_lines("First page", "", "Third page")
        assert read(tmp_path / "a.pdf", content) == [Chunk("First page\n\nThird page", 0, len(content))]

    def test_pages_without_text_are_a_user_error(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a\.pdf has no text.*scanned"):
            read(tmp_path / "a.pdf", pdf_of_lines("", ""))

    def test_locked_file_is_a_user_error(self, tmp_path: Path) -> None:
        # The key of an empty password does not fit these, so that a password is asked for.
        key = "<" + "00" * 32 + ">"
        lock = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<00> <00>] >>"
        content = pdf_of_lines("secret").replace(b"/Root 1 0 R >>", b"/Root 1 0 R " + lock.encode())
        with pytest.raises(UserError, match=r"a\.pdf is locked with a password"):
            read(tmp_path / "a.pdf", content)

    def test_file_is_closed_when_reading_stops_early(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.pdf"
        path.write_bytes(pdf_of_lines("One.", "Two.", "Three."))
        monkeypatch.setattr("gptsmith.data.flow.CHUNK_CHARACTERS", 1)
        chunks = KINDS.validate("pdf").read(SourceFile(path, ".pdf"), ReadSettings())
        assert next(chunks).text == "One."
        chunks.close()  # an open file would warn when it is collected, and warnings are errors

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
    def test_a_page_that_takes_all_memory_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pdf_pages, "MEMORY_BYTES", 300_000_000)
        drawing = zlib.compress(b"0 0 m 1 1 l S\n" * 2_000_000)
        plain = pdf_of_lines("Hello").replace(
            b"<< /Length 36 >>", b"<< /Filter /FlateDecode /Length %d >>" % len(drawing)
        )
        start, end = plain.index(b"stream\n") + 7, plain.index(b"\nendstream")
        with pytest.raises(UserError, match="page 1: takes over 300 MB of memory"):
            read(tmp_path / "a.pdf", plain[:start] + drawing + plain[end:])
        assert texts(tmp_path / "b.pdf", pdf_of_lines("Hello")) == ["Hello"]

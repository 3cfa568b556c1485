"""Files that are no text, known by how they begin or what they are called, with what to do about each."""

from __future__ import annotations

import re

IMAGE = "an image: recognise its text first, for example with tesseract, or leave it out"
SOUND = "sound or video: write its words down first, for example with whisper, or leave it out"
ARCHIVE = "an archive: unpack it, and name the folder"
OLD_OFFICE = "an old Office file: save it anew, for example with soffice --headless --convert-to docx (xlsx, pptx) FILE"
PROGRAM = "a program: leave it out"
DATABASE = "a database: export its tables as .csv or .jsonl"
ARRAYS = "numbers or weights, not text: leave it out"

BY_BEGINNING: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0|II\*\0|MM\0\*|RIFF....WEBP|.{4}ftyp(heic|avif|mif1)", IMAGE),
        (rb"ID3|OggS|fLaC|RIFF....(WAVE|AVI )|\xff[\xfb\xf3\xf2]|.{4}ftyp|\x1aE\xdf\xa3", SOUND),
        (rb"PK\x03\x04|PK\x05\x06|\x1f\x8b|7z\xbc\xaf'\x1c|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", ARCHIVE),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLD_OFFICE),
        (rb"\x7fELF|MZ.*PE\0\0|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe|\0asm", PROGRAM),
        (rb"SQLite format 3\0", DATABASE),
        (rb"GGUF|\x93NUMPY|.{8}\{\"|\x80[\x02-\x05]", ARRAYS),
        (
            rb"(\xef\xbb\xbf)?\s*<(\?xml|!DOCTYPE|svg|rss|feed|mediawiki)\b",
            "XML of a kind that no reader knows: write its text as .txt, .jsonl or .html",
        ),
    )
)

BY_EXTENSION = {
    extension: words
    for extensions, words in (
        (".png .jpg .jpeg .gif .bmp .tif .tiff .webp .heic .avif .ico", IMAGE),
        (".mp3 .wav .ogg .flac .m4a .mp4 .mkv .avi .mov .webm", SOUND),
        (".zip .tar .tgz .7z .rar .bz2 .xz .gz .zst", ARCHIVE),
        (".doc .xls .ppt", OLD_OFFICE),
        (".exe .dll .so .dylib .o .a .class .jar .wasm .pyc", PROGRAM),
        (".sqlite .sqlite3 .db .mdb", DATABASE),
        (".gguf .safetensors .npy .npz .pt .pth .bin", ARRAYS),
        (".mobi .azw .azw3", "a book of another shop: convert it, for example with ebook-convert FILE BOOK.epub"),
        (".pages .numbers .key", "a file of Apple's programs: export it as .docx, .xlsx or .pptx"),
        (".msg .pst .ost", "mail of Outlook: export it as .eml or .mbox, for example with readpst"),
        (".djvu .ps", "pages of print: convert them, for example with ddjvu -format=pdf or ps2pdf"),
    )
    for extension in extensions.split()
}


def kind_of_binary(head: bytes) -> str | None:
    """What a file that begins so is, and what to do about it; None if it may be text."""
    for pattern, words in BY_BEGINNING:
        if pattern.match(head):
            return words
    return None


def looks_like_utf16(head: bytes) -> str | None:
    """The name of the UTF-16 without a mark that bytes with a NUL at every other place probably are."""
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        every_other, between = head[first::2], head[1 - first :: 2]
        if len(head) >= 4 and every_other.count(0) > 0.6 * len(every_other) and between.count(0) < 0.1 * len(between):
            return name
    return None

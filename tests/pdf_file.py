"""Minimal PDF files."""

from __future__ import annotations

from collections.abc import Sequence


def pdf_of_lines(*pages: str) -> bytes:
    """A file with a line of text on each page; an empty line gives a page without text."""
    return _pdf([f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET" if text else "" for text in pages], "500 200")


def pdf_of(pieces: Sequence[tuple[float, float, str]]) -> bytes:
    """A file of one page with texts, each at a place from the lower left corner, drawn in this order."""
    return _pdf([" ".join(f"BT /F1 10 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in pieces)], "600 800")


def _pdf(drawings: Sequence[str], size: str) -> bytes:
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(drawings)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(drawings)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, drawing in enumerate(drawings):
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size}] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * index} 0 R >>",
            f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        ]
    content, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    return content + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()

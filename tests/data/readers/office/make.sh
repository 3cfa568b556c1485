#!/bin/sh
# Makes the office files of this folder with LibreOffice (Debian: libreoffice-writer, -calc, -impress), and the PDF files.
# Needed only after a change of their sources, text.fodt, slides.fodp and sheet.csv.
set -eu
cd "$(dirname "$0")"
convert() { soffice "-env:UserInstallation=file://${TMPDIR:-/tmp}/gptsmith-office" --headless --convert-to "$1" "$2" >&2; }
for kind in odt docx rtf epub pdf; do convert "$kind" text.fodt; done
for kind in odp pptx; do convert "$kind" slides.fodp; done
for kind in ods xlsx; do convert "$kind" sheet.csv; done

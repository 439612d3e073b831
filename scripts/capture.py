#!/usr/bin/env python3
"""A terminal's output as an SVG picture for the documentation.

    scripts/capture.py TITLE OUT.svg -- COMMAND…

The command runs on a pseudo-terminal, so it shows what a person sees: colours and all.
"""

import html
import os
import pty
import re
import sys

WIDTH, LINE, CELL, EDGE = 120, 17, 7.8, 16
COLOURS = {"31": "#cd3131", "91": "#f14c4c", "33": "#e5c07b", "93": "#f5d76e", "94": "#61afef", "96": "#56b6c2", "32": "#98c379", "92": "#98c379"}


def output(command):
    """What the command writes to its terminal."""
    child, master = pty.fork()
    if child == 0:
        os.environ["COLUMNS"] = str(WIDTH)
        os.execvp(command[0], command)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.waitpid(child, 0)
    return b"".join(parts).decode().replace("\r", "")


def spans(text):
    """Lines of (style, words); a style is a colour and whether it is bold. Long lines go on in the next one."""
    colour, bold, column = None, False, 0
    lines = [[]]
    for part in re.split(r"(\x1b\[[0-9;]*m|\n)", text):
        if part == "\n":
            lines.append([])
            column = 0
        elif part.startswith("\x1b["):
            for code in part[2:-1].split(";"):
                if code in ("", "0"):
                    colour, bold = None, False
                elif code == "1":
                    bold = True
                elif code in COLOURS:
                    colour = COLOURS[code]
        else:
            while part:
                now, part = part[: WIDTH - column], part[WIDTH - column :]
                lines[-1].append(((colour, bold), now))
                column += len(now)
                if part:
                    lines.append([])
                    column = 0
    while lines and not lines[-1]:
        lines.pop()
    return lines


def drawn(title, lines):
    """The picture."""
    width, height = WIDTH * CELL + 2 * EDGE, (len(lines) + 2) * LINE + 2 * EDGE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" font-size="13"'
        ' font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace">',
        f'<rect width="100%" height="100%" rx="6" fill="#1e222a"/><text x="{EDGE}" y="{EDGE + 8}" fill="#8b93a1">$ {html.escape(title)}</text>',
    ]
    for number, line in enumerate(lines):
        y, column, words = EDGE + 8 + (number + 2) * LINE, 0, ""
        for (colour, bold), text in line:
            x = EDGE + column * CELL
            weight = ' font-weight="bold"' if bold else ""
            length = f' textLength="{len(text) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
            if text.strip():
                fill = colour or "#d7dae0"
                words += f'<tspan x="{x:.1f}" fill="{fill}"{weight}{length}>{html.escape(text)}</tspan>'
            column += len(text)
        if words:
            out.append(f'<text y="{y}" xml:space="preserve">{words}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    title, path, *command = sys.argv[1:]
    command = command[1:] if command[:1] == ["--"] else command
    with open(path, "w", encoding="utf-8") as file:
        file.write(drawn(title, spans(output(command))))


main()

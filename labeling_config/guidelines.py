"""GUIDELINES.md as HTML: a page of its own, and the text behind Label Studio's "Instructions" button.

Only the Markdown that GUIDELINES.md uses: headings, paragraphs, lists, tables, **bold** and *italic*.
"""

import html
import re
from importlib.resources import files

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Annotation guidelines</title>
<meta name="viewport" content="width=device-width"><style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; font: 17px/1.55 system-ui, sans-serif; }}
h1, h2 {{ line-height: 1.2; margin-top: 2rem; }} table {{ border-collapse: collapse; }}
th, td {{ padding: .4rem .8rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; }}
</style></head><body>{body}</body></html>"""


def instructions() -> str:
    """For a project's `expert_instruction`."""
    return _blocks((files("labeling_config") / "GUIDELINES.md").read_text(encoding="utf-8"))


def page() -> str:
    return _PAGE.format(body=instructions())


def _blocks(markdown: str) -> str:
    return "\n".join(_block(block.splitlines()) for block in re.split(r"\n\s*\n", markdown.strip()))


def _block(lines: list[str]) -> str:
    first = lines[0]
    if heading := re.match(r"(#+) (.*)", first):
        level = len(heading[1])
        rest = _block(lines[1:]) if len(lines) > 1 else ""
        return f"<h{level}>{_inline(heading[2])}</h{level}>{rest}"
    if first.startswith("|"):
        return _table(lines)
    if re.match(r"(- |\d+\. )", first):
        kind = "ul" if first.startswith("- ") else "ol"
        items = re.split(r"\n(?:- |\d+\. )", "\n" + "\n".join(lines))[1:]
        return f"<{kind}>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + f"</{kind}>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _table(lines: list[str]) -> str:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if not re.match(r"\|[ :|-]+$", line)
    ]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><tr>{head}</tr>{body}</table>"


def _inline(text: str) -> str:
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)

"""Writes docs/accuracy.md from a validation of the evidence that ships, and the report beside it.

python docs/accuracy.py [--html FILE]
"""

import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from silicast.estimate import DRAWS
from silicast.evidence.figures import Figure, figures
from silicast.evidence.left_out import shipped_refits
from silicast.evidence.misses import Missed, shipped_misses
from silicast.evidence.peers import shipped_peer
from silicast.evidence.record import shipped
from silicast.evidence.validate import Question, Validation, validate
from silicast.report.scoreboard import (
    Lines,
    apart_lines,
    bare,
    coverage_lines,
    figures_lines,
    fitted_lines,
    groups_lines,
    missing_lines,
    peer_lines,
    worst_lines,
)
from silicast.report.validation import headline
from silicast.report.validation_html import write_validation

DOCS = Path(__file__).resolve().parent


def page(answer: Validation, found: Sequence[Figure], misses: Iterable[Missed], prose: dict[str, Any]) -> str:
    """The whole page. Raises KeyError for a goal that is missed without a reason in misses.toml."""
    peer = shipped_peer()
    parts = {
        "headline": "\n".join(line.replace("[bold]", "**").replace("[/bold]", "**") for line in headline(answer)),
        "figures": table(figures_lines(found)),
        "reasons": reasons(found, prose["reasons"]),
        "groups": table(groups_lines(answer)),
        "ranges": table(coverage_lines(answer)),
        "peer_note": f"{peer.cite()}. Only runs on which the comparison is fair to it; its own errors are in-sample.",
        "peer": table(peer_lines(answer)),
        "fitted": table(fitted_lines(answer)),
        "operators": table(operators_lines(misses)),
        "missing": table(missing_lines(answer.checked)),
        "apart": table(apart_lines(answer)),
        "taught": "\n\n".join(f"**{one['title']}.** {one['text'].strip()}" for one in prose["taught"]),
        "worst": table(worst_lines(answer.headline)),
        "sources": "\n".join(f"- {source.cite()}" for source in answer.sources),
    }
    return Template((DOCS / "accuracy.md.in").read_text(encoding="utf-8")).substitute(parts)


def reasons(found: Iterable[Figure], known: dict[str, str]) -> str:
    """The reason of each figure that misses its goal."""
    return "\n".join(f"- **{one.title}.** {known[one.id].strip()}" for one in found if one.met is False)


def operators_lines(misses: Iterable[Missed]) -> Lines:
    """Errors of the laws on what was left out, over all chips."""
    lines = [
        [one.left_out, one.law, f"{one.rows:,}", bare(one.median_error), bare(one.p90_error)]
        for one in misses
        if not one.chip
    ]
    return Lines("Operators", ("left out", "law", "rows", "median", "P90"), 2, lines)


def table(lines: Lines) -> str:
    """Lines in Markdown, numbers to the right."""
    rule = ["---" if index < lines.text else "---:" for index in range(len(lines.columns))]
    cells = [list(lines.columns), rule, *lines.lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)


def main(arguments: Sequence[str]) -> None:
    """Validates with ranges, writes the page, and the report where one is asked for."""
    answer = validate(Question((shipped(),), draws=DRAWS, left_out=True))
    found = figures(answer, shipped_refits(), shipped_misses())
    prose = tomllib.loads((DOCS / "misses.toml").read_text(encoding="utf-8"))
    (DOCS / "accuracy.md").write_text(page(answer, found, shipped_misses(), prose), encoding="utf-8")
    if arguments[:1] == ["--html"]:
        write_validation(answer, found, Path(arguments[1]), ["validate", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])

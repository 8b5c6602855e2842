"""Runs the commands named in README.md and puts their output there, so that no figure in it is typed.

`<!-- run: silicast ... -->` up to `<!-- end -->` becomes the command and what it printed. With `--picture` the
picture is drawn too (needs vl-convert-python).
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- run: (?P<command>.+?) -->\n.*?<!-- end -->", re.DOTALL)
MODEL, CHIPS, PACKAGES, CLAIM = "deepseek-ai/DeepSeek-R1", ["ascend-910c", "h100-sxm"], 32, 0.6


def main() -> None:
    """Rewrite README.md in place."""
    readme = ROOT / "README.md"
    readme.write_text(BLOCK.sub(_with_output, readme.read_text()))
    if "--picture" in sys.argv:
        draw(ROOT / "docs" / "picture.svg")


def _with_output(block: re.Match[str]) -> str:
    command = block["command"]
    folder = Path(sys.executable).parent
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    shown = command.removesuffix(" | head -52")
    lines = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    return f"<!-- run: {command} -->\n```console\n$ {shown}\n{lines}\n```\n<!-- end -->"


def draw(path: Path) -> None:
    """The ratio map of the demo as SVG."""
    import vl_convert

    import silicast
    from silicast.report import charts

    answer = silicast.compare(MODEL, CHIPS, packages=PACKAGES)
    path.write_text(vl_convert.vegalite_to_svg(charts.ratio_map(answer.ratios[0], CLAIM)))


if __name__ == "__main__":
    main()

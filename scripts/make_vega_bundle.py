"""Makes the JavaScript that draws the charts of a report: Vega, Vega-Lite and Vega-Embed in one file, and its licences.

Run once per upgrade, in an environment of its own; Silicast itself needs neither package:

    pip install vl-convert-python
    npm install --ignore-scripts vega@6.2.0 vega-lite@6.4.1 vega-embed@7.0.2
    python scripts/make_vega_bundle.py node_modules

vl-convert holds the sources of the libraries and bundles them; the packages of npm give the licence texts only.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "src" / "silicast" / "report" / "assets"
BUNDLE, LICENCES = ASSETS / "vega.js", ASSETS / "vega-licences.txt"

#: the bundle minus what the report does not use: only the entry point becomes global
SNIPPET = "window.vegaEmbed = vegaEmbed;"

#: what npm installs for the command lines of these packages and for TypeScript: not in the bundle
LEFT_OUT = {
    "ansi-regex", "ansi-styles", "cliui", "commander", "emoji-regex", "escalade", "get-caller-file",
    "get-east-asian-width", "iconv-lite", "lodash.debounce", "rw", "safer-buffer", "string-width", "strip-ansi",
    "vega-typings", "wrap-ansi", "y18n", "yargs", "yargs-parser",
}  # fmt: skip


def main() -> None:
    """Write the bundle, then the licences of what is in it."""
    import vl_convert  # type: ignore[import-not-found, import-untyped, unused-ignore]

    packages = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("node_modules")
    newest = vl_convert.get_vegalite_versions()[-1]
    bundled = {
        "vega": vl_convert.get_vega_version(),
        "vega-lite": newest,
        "vega-embed": vl_convert.get_vega_embed_version(),
    }
    BUNDLE.write_text(vl_convert.javascript_bundle(SNIPPET, vl_version=newest), encoding="utf-8")
    LICENCES.write_text(licences(packages, bundled), encoding="utf-8")
    print(f"{BUNDLE.name}: {BUNDLE.stat().st_size / 1000:,.0f} kB, {LICENCES.name}: {bundled}")


def licences(packages: Path, bundled: dict[str, str]) -> str:
    """Versions, then each licence text once with the packages it covers. Exits where npm has another version."""
    texts: dict[str, list[str]] = {}
    for folder in sorted(path for path in packages.iterdir() if (path / "package.json").is_file()):
        facts = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        name = facts["name"]
        if name in bundled and not facts["version"].startswith(bundled[name]):
            sys.exit(f"vl-convert bundles {name} {bundled[name]}, npm gave {facts['version']}: install that version.")
        if name in bundled:
            bundled[name] = facts["version"]
        if name not in LEFT_OUT:
            texts.setdefault(_licence(folder), []).append(f"{name} ({facts['license']})")
    missing = [name for name in bundled if not (packages / name).is_dir()]
    if missing:
        sys.exit(f"{packages} lacks {', '.join(missing)}: see the first lines of this script.")
    versions = ", ".join(f"{name} {number}" for name, number in bundled.items())
    head = (
        f"vega.js holds {versions} and the packages they are made of, bundled and minified by\n"
        f"vl-convert-python {version('vl-convert-python')} (scripts/make_vega_bundle.py). Their licences:\n"
    )
    rule = "\n" + "=" * 100 + "\n"
    return head + "".join(f"{rule}{', '.join(names)}\n\n{text}\n" for text, names in texts.items())


def _licence(folder: Path) -> str:
    found = sorted(path for path in folder.iterdir() if path.name.lower().startswith(("licen", "copying", "unlicen")))
    return "\n".join(path.read_text(encoding="utf-8").strip().replace("\r\n", "\n") for path in found)


if __name__ == "__main__":
    main()

"""Checks that every requirement id of protocols/*.md is cited by a test or listed in protocols/not-executed.md.

``python protocols/requirements.py [--json]`` prints a summary and exits 1 when a promise has neither, or a test cites one that is not made.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFINED = re.compile(r"(?:\*\*|^\| )(TP-[A-Z]{3}-\d{3})(?:\*\*| \|)", re.MULTILINE)
LISTED = re.compile(r"^\* (TP-[A-Z]{3}-\d{3})\b", re.MULTILINE)
CITED = re.compile(r"TP[-_][A-Z0-9]{3}[-_]\d{3}")


def survey(root: Path) -> dict[str, list[str]]:
    """Ids by fate: `executed`, `not_executed` (listed), and the three faults `untested`, `undefined`, `listed_but_tested`."""
    pages = [page for page in (root / "protocols").glob("*.md") if page.name != "not-executed.md"]
    defined = {found for page in pages for found in DEFINED.findall(page.read_text())}
    cited = {
        found.replace("_", "-")
        for path in (root / "tests").rglob("*.py")
        for found in CITED.findall(path.read_text())
    }  # fmt: skip
    listed = set(LISTED.findall((root / "protocols" / "not-executed.md").read_text()))
    return {
        "executed": sorted(defined & cited),
        "not_executed": sorted(defined & listed),
        "untested": sorted(defined - cited - listed),
        "undefined": sorted((cited | listed) - defined),
        "listed_but_tested": sorted(cited & listed),
    }


def main(as_json: bool) -> int:
    fates = survey(ROOT)
    faults = {name: fates[name] for name in ("untested", "undefined", "listed_but_tested") if fates[name]}
    if as_json:
        print(json.dumps(fates, indent=1))
    else:
        print(f"{len(fates['executed'])} requirements executed, {len(fates['not_executed'])} not executed")
        for name, ids in faults.items():
            print(f"{name.replace('_', ' ')}: {', '.join(ids)}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main("--json" in sys.argv[1:]))

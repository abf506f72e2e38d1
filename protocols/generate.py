"""Writes what the code knows of protocols/events.toml: kinds.py of the firmware and of the host tools.

``python protocols/generate.py`` writes them, ``--check`` exits 1 when one is stale.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = "protocols/events.toml"
LIGHTS = {"off": 0, "red": 1, "green": 2, "amber": 3}
GROUPS = ("state", "quality", "cause", "fault", "verdict", "data")
HOST_GROUPS = ("sensor_fault",)  # a gateway's heap has no room for names that it does not use


def constants(table: dict[str, Any], const: bool) -> list[str]:
    """`NAME = value` lines: kinds bare, everything else with its group as prefix."""
    wrap = "const({})" if const else "{}"
    lines = [f"{name.upper()} = {wrap.format(kind['code'])}" for name, kind in table["kind"].items()]
    lines += [f"OUTCOME_{name.upper()} = {wrap.format(o['code'])}" for name, o in table["outcome"].items()]
    for group in GROUPS if const else GROUPS + HOST_GROUPS:
        lines += [f"{group.upper()}_{name.upper()} = {wrap.format(code)}" for name, code in table[group].items()]
    return lines


def firmware(table: dict[str, Any]) -> str:
    kinds = [
        f"    {k['code']}: ({name!r}, {k['class'] == 'alarm'}, {k['severity']}, {k.get('rank', 0)}),"
        for name, k in table["kind"].items()
    ]
    settling = tuple(o["code"] for o in table["outcome"].values() if o["settles"])
    signals = [
        f"    {name!r}: ({s['order']}, {LIGHTS[s['light']]}, {s['on']}, {s['off']}, {s.get('tone', 0)}, "
        f"{s.get('beeps', 0)}, {s.get('again_s', 0)}),"
        for name, s in table["signal"].items()
    ]
    return "\n".join(
        [
            '"""Codes of the wire. Written by protocols/generate.py from protocols/events.toml."""',
            "",
            "from micropython import const",
            "",
            *constants(table, const=True),
            "",
            "# code: (name, is an alarm, severity, rank in a full journal)",
            "KINDS = {",
            *kinds,
            "}",
            f"SETTLING = {settling!r}",
            "# state of the home: (order, light: red 1 + green 2, on_ms, off_ms, tone_hz, beeps, again_s)",
            "SIGNALS = {",
            *signals,
            "}",
            "",
        ]
    ).replace("'", '"')


def host(table: dict[str, Any]) -> str:
    def row(name: str, k: dict[str, Any]) -> str:
        scaip = tuple(k["scaip"].values())
        cleared = tuple(k["cleared"].values()) if "cleared" in k else None
        fields = (k["code"], name, k["class"] == "alarm", k["severity"], scaip, cleared, k["vkp"], *k["text"].values())
        return f"    {k['code']}: Kind{fields!r},"

    def signal(name: str, s: dict[str, Any]) -> str:
        sound = (s.get("tone", 0), s.get("beeps", 0), s.get("again_s", 0))
        fields = (name, s["order"], LIGHTS[s["light"]], s["on"], s["off"], *sound, *s["text"].values())
        return f"    {name!r}: Signal{fields!r},"

    return "\n".join(
        [
            '"""Codes of the wire. Written by protocols/generate.py from protocols/events.toml."""',
            "",
            "from dataclasses import dataclass",
            "",
            *constants(table, const=False),
            "",
            "",
            "@dataclass(frozen=True)",
            "class Kind:",
            '    """What is reported. `scaip`, `cleared`: (mty, dty, stc) of SS 91100; `vkp`: alert code or empty."""',
            "",
            "    code: int",
            "    name: str",
            "    alarm: bool",
            "    severity: int",
            "    scaip: tuple[str, int, int]",
            "    cleared: tuple[str, int, int] | None",
            "    vkp: str",
            "    en: str",
            "    nb: str",
            "",
            "",
            "@dataclass(frozen=True)",
            "class Signal:",
            '    """What the home shows. `light`: red 1 + green 2; `off_ms` 0: steady; `beeps` at the change."""',
            "",
            "    name: str",
            "    order: int",
            "    light: int",
            "    on_ms: int",
            "    off_ms: int",
            "    tone_hz: int",
            "    beeps: int",
            "    again_s: int",
            "    en: str",
            "    nb: str",
            "",
            "",
            "KINDS = {",
            *(row(name, k) for name, k in table["kind"].items()),
            "}",
            "OUTCOMES = {" + ", ".join(f"{o['code']}: {name!r}" for name, o in table["outcome"].items()) + "}",
            "STATES = {" + ", ".join(f"{code}: {name!r}" for name, code in table["state"].items()) + "}",
            "QUALITIES = {" + ", ".join(f"{code}: {name!r}" for name, code in table["quality"].items()) + "}",
            "DATA = {" + ", ".join(f"{code}: {name!r}" for name, code in table["data"].items()) + "}",
            "SIGNALS = {",
            *(signal(name, s) for name, s in table["signal"].items()),
            "}",
            "",
        ]
    ).replace("'", '"')


def main(check: bool) -> int:
    table = tomllib.loads((ROOT / SOURCE).read_text())
    stale = 0
    for path, text in (
        ("firmware/gateway/kinds.py", firmware(table)),
        ("host_tools/tryggport/wire/kinds.py", host(table)),
    ):
        target = ROOT / path
        if target.exists() and target.read_text() == text:
            continue
        if check:
            print(f"{path} is not what {SOURCE} says. Run: python protocols/generate.py", file=sys.stderr)
            stale = 1
        else:
            target.write_text(text)
            print(f"wrote {path}")
    return stale


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))

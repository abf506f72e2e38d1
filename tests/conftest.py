"""Collects tests/unit/test_*.py, which the real MicroPython runs, one process a file."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
UNIT_TIMEOUT_S = 600

os.environ["LC_ALL"] = "C.UTF-8"  # programs speak English to tests that do not ask for another language


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what tests have to show even when they pass: `record_property("shown", text)`."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "shown" and report.when == "call":
                terminalreporter.write_line(f"\n{text}")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return MicroPythonFile.from_parent(parent, path=module_path) if module_path.parent == UNIT else None


class MicroPythonFile(pytest.File):
    """One tests/unit file. ``HEAPSIZE = "192k"`` in it sets the heap, ``MARKS = {"test_x": "long"}`` marks tests."""

    def collect(self) -> Any:
        tree = ast.parse(self.path.read_text())
        self.constants = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("HEAPSIZE", "MARKS")
        }
        self.results: dict[str, dict[str, Any]] | None = None
        self.output = ""
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                item = MicroPythonTest.from_parent(self, name=node.name)
                mark = self.constants.get("MARKS", {}).get(node.name)
                if mark:
                    item.add_marker(mark)
                yield item

    def run(self, wanted: list[str]) -> dict[str, dict[str, Any]]:
        if self.results is None:
            path = [str(UNIT), str(ROOT / "firmware"), str(ROOT / "host_tools/tryggport/board")]
            done = subprocess.run(
                [MICROPYTHON, "-X", f"heapsize={self.constants.get('HEAPSIZE', '2M')}", str(UNIT / "run_file.py"),
                 self.path.stem, *wanted],
                env=os.environ | {"MICROPYPATH": ":".join([*path, ".frozen"]), "TRYGG_ROOT": str(ROOT)},
                capture_output=True, text=True, timeout=UNIT_TIMEOUT_S, cwd=ROOT,
            )  # fmt: skip
            lines = done.stdout.split("\n")
            reports = [json.loads(line[line.index("\x1e") + 1 :]) for line in lines if "\x1e" in line]
            self.results = {report["test"]: report for report in reports}
            self.output = "\n".join(line for line in lines if "\x1e" not in line) + done.stderr
            self.output += f"\n(exit code {done.returncode})" if done.returncode else ""
        return self.results


class MicroPythonTest(pytest.Item):
    parent: MicroPythonFile

    def runtest(self) -> None:
        wanted = [i.name for i in self.session.items if i.parent is self.parent]
        report = self.parent.run(wanted).get(self.name)
        if report is None:
            raise MicroPythonError(f"{self.path.name} ended before {self.name}:\n{self.parent.output}")
        if report["error"]:
            raise MicroPythonError(f"{report['error']}\n{self.parent.output}")
        if self.parent.output.strip():
            self.add_report_section("call", "stdout", self.parent.output)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if excinfo.errisinstance(MicroPythonError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


class MicroPythonError(Exception):
    """A test failed inside MicroPython."""
